"""What ids mean in a folder of labels that `sns-label` has exported, as the classes beside them say."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from semantic_ns.errors import SceneError
from semantic_ns.io.text import read_json
from semantic_ns.labels.label_files import CLASSES_FILE
from semantic_ns.labels.taxonomy import Taxonomy

LABELLING_COMMAND = "sns-label"
"""Who wrote a list of classes, for `written_by`."""


@dataclass(frozen=True)
class ExportedIds:
    """The ids of an export, which may be another scene's, or of classes that were renumbered or added since.

    Attributes:
        path: The list of classes.
        known: For each of its ids of a class that the scene has by name, and for void, the id that the scene has.
        others: The names of its other ids.
        taxonomy: The classes of the scene.
    """

    path: Path
    known: dict[int, int]
    others: dict[int, str]
    taxonomy: Taxonomy

    @classmethod
    def of(cls, folder: Path, taxonomy: Taxonomy) -> "ExportedIds | None":
        """Those of a folder; None where `sns-label` did not write it.

        Raises:
            SceneError: if its list of classes is damaged.
        """
        path = folder / CLASSES_FILE
        content: Any = read_json(path) if path.is_file() else None
        if not isinstance(content, dict) or content.get("written_by") != LABELLING_COMMAND:
            return None
        try:
            names = {int(entry["id"]): str(entry["name"]) for entry in content["classes"]}
            void_id = int(content["void_id"])
        except (KeyError, TypeError, ValueError) as error:
            raise SceneError(
                f"Expected void_id and a list of classes with ids and names in {path}, found something else; export "
                "the labels again."
            ) from error
        of_scene = {
            name.strip().casefold(): number for number, name in zip(taxonomy.source_ids, taxonomy.names, strict=True)
        }
        known = {
            number: of_scene[name.strip().casefold()]
            for number, name in names.items()
            if name.strip().casefold() in of_scene
        }
        others = {number: name for number, name in names.items() if number not in known}
        return cls(path, known | {void_id: taxonomy.void_source_id}, others, taxonomy)

    def apply(self, ids: Int64[ndarray, "height width"], path: str) -> Int64[ndarray, "height width"]:
        """The ids of a label image as the scene has them; those of classes that it does not have stay.

        Raises:
            SceneError: if pixels have an id that means another class in the scene, by which they would be trained.
        """
        result = ids.copy()
        of_scene = {*self.taxonomy.source_ids, *self.taxonomy.void_source_ids}
        for number in np.unique(ids).tolist():
            if number in self.known:
                result[ids == number] = self.known[number]
            elif number in of_scene:
                raise SceneError(
                    f"Expected that the id {number} means {self._scene_name(number)} in {path}, as in the scene, found "
                    f"that it means {self._name(number)} by {self.path}; choose labels of this scene, or write the "
                    "scene's name of the class there if it is the same class."
                )
        return result

    def _name(self, number: int) -> str:
        return f"'{self.others[number]}'" if number in self.others else "no class"

    def _scene_name(self, number: int) -> str:
        ids = [*self.taxonomy.source_ids]
        return f"'{self.taxonomy.names[ids.index(number)]}'" if number in ids else "void"

    def names_of(self, numbers: Iterable[int]) -> list[str]:
        """The names of ids that no class of the scene has."""
        return [self.others[number] for number in sorted(numbers) if number in self.others]
