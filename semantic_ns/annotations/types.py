"""What every annotation format becomes: a class table and, per image, a class for every pixel.

Inside this package a class is its place in the table by ascending id (as in `Taxonomy`), `VOID` is a pixel that the
annotator marked as to be ignored, and `UNLABELLED` one that no annotation covers. Both are void in the label images,
unless the user names a class for the unlabelled pixels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from jaxtyping import Int
from numpy import ndarray

from semantic_ns.dataparsers.scene import ImageSize
from semantic_ns.errors import SceneError
from semantic_ns.labels.class_table import VOID_NAMES, ClassTable, voc_color
from semantic_ns.labels.taxonomy import VOID, Taxonomy

UNLABELLED = -2
IGNORED_NAMES = VOID_NAMES | {"__ignore__"}
"""Names of the marking "ignore these pixels": those that are void in a scene, and LabelMe's."""


class Notes:
    """What a reader left out or decided, as sentences for the user, each with the number of times or said once."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def count(self, sentence: str, number: int = 1) -> None:
        """Count `number` more cases of a sentence, which is shown after its count."""
        if number:
            self._counts[sentence] = self._counts.get(sentence, 0) + number

    def say(self, sentence: str) -> None:
        """Note a sentence, which is shown once."""
        self._counts[sentence] = 0

    def lines(self) -> tuple[str, ...]:
        """The sentences in the order of their first case."""
        return tuple(f"{count} {sentence}" if count else sentence for sentence, count in self._counts.items())


@dataclass(frozen=True)
class AnnotatedImage:
    """One annotated image.

    Attributes:
        name: file name of the colour image, as the annotations give it.
        where: file of the annotations, for errors.
        read: function of a width and height that returns the classes [height, width] for an image of this size, with
            `VOID` and `UNLABELLED`.
        find_size: function that returns width and height for which the annotations were made, or None if they do not
            say.
        frame: number of the image in its video and the number of images of the video, for annotations without names.
    """

    name: str
    where: str
    read: Callable[[ImageSize], Int[ndarray, "height width"]]
    find_size: Callable[[], ImageSize | None]
    frame: tuple[int, int] | None = None


@dataclass(frozen=True)
class Annotations:
    """All annotated images of a file or folder.

    Attributes:
        table: what the classes are; it has at least one void id.
        images: annotated images, in the order of the annotations.
        is_table_given: whether the user gave the table; otherwise it was made from the annotations.
        notes: what was left out or decided; reading an image may add to them.
        folder: folder of the annotations, where the annotated photos may be; None where there is none.
        holder: object that must live as long as the images are read, such as the folder of an unpacked archive.
    """

    table: ClassTable
    images: tuple[AnnotatedImage, ...]
    is_table_given: bool
    notes: Notes = field(default_factory=Notes)
    folder: Path | None = None
    holder: Any = None

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
    """Finds classes by name, compared without case and outer blanks; names that mean void are noted."""

    def __init__(self, table: ClassTable, notes: Notes) -> None:
        self._table = table
        self._notes = notes
        names = (entry.name for entry in sorted(table.entries, key=lambda entry: entry.id))
        self._index_of_name = {name.casefold(): index for index, name in enumerate(names)}

    def index(self, name: str, where: str) -> int:
        """The place of a class in the table, or `VOID` for one of `IGNORED_NAMES`.

        Raises:
            SceneError: if the table has no such class; `where` names the place of the annotation.
        """
        key = name.strip().casefold()
        if key in self._index_of_name:
            return self._index_of_name[key]
        if key not in IGNORED_NAMES:
            raise SceneError(
                f"Expected a class of {self._table.name} in {where}, found '{name}'; add the class to the table or "
                "rename it in the annotations."
            )
        self._notes.say(f"the class '{name.strip()}' means void")
        return VOID


def table_from_annotations(classes: Sequence[dict[str, Any]], where: str, notes: Notes) -> ClassTable:
    """A table of the classes that annotations name, without the names that mean void; 0 is void, or the first free id.

    Args:
        classes: `{id?, name, color?, is_thing?}` of each class; without ids they are 1, 2, 3, ... in order.
        where: the annotations, for errors; becomes the name of the table.
        notes: notes of the reader, which say what classes were left out.

    Raises:
        SceneError: if there is no class, or two share their id or name.
    """
    kept = []
    for entry in classes:
        if entry["name"].strip().casefold() in IGNORED_NAMES:
            notes.say(f"the class '{entry['name'].strip()}' means void")
        else:
            kept.append(entry)
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
