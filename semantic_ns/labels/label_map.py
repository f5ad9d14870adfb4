"""From the ids in an image to the ids of a class table: raw ids, instance ids, another label space."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Int64, Integer
from numpy import ndarray

from semantic_ns.errors import SceneError
from semantic_ns.labels.class_table import VOID_NAME, ClassTable
from semantic_ns.labels.taxonomy import enumerate_ids

_UNKNOWN = -1


@dataclass(frozen=True)
class LabelMap:
    """What the ids in label images mean where they are not the ids of the scene's class table.

    Attributes:
        name: what leads from where to where, for announcements and errors ("replica to nyu40 by name").
        table: the classes that it leads to.
        ids: id in the image (negative ones too) to id of the table; what is void leads to a void id of the table.

    Raises:
        ValueError: if an id leads out of the table.
    """

    name: str
    table: ClassTable
    ids: Mapping[int, int]

    def __post_init__(self) -> None:
        outside = set(self.ids.values()) - {entry.id for entry in self.table.entries} - self.table.void_ids
        if outside or not self.ids:
            raise ValueError(f"ids must lead to the table {self.table.name}, got {sorted(outside)} in {self.name}")

    @cached_property
    def _look_up_table(self) -> Int64[ndarray, "ids"]:
        table = np.full(max(self.ids) - min(self.ids) + 1, _UNKNOWN, np.int64)
        table[np.array(list(self.ids)) - min(self.ids)] = list(self.ids.values())
        return table

    def apply(self, raw: Integer[ndarray, "*shape"], where: str = "a label image") -> Int64[ndarray, "*shape"]:
        """Ids of the image to ids of the table through one look-up table; `where` names the image in the error.

        Raises:
            SceneError: if the map does not know an id.
        """
        table = self._look_up_table
        places = raw.astype(np.int64) - min(self.ids)
        is_outside = (places < 0) | (places >= len(table))
        mapped = table[np.where(is_outside, 0, places)]
        is_unknown = is_outside | (mapped == _UNKNOWN)
        if is_unknown.any():
            raise SceneError(
                f"Expected only ids that the map {self.name} knows in {where}, found "
                f"{enumerate_ids(np.unique(raw[is_unknown]).tolist())}; correct the image, or what the map is from."
            )
        return mapped

    def then(self, other: "LabelMap | None") -> "LabelMap":
        """This map followed by `other`, which starts from this one's table; None changes nothing.

        Raises:
            ValueError: if this table has an id in use that `other` does not know.
        """
        if other is None:
            return self
        missing = set(self.ids.values()) - other.ids.keys()
        if missing:
            raise ValueError(f"{other.name} must know the ids of {self.name}, got {sorted(missing)}")
        ids = {source: other.ids[target] for source, target in self.ids.items()}
        return LabelMap(f"{self.name}, then {other.name}", other.table, ids)


def void_id_of(table: ClassTable) -> int:
    """The id that a map to `table` writes for void: its lowest one.

    Raises:
        SceneError: if the table has none.
    """
    if not table.void_ids:
        raise SceneError(
            f"Expected a void id in the class table {table.name}, which labels are mapped to, found none; add a row "
            f"named {VOID_NAME} with a free id."
        )
    return min(table.void_ids)
