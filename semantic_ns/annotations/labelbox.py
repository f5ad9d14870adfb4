"""Labelbox exports: NDJSON of data rows (export v2), or a JSON list (v1, and before it polygons by class).

- Objects: polygons, bounding boxes and segmentation masks. Points and lines label nothing and are counted.
- The export holds addresses of masks alone. A mask is the PNG beside the export, or in a folder beside it, that is
  named like the object (`<feature_id>.png`) or like the end of the address. Pixels of a composite mask belong to the
  object of their colour; of another mask they are those that are not black.
- Where objects overlap, the later one wins.
- Of several labels of one image the latest counts. Skipped ones do not.
- The classes are the names that occur, in alphabetical order from id 1.
"""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
from jaxtyping import Bool
from numpy import ndarray

from semantic_ns.annotations import shapes as drawing
from semantic_ns.annotations.folder import JSON_LINES_SUFFIXES, files_in
from semantic_ns.annotations.mask_files import mask_size, open_mask
from semantic_ns.annotations.records import entry_of, in_short, name_of, number_of, points_of, size_of, value_of
from semantic_ns.annotations.shapes import NAMELESS, WITHOUT_AREA, Draw, Shape, ShapeImage, annotations_of, is_region
from semantic_ns.annotations.types import Annotations, Notes
from semantic_ns.dataparsers.scene import ImageSize
from semantic_ns.errors import SceneError
from semantic_ns.io.text import read_json, read_text
from semantic_ns.labels.class_table import ClassTable

_NAMES_OF_IMAGES = ("external_id", "External ID", "global_key", "row_data", "Labeled Data")


def read_labelbox(paths: Sequence[Path], root: Path, table: ClassTable | None, notes: Notes) -> Annotations:
    """Read exports of Labelbox.

    Args:
        paths: the files.
        root: folder in which masks are looked for.
        table: the classes, found by the objects' names; None takes the names that occur.
        notes: notes, to which what was left out is added.

    Raises:
        SceneError: if a row or object cannot be understood, or its mask is not there. The sentence names it.
    """
    masks = _MaskFiles(root)
    images = []
    for path in paths:
        for position, row in enumerate(_rows(path)):
            image = _image(row, f"row {position} of {path}", masks, notes)
            images += [] if image is None else [image]
    return annotations_of(images, None, table, f"names of {paths[0]}", notes)


def _rows(path: Path) -> list[Any]:
    if path.suffix.lower() not in JSON_LINES_SUFFIXES:
        content = read_json(path)
        return content if isinstance(content, list) else [content]
    rows = []
    # Strings may hold separators at which splitlines() would end a line.
    for number, line in enumerate(read_text(path).split("\n"), 1):
        try:
            rows += [json.loads(line)] if line.strip() else []
        except (ValueError, RecursionError) as error:
            told = error.msg if isinstance(error, json.JSONDecodeError) else "too long a number, or lists in lists"
            raise SceneError(
                f"Expected an object of JSON at line {number} of {path}, found a mistake ({told}); export it again."
            ) from error
    return rows


