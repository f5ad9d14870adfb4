"""The classes of one scene: label-image ids to 0..C-1 and back. Inside the package void is -1, always."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int, Int16
from numpy import ndarray
from torch import Tensor

from semantic_ns.errors import SceneError
from semantic_ns.labels.class_table import MAX_ID, ClassEntry, ClassTable

__all__ = ["VOID", "ClassEntry", "ClassTable", "Taxonomy"]

VOID = -1
"""Label of a pixel that is neither trained nor scored."""
_UNKNOWN = -2
_NUM_IDS_SHOWN = 8


@dataclass(frozen=True)
class Taxonomy:
    """The C classes of one scene in ascending order of their source id (the id in the label images).

    Attributes:
        source_ids: id of each class in the label images, ascending.
        names: name of each class.
        colors: display colour of each class, (r, g, b) in 0..255.
        is_thing: countable thing (True) or stuff (False) of each class.
        void_source_id: id that `decode` writes for void.
        void_source_ids: every id that `encode` reads as void; holds `void_source_id`.
    """

    source_ids: tuple[int, ...]
    names: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...]
    is_thing: tuple[bool, ...]
    void_source_id: int
    void_source_ids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not len(self.source_ids) == len(self.names) == len(self.colors) == len(self.is_thing):
            raise ValueError(f"source_ids, names, colors and is_thing must have equal lengths in {self!r}")
        if list(self.source_ids) != sorted(set(self.source_ids)):
            raise ValueError(f"source_ids must ascend, got {self.source_ids}")
        if self.void_source_id not in self.void_source_ids:
            object.__setattr__(self, "void_source_ids", (self.void_source_id, *self.void_source_ids))
        if set(self.void_source_ids) & set(self.source_ids):
            raise ValueError(f"void ids {self.void_source_ids} must not be class ids {self.source_ids}")

    @classmethod
    def from_table(cls, table: ClassTable, present_ids: Iterable[int]) -> "Taxonomy":
        """The classes of `table` whose id is among `present_ids`, the ids of ALL label images of the scene.

        Fix it once per scene, before splitting: a set of classes per split would number them differently.

        Raises:
            SceneError: if a present id is neither class nor void of the table.
        """
        present = {int(number) for number in present_ids}
        unknown = present - {entry.id for entry in table.entries} - table.void_ids
        if unknown:
            raise SceneError(
                f"Expected label ids of the class table {table.name}, found {enumerate_ids(unknown)}; correct the "
                "label images or give a table that has these ids."
            )
        entries = sorted((entry for entry in table.entries if entry.id in present), key=lambda entry: entry.id)
        void_ids = sorted(table.void_ids) or [next(i for i in (0, 255, MAX_ID) if i not in present)]
        return cls(
            source_ids=tuple(entry.id for entry in entries),
            names=tuple(entry.name for entry in entries),
            colors=tuple(entry.color for entry in entries),
            is_thing=tuple(entry.is_thing for entry in entries),
            void_source_id=void_ids[0],
            void_source_ids=tuple(void_ids),
        )

    @property
    def num_classes(self) -> int:
        """C, without void."""
        return len(self.source_ids)

    @cached_property
    def _look_up_table(self) -> Int16[ndarray, "ids"]:
        table = np.full(max((*self.source_ids, *self.void_source_ids)) + 1, _UNKNOWN, np.int16)
        table[list(self.source_ids)] = np.arange(self.num_classes, dtype=np.int16)
        table[list(self.void_source_ids)] = VOID
        return table

    def encode(self, raw: Int[ndarray, "*shape"], where: str) -> Int16[ndarray, "*shape"]:
        """Source ids to -1..C-1 through one look-up table; `where` names the label image in the error.

        Raises:
            SceneError: if an id is neither a class of the scene nor void.
        """
        table = self._look_up_table
        is_outside = (raw < 0) | (raw >= len(table))
        labels = table[np.where(is_outside, 0, raw)]
        is_unknown = is_outside | (labels == _UNKNOWN)
        if is_unknown.any():
            raise SceneError(
                f"Expected only label ids of the scene's class table in {where}, found "
                f"{enumerate_ids(np.unique(raw[is_unknown]).tolist())}; correct the image or add these ids to the "
                "table."
            )
        return labels

    def decode(self, labels: Int[ndarray, "*shape"]) -> Int[ndarray, "*shape"]:
        """Classes -1..C-1 to source ids (int64); void becomes `void_source_id`. Inverse of `encode`."""
        if labels.size and (labels.min() < VOID or labels.max() >= self.num_classes):
            raise ValueError(f"labels must be -1..{self.num_classes - 1}, got {labels.min()}..{labels.max()}")
        # The last place serves index -1, which is void.
        return np.array([*self.source_ids, self.void_source_id], np.int64)[labels]

    def color_table(self) -> Float[Tensor, "classes 3"]:
        """Display colours in 0..1, float32."""
        return torch.tensor(self.colors, dtype=torch.float32).reshape(-1, 3) / 255

    def colorize(self, labels: Int[Tensor, "*shape"]) -> Float[Tensor, "*shape 3"]:
        """Display colours in 0..1 of classes -1..C-1; void, and any number that is no class, is black."""
        table = torch.cat([self.color_table(), torch.zeros(1, 3)]).to(labels.device)
        is_class = (labels >= 0) & (labels < self.num_classes)
        return table[torch.where(is_class, labels, self.num_classes).long()]

    def to_json(self) -> str:
        """The taxonomy as a JSON object with the attributes as keys."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Taxonomy":
        """Inverse of `to_json`."""
        values = json.loads(text)
        return cls(
            source_ids=tuple(values["source_ids"]),
            names=tuple(values["names"]),
            colors=tuple((red, green, blue) for red, green, blue in values["colors"]),
            is_thing=tuple(values["is_thing"]),
            void_source_id=values["void_source_id"],
            void_source_ids=tuple(values["void_source_ids"]),
        )


def enumerate_ids(numbers: Iterable[int]) -> str:
    """Numbers in ascending order, shortened: `3, 5, 8` or `1, 2, ... (40 in all)`."""
    ordered = sorted(numbers)
    shown = ", ".join(str(number) for number in ordered[:_NUM_IDS_SHOWN])
    return shown if len(ordered) <= _NUM_IDS_SHOWN else f"{shown}, ... ({len(ordered)} in all)"
