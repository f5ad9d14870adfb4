"""Annotations in the layout of Cityscapes: a JSON file of polygons for each image, `NAME_gtFine_polygons.json`.

Without such files, PNGs are read: of each image the ids of instances, `NAME_gtFine_instanceIds.png`, which hold those
of classes, too, or else the ids of classes, `NAME_gtFine_labelIds.png`. They need a list of classes.

- Objects are polygons. Where they overlap, the later one wins, as in Cityscapes' own tools; those that are `deleted`
  label nothing. A group (`cargroup`) is a class of its own, since nothing says which class it is of.
- The image of `NAME_gtFine_polygons.json` is called `NAME`.
- Without a class table the classes are the labels that occur, in alphabetical order from id 1.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from semantic_ns.annotations import shapes as drawing
from semantic_ns.annotations.folder import files_in
from semantic_ns.annotations.png import read_id_images
from semantic_ns.annotations.records import entry_of, name_of, points_of, size_of
from semantic_ns.annotations.shapes import Shape, ShapeImage, annotations_of, is_region
from semantic_ns.annotations.types import Annotations, Notes
from semantic_ns.io.text import read_json
from semantic_ns.labels.class_table import ClassTable
from semantic_ns.labels.instance_ids import INSTANCE_IDS, LABEL_IDS, class_ids_of

_ENDINGS = ("_gtFine_polygons", "_gtCoarse_polygons", "_polygons")


def read_cityscapes(paths: Sequence[Path], table: ClassTable | None, notes: Notes) -> Annotations:
    """Read files of polygons.

    Args:
        paths: the JSON files.
        table: the classes, found by the objects' labels; None takes the labels that occur.
        notes: notes, to which what was left out is added.

    Raises:
        SceneError: if a file cannot be understood, or no file has an object. The sentence names the object.
    """
    images = [_read(path, notes) for path in paths]
    source = f"labels of {paths[0].parent if len(paths) > 1 else paths[0]}"
    return annotations_of(images, None, table, source, notes)


def id_images(labels: Path) -> dict[Path, str]:
    """The PNGs of ids of a folder, or the one that is named, and the name of the colour image of each."""
    found: dict[str, Path] = {}
    for ending in (LABEL_IDS, INSTANCE_IDS):  # the latter is taken where there are both
        for path in [labels] if labels.is_file() else files_in(labels, (".png",)):
            if path.suffix.lower() == ".png" and path.stem.endswith(ending):
                found[str(path.with_name(path.stem.removesuffix(ending)))] = path
    return {path: f"{Path(start).name}.png" for start, path in sorted(found.items())}


def read_cityscapes_ids(names: Mapping[Path, str], table: ClassTable, notes: Notes) -> Annotations:
    """Read PNGs of ids of instances or of classes.

    Args:
        names: the PNGs, see `id_images`.
        table: the classes.
        notes: notes of the reader.

    Raises:
        SceneError: on reading an image, if it has several channels or an id that is not in the table.
    """
    return read_id_images(names, table, notes, class_ids_of=class_ids_of)


def _read(path: Path, notes: Notes) -> ShapeImage:
    content = read_json(path)
    size = size_of(content, ("imgWidth", "imgHeight"), str(path))
    records = entry_of(content, "objects", list, str(path))
    found = [_shape(record, f"object number {i} of {path}", notes) for i, record in enumerate(records)]
    name = path.stem
    for ending in _ENDINGS:
        name = name.removesuffix(ending)
    return ShapeImage(f"{name}.png", str(path), size, [shape for shape in found if shape is not None])


def _shape(record: Any, where: str, notes: Notes) -> Shape | None:
    name = name_of(record, "label", where)
    where = f"{where} ('{name}')"
    if record.get("deleted"):
        notes.count("objects are marked as deleted and were left out")
        return None
    points = points_of(record.get("polygon"), where)
    return Shape(name, drawing.polygon(points), where) if is_region(points, notes) else None