class _MaskFiles:
    """The PNGs in a folder and its subfolders by their names, listed once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._paths: dict[str, list[Path]] | None = None

    def find(self, address: str, number: str, where: str) -> Path:
        """The mask of an object, of which the address and the id are known."""
        if self._paths is None:
            self._paths = {}
            for path in files_in(self._root, (".png",)):
                self._paths.setdefault(path.name.casefold(), []).append(path)
        end = PurePosixPath(urlsplit(address).path.replace("\\", "/")).name
        for name in (f"{number}.png", end):
            found = self._paths.get(name.casefold(), [])
            if len(found) == 1:
                return found[0]
        raise SceneError(
            f"Expected the mask of {where} in {self._root}, found its address {in_short(address)} alone; download the "
            f"masks with Labelbox's key and put them beside the export, each as <feature_id>.png."
        )


def _image(row: Any, where: str, masks: _MaskFiles, notes: Notes) -> ShapeImage | None:
    data = value_of(row, "data_row")
    source = data if isinstance(data, Mapping) else row
    key = next((key for key in _NAMES_OF_IMAGES if isinstance(value_of(source, key), str)), _NAMES_OF_IMAGES[0])
    objects = _objects(row, where, notes)
    if value_of(source, key) is None and not objects and isinstance(row, Mapping):
        notes.count(NAMELESS)
        return None
    name = unquote(urlsplit(name_of(source, key, where)).path) if key in ("row_data", "Labeled Data") else None
    size = size_of(value_of(row, "media_attributes"), ("width", "height"), f"media_attributes of {where}")
    shapes = []
    for position, record in enumerate(objects):
        place = f"object {position} of {where}"
        draw, size = _draw(record, size, masks, place, notes)
        if draw is not None:
            title = next((key for key in ("name", "title", "value") if value_of(record, key)), "name")
            shapes.append(Shape(name_of(record, title, place), draw, place))
    return ShapeImage(name or name_of(source, key, where), where, size, shapes)


def _objects(row: Any, where: str, notes: Notes) -> list[Any]:
    """The objects of the latest label of a row."""
    old = value_of(row, "Label")
    if isinstance(old, Mapping):
        return entry_of(old, "objects", list, f"Label of {where}") if "objects" in old else _polygons_by_class(old)
    projects = value_of(row, "projects")
    labels = []
    for project in projects.values() if isinstance(projects, Mapping) else ():
        labels += entry_of(project, "labels", list, f"a project of {where}")
    kept = [label for label in labels if value_of(value_of(label, "performance_details"), "skipped") is not True]
    if not kept:
        return []
    if len(kept) > 1:
        notes.count("images have several labels, of which the latest counts")
    latest = max(enumerate(kept), key=lambda pair: (_time_of(pair[1]), pair[0]))[1]
    found = value_of(value_of(latest, "annotations"), "objects")
    return [] if found is None else entry_of(latest["annotations"], "objects", list, f"annotations of {where}")


def _polygons_by_class(label: Mapping[str, Any]) -> list[Any]:
    """The objects of the first exports: for each class a list of polygons, in an entry `geometry` or as they are."""
    found = []
    for name, shapes in label.items():
        for shape in shapes if isinstance(shapes, list) else ():
            corners = value_of(shape, "geometry") if isinstance(shape, Mapping) else shape
            # Answers to questions about the image stand beside the classes, as texts.
            if isinstance(corners, list):
                found.append({"name": name, "polygon": corners})
    return found


def _time_of(label: Any) -> str:
    """The time of the last change; ISO times of one server are in order as texts."""
    details = value_of(label, "label_details")
    return str(value_of(details, "updated_at") or value_of(details, "created_at") or "")


def _draw(
    record: Any, size: ImageSize | None, masks: _MaskFiles, where: str, notes: Notes
) -> tuple[Draw | None, ImageSize | None]:
    """What draws an object, and the size of the image, which masks tell, too."""
    box = value_of(record, "bounding_box") or value_of(record, "bbox")
    if value_of(record, "polygon") is not None:
        corners = entry_of(record, "polygon", list, where)
        points = points_of([[number_of(corner, axis, where) for axis in "xy"] for corner in corners], where)
    elif box is not None:
        left, top, width, height = (number_of(box, key, where) for key in ("left", "top", "width", "height"))
        right, bottom = left + width, top + height
        points = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
    elif (mask := _mask_record(record)) is not None and not _is_without_area(record):
        return _mask(record, mask, size, masks, where)
    else:
        notes.count(WITHOUT_AREA)
        return None, size
    if not is_region(points, notes):
        return None, size
    return drawing.polygon(points), size


def _is_without_area(record: Any) -> bool:
    """Whether it is a line or a point; v1 gives them, too, the address of a mask."""
    return any(value_of(record, key) is not None for key in ("line", "point"))


def _mask_record(record: Any) -> Mapping[str, Any] | None:
    """The address of a mask and its colour."""
    if isinstance(value_of(record, "instanceURI"), str):
        return {"url": record["instanceURI"]}
    found = value_of(record, "composite_mask") or value_of(record, "mask")
    return found if isinstance(found, Mapping) else None


def _mask(
    record: Any, mask: Mapping[str, Any], size: ImageSize | None, masks: _MaskFiles, where: str
) -> tuple[Draw, ImageSize]:
    number = value_of(record, "feature_id") or value_of(record, "featureId") or ""
    path = masks.find(entry_of(mask, "url", str, f"the mask of {where}"), str(number), where)
    own = mask_size(path)
    if size is not None and own != size:
        raise SceneError(
            f"Expected a mask of {size[0]}x{size[1]} pixels as its image at {path}, found {own[0]}x{own[1]}; download "
            "it again."
        )
    color = value_of(mask, "color_rgb")
    is_color = isinstance(color, list) and len(color) == 3 and all(type(c) is int and 0 <= c <= 255 for c in color)
    if color is not None and not is_color:
        raise SceneError(f"Expected three numbers 0..255 as color_rgb of {where}, found {in_short(color)}; correct it.")
    return drawing.pixels(partial(_read_mask, path, color)), own


def _read_mask(path: Path, color: list[int] | None) -> Bool[ndarray, "height width"]:
    with open_mask(path, "mask") as image:
        values = np.asarray(image.convert("RGB"))
    return (values > 0).any(axis=-1) if color is None else (values == np.array(color)).all(axis=-1)
