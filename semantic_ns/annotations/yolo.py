"""YOLO's outlines: a text file per image with a line `class x1 y1 x2 y2 ...` per object, and a list of the classes.

- Coordinates are fractions of the image's width and height. Lines of four numbers are bounding boxes; they label
  nothing and are counted.
- The classes are the `names` of `data.yaml` (a list, or an object by number), or the lines of `classes.txt` or
  `obj.names`. Their ids begin at 0.
- Where objects overlap, the one that covers fewer pixels wins; among equals the later one.
- A text file belongs to the image of its name.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from semantic_ns.annotations import shapes as drawing
from semantic_ns.annotations.class_lists import read_names
from semantic_ns.annotations.folder import files_in
from semantic_ns.annotations.records import in_short, name_of, points_of
from semantic_ns.annotations.shapes import Shape, ShapeImage, annotations_of, is_region
from semantic_ns.annotations.types import Annotations, Notes
from semantic_ns.errors import SceneError
from semantic_ns.io.text import read_text
from semantic_ns.labels.class_table import ClassTable

NAME_LISTS = ("classes.txt", "obj.names")
BOXES = "bounding boxes without an outline label nothing"
_YAML = (".yaml", ".yml")
_OTHER_TEXTS = frozenset({"train.txt", "valid.txt", "val.txt", "test.txt", "readme.txt", "requirements.txt"})
_MAX_YAML_LETTERS = 200_000
_MAX_YAML_DEPTH = 30  # the time of the scanner grows with the square of it
_OPENING = (
    yaml.BlockMappingStartToken,
    yaml.BlockSequenceStartToken,
    yaml.FlowMappingStartToken,
    yaml.FlowSequenceStartToken,
)
_CLOSING = (yaml.BlockEndToken, yaml.FlowMappingEndToken, yaml.FlowSequenceEndToken)
_MAX_CLASSES = 10_000
_NUM_BOX_VALUES = 4


def class_list(folder: Path) -> Path | None:
    """The file of class names in a folder: `data.yaml`, another YAML file with `names`, or a list of names.

    `classes.txt` may as well belong to label images, so that it counts only beside files of objects.
    """
    for path in files_in(folder, _YAML):
        if "names" in path.read_bytes()[:_MAX_YAML_LETTERS].decode("utf8", errors="replace"):
            return path
    if not any(_is_of_numbers(path) for path in label_files(folder)[:20]):
        return None
    lists = [path for path in files_in(folder, (".txt", ".names")) if path.name.lower() in NAME_LISTS]
    return lists[0] if lists else None


def label_files(folder: Path) -> list[Path]:
    """The text files of a folder that may hold objects, in order of their names."""
    kept_out = _OTHER_TEXTS.union(NAME_LISTS)
    paths = [path for path in files_in(folder, (".txt",)) if path.name.lower() not in kept_out]
    return [path for path in paths if not path.name.lower().startswith("readme")]


def _is_of_numbers(path: Path) -> bool:
    """Whether the first line of a file holds a whole number and at least four others."""
    fields = path.read_bytes()[:2000].decode("utf8", errors="replace").partition("\n")[0].split()[:5]
    return len(fields) == 5 and fields[0].isdecimal() and all(set(field) <= set("0123456789.e+-") for field in fields)


def read_yolo(folder: Path, names_file: Path | None, table: ClassTable | None, notes: Notes) -> Annotations:
    """Read YOLO's label files.

    Args:
        folder: folder with the label files, in whatever subfolder.
        names_file: list of the classes; None takes those of the table, by their ids.
        table: the classes, found by their names; None takes those of the list.
        notes: notes, to which what was left out is added.

    Raises:
        SceneError: if the list of classes or a line cannot be understood. The sentence names the line.
    """
    if names_file is None and table is None:
        raise SceneError(
            f"Expected a list of classes (data.yaml or classes.txt) in {folder}, found none; give it with --classes "
            "FILE."
        )
    names = {entry.id: entry.name for entry in table.entries} if names_file is None and table else {}
    names = names if names_file is None else _names(names_file, notes)
    paths = label_files(folder)
    if not paths:
        raise SceneError(f"Expected label files (.txt) in {folder}, found none; check the path.")
    images = [
        ShapeImage(f"{path.stem}.png", str(path), None, _shapes(path, names, notes), is_relative=True) for path in paths
    ]
    classes = [{"id": number, "name": name} for number, name in sorted(names.items())]
    return annotations_of(images, classes, table, str(names_file), notes, smallest_wins=True)


def _names(path: Path, notes: Notes) -> dict[int, str]:
    if path.suffix.lower() in _YAML:
        found: Any = _parse_yaml(path, notes)
        found = found.get("names") if isinstance(found, Mapping) else None
    else:
        found = [line.strip() for line in read_names(path, notes).splitlines() if line.strip()]
    if isinstance(found, list):
        found = dict(enumerate(found))
    is_numbered = isinstance(found, Mapping) and all(str(key).isdecimal() and len(str(key)) < 6 for key in found)
    if not is_numbered or not 0 < len(found) <= _MAX_CLASSES:
        raise SceneError(
            f"Expected names of 1..{_MAX_CLASSES} classes, as a list or by number, in {path}, found {in_short(found)}; "
            "correct the file."
        )
    return {int(key): name_of({"name": name}, "name", f"class {key} of {path}") for key, name in found.items()}


def _parse_yaml(path: Path, notes: Notes) -> Any:
    text = read_names(path, notes)
    try:
        if len(text) > _MAX_YAML_LETTERS:
            raise ValueError("more text than a list of classes has")
        _check_tokens(text)
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError, TypeError, OverflowError) as error:
        told = in_short(str(getattr(error, "problem", None) or error))
        raise SceneError(f"Expected YAML with names in {path}, found a mistake ({told}); correct the file.") from error


def _check_tokens(text: str) -> None:
    """Refuse what makes YAML slow: references, by which a small file is large, and lists in lists."""
    depth = 0
    for token in yaml.scan(text, yaml.SafeLoader):
        if isinstance(token, yaml.AliasToken):
            raise ValueError("references to other places of the file")
        depth += isinstance(token, _OPENING) - isinstance(token, _CLOSING)
        if depth > _MAX_YAML_DEPTH:
            raise ValueError("lists nested too deeply")


def _shapes(path: Path, names: Mapping[int, str], notes: Notes) -> Sequence[Shape]:
    shapes = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        where = f"line {number} of {path}"
        fields = line.split()
        if not fields:
            continue
        if not (fields[0].isascii() and fields[0].isdigit() and len(fields[0]) < 6) or int(fields[0]) not in names:
            raise SceneError(
                f"Expected the number of a class 0..{max(names)} at the beginning of {where}, found "
                f"{in_short(fields[0])}; correct the line or the list of classes."
            )
        coordinates = fields[1:]
        if len(coordinates) == _NUM_BOX_VALUES:
            notes.count(BOXES)
            continue
        if len(coordinates) % 2:
            raise SceneError(
                f"Expected x and y of each corner in {where}, found {len(coordinates)} numbers; correct it."
            )
        points = points_of([coordinates[i : i + 2] for i in range(0, len(coordinates), 2)], where)
        if not is_region(points, notes):
            continue
        if np.abs(points).max() > 2:
            raise SceneError(
                f"Expected fractions of width and height in {where}, found {in_short(float(np.abs(points).max()))}; "
                "divide the pixels by the size of the image."
            )
        shapes.append(Shape(names[int(fields[0])], drawing.polygon(points), where))
    return shapes
