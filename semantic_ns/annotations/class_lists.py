"""Files that list the classes of label images, as people and tools write them."""

import csv
import io
from dataclasses import replace
from pathlib import Path

from semantic_ns.annotations.folder import files_in
from semantic_ns.annotations.types import Notes, with_void_id
from semantic_ns.errors import SceneError
from semantic_ns.io.text import read_text_of_any_encoding
from semantic_ns.labels.class_table import ClassTable

CLASS_FILES = ("classes.csv", "classes.json", "classes.txt", "class_names.txt", "_classes.csv")
"""Names of lists that are found beside label images; the last two are those of labelme2voc and Roboflow."""
_ROBOFLOW = "_classes.csv"
_LABELME_IGNORE = "__ignore__"


def is_class_file(path: Path) -> bool:
    """Whether a file is a list of classes by its name."""
    return path.name in CLASS_FILES


def find_class_file(folder: Path) -> Path:
    """The list of classes in a folder, in the folder above, or, if all are equal, in its subfolders.

    Raises:
        SceneError: if there is none, or there are several.
    """
    for place in (folder, folder.parent):
        found = [place / name for name in CLASS_FILES if (place / name).is_file()]
        if found:
            break
    else:
        found = [path for path in files_in(folder, (".csv", ".json", ".txt")) if is_class_file(path)]
        if len({path.read_bytes() for path in found}) == 1:
            return found[0]
    if len(found) != 1:
        raise SceneError(
            f"Expected one class list for the label images in {folder}, found {len(found)} of "
            f"{', '.join(CLASS_FILES)}; give it with --classes FILE."
        )
    return found[0]


def read_class_file(path: Path) -> ClassTable:
    """A class table from CSV or JSON (`ClassTable.load`), or from text: one name per line with the ids 0, 1, 2, ...

    In text, empty lines and LabelMe's `__ignore__` are passed over. Roboflow's `_classes.csv` has the columns
    `Pixel Value, Class`.

    Raises:
        SceneError: if the file cannot be understood.
    """
    if path.name == _ROBOFLOW:
        return _read_roboflow(path)
    if path.suffix.lower() != ".txt":
        return with_void_id(ClassTable.load(path))
    text, note = read_text_of_any_encoding(path)
    lines = (line.strip() for line in text.splitlines())
    table = ClassTable.from_list([line for line in lines if line not in ("", _LABELME_IGNORE)], None, str(path))
    return replace(with_void_id(table), encoding_note=note)


def _read_roboflow(path: Path) -> ClassTable:
    text, note = read_text_of_any_encoding(path)
    rows = [row for row in csv.reader(io.StringIO(text)) if row]
    pairs = [[cell.strip() for cell in row] for row in rows[1:]]
    if not pairs or any(len(pair) != 2 for pair in pairs):
        raise SceneError(f"Expected the columns 'Pixel Value, Class' in {path}, found others; export the masks again.")
    table = ClassTable.from_list([{"id": number, "name": name} for number, name in pairs], None, str(path))
    return replace(with_void_id(table), encoding_note=note)


def read_names(path: Path, notes: Notes) -> str:
    """The text of a file of class names, whose encoding is noted where it was guessed.

    Raises:
        SceneError: if the file cannot be read.
    """
    text, note = read_text_of_any_encoding(path)
    if note is not None:
        notes.say(note)
    return text
