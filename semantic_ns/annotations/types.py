"""What every annotation format becomes: a class table and, per image, a class for every pixel.

Inside this package a class is its place in the table by ascending id (as in `Taxonomy`), `VOID` is a pixel that the
annotator marked as to be ignored, and `UNLABELLED` one that no annotation covers. Both are void in the label images,
unless the user names a class for the unlabelled pixels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from jaxtyping import Int
from numpy import ndarray

from semantic_ns.errors import SceneError
from semantic_ns.labels.class_table import ClassTable, voc_color
from semantic_ns.labels.taxonomy import VOID, Taxonomy

UNLABELLED = -2
VOID_NAMES = frozenset({"void", "ignored", "__ignore__"})
"""Names of the marking "ignore these pixels": this project's, PASCAL VOC's and LabelMe's."""


@dataclass(frozen=True)
class AnnotatedImage:
    """One annotated image.

    Attributes:
        name: file name of the colour image, as the annotations give it.
        where: file of the annotations, for errors.
        read: function that returns the classes [height, width], with `VOID` and `UNLABELLED`, in the recorded size.
    """

    name: str
    where: str
    read: Callable[[], Int[ndarray, "height width"]]


@dataclass(frozen=True)
class Annotations:
    """All annotated images of a file or folder.

    Attributes:
        table: what the classes are; it has at least one void id.
        images: annotated images, in the order of the annotations.
        is_table_given: whether the user gave the table; otherwise it was made from the annotations.
        remarks: what was left out, as sentences for the user.
    """

    table: ClassTable
    images: tuple[AnnotatedImage, ...]
    is_table_given: bool
    remarks: tuple[str, ...] = ()

    @property
    def taxonomy(self) -> Taxonomy:
        """All classes of the table, whether they occur or not."""
        return Taxonomy.from_table(self.table, (entry.id for entry in self.table.entries))

    def with_class(self, name: str) -> "Annotations":
        """The same with a class `name`: a new one gets the next id, and so the last place, in a table made here.

        Raises:
            SceneError: if the user's own table has no such class.
        """
        table = self.table
        if name.strip().casefold() in {entry.name.casefold() for entry in table.entries}:
            return self
        if self.is_table_given:
            raise SceneError(
                f"Expected a class of {table.name} for the unlabelled pixels, found '{name}'; add it to the table or "
                "choose one of its classes."
            )
        number = max(entry.id for entry in table.entries) + 1
        new = ClassTable.from_list(
            [{"id": number, "name": name, "color": list(voc_color(number % 255))}], [], table.name
        ).entries
        return replace(self, table=with_void_id(ClassTable(table.name, table.entries + new, table.void_ids - {number})))


class ClassNames:
    """Finds classes by name, compared without case and outer blanks."""

    def __init__(self, table: ClassTable) -> None:
        self._table = table
        names = (entry.name for entry in sorted(table.entries, key=lambda entry: entry.id))
        self._index_of_name = {name.casefold(): index for index, name in enumerate(names)}

    def index(self, name: str, where: str) -> int:
        """The place of a class in the table, or `VOID` for one of `VOID_NAMES`.

        Raises:
            SceneError: if the table has no such class; `where` names the place of the annotation.
        """
        key = name.strip().casefold()
        if key not in self._index_of_name and key not in VOID_NAMES:
            raise SceneError(
                f"Expected a class of {self._table.name} in {where}, found '{name}'; add the class to the table or "
                "rename it in the annotations."
            )
        return self._index_of_name.get(key, VOID)


def table_from_annotations(classes: Sequence[dict[str, Any]], where: str) -> ClassTable:
    """A table of the classes that annotations name, without the names that mean void; 0 is void, or the first free id.

    Args:
        classes: `{id?, name, color?, is_thing?}` of each class; without ids they are 1, 2, 3, ... in order.
        where: the annotations, for errors; becomes the name of the table.

    Raises:
        SceneError: if there is no class, or two share their id or name.
    """
    kept = [entry for entry in classes if entry["name"].strip().casefold() not in VOID_NAMES]
    numbered = [{"id": number, **entry} for number, entry in enumerate(kept, 1)]
    return ClassTable.from_list(numbered, free_id({entry["id"] for entry in numbered}), where)


def with_void_id(table: ClassTable) -> ClassTable:
    """The table with a void id: its own, else the first free one."""
    if table.void_ids:
        return table
    return replace(table, void_ids=frozenset({free_id({entry.id for entry in table.entries})}))


def free_id(taken: set[int]) -> int:
    """The first of 0, 255, 1, 2, 3, ... that is not taken."""
    return next(number for number in (0, 255, *range(1, len(taken) + 2)) if number not in taken)
