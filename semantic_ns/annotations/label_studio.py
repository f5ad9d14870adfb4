"""Label Studio's JSON: a list of tasks with `annotations` ("JSON"), or of images with their regions ("JSON-MIN").

- Regions: `polygonlabels`, `rectanglelabels` (also turned, about their upper left corner) and `ellipselabels` in per
  cent of the image, `brushlabels` as run lengths. Key points label nothing and are counted.
- Where regions overlap, the later one wins.
- Of several annotations of one task the latest counts, by the time of its last change. Skipped annotations and
  predictions do not count.
- The classes are the labels that occur, in alphabetical order from id 1.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
from jaxtyping import Bool
from numpy import ndarray

from semantic_ns.annotations import shapes as drawing
from semantic_ns.annotations.records import entry_of, in_short, name_of, number_of, points_of, size_of, value_of
from semantic_ns.annotations.regions import turned_rectangle
from semantic_ns.annotations.shapes import (
    NAMELESS,
    UNNAMED,
    WITHOUT_AREA,
    WITHOUT_REGION,
    Draw,
    Shape,
    ShapeImage,
    annotations_of,
    are_finite,
    is_region,
)
from semantic_ns.annotations.types import Annotations, Notes
from semantic_ns.dataparsers.scene import ImageSize
from semantic_ns.errors import SceneError
from semantic_ns.io.run_lengths import decode_label_studio
from semantic_ns.io.text import read_json
from semantic_ns.labels.class_table import ClassTable

_DRAWN = ("polygon", "brush", "rectangle", "ellipse")
_IMAGE_NAME = re.compile(r"\.(?:jpe?g|png|bmp|tiff?|webp|gif|heic)(?:$|[?&#])", re.IGNORECASE)


def read_label_studio(paths: Sequence[Path], table: ClassTable | None, notes: Notes) -> Annotations:
    """Read Label Studio's JSON.

    Args:
        paths: the JSON files.
        table: the classes, found by the labels; None takes the labels that occur.
        notes: notes, to which what was left out is added.

    Raises:
        SceneError: if a task or region cannot be understood. The sentence names it.
    """
    images = []
    for path in paths:
        content = read_json(path)
        tasks = content if isinstance(content, list) else [content]
        for position, task in enumerate(tasks):
            label = value_of(task, "id")
            where = f"task {position if label is None else in_short(label)} of {path}"
            image = _image(task, where, path, notes)
            images += [] if image is None else [image]
    return annotations_of(images, None, table, f"labels of {paths[0]}", notes)


def _image(task: Any, where: str, path: Path, notes: Notes) -> ShapeImage | None:
    results = _results(task, where, notes)
    if not results and isinstance(value_of(task, "data"), Mapping) and not any(task["data"].values()):
        notes.count(NAMELESS)
        return None
    name = _image_name(task, where)
    shapes, sizes = [], set()
    labels = _labels_by_region(results)
    for position, result in enumerate(results):
        place = f"region {position} of {where}"
        kind = _kind(result)
        if kind is None:
            _count_without_area(result, notes)
            continue
        # Without it points are in per cent of an image of any size.
        size = size_of(result, ("original_width", "original_height"), place)
        sizes.add(size)
        draw = _draw(kind, result, size, place, notes)
        label = None if draw is None else _class_name(result, labels, place, notes)
        if draw is not None and label is not None:
            shapes.append(Shape(label, draw, place))
    if len(sizes) > 1:
        raise SceneError(f"Expected one original size of the regions of {where}, found {in_short(sizes)}; correct it.")
    size = sizes.pop() if sizes else None
    return ShapeImage(name, str(path), size, shapes, is_relative=bool(shapes) and size is None)


def _image_name(task: Any, where: str) -> str:
    """The name of the task's image: in `data`, or in JSON-MIN beside the regions."""
    data = value_of(task, "data")
    for source in (data, task):
        for value in source.values() if isinstance(source, Mapping) else ():
            if isinstance(value, str) and _IMAGE_NAME.search(value):
                return _file_of_address(value)
    raise SceneError(f"Expected the address of an image in data of {where}, found {in_short(data)}; export it again.")


def _file_of_address(address: str) -> str:
    """The path of an address; local files are named by `?d=path`."""
    try:
        parts = urlsplit(address)
        local = parse_qs(parts.query).get("d")
    except ValueError:
        return address
    return local[0] if local else unquote(parts.path)


def _results(task: Any, where: str, notes: Notes) -> list[Any]:
    annotations = value_of(task, "annotations")
    if annotations is None:
        annotations = value_of(task, "completions")
    if not isinstance(annotations, list):
        # JSON-MIN: the regions are the entry of the task that is a list of objects.
        lists = [value for value in task.values() if isinstance(value, list)] if isinstance(task, Mapping) else []
        return [result for value in lists for result in value if isinstance(result, Mapping)]
    kept = [entry for entry in annotations if isinstance(entry, Mapping) and not entry.get("was_cancelled")]
    if not kept:
        return []
    if len(kept) > 1:
        notes.count("tasks have several annotations, of which the latest counts")
    latest = max(enumerate(kept), key=lambda pair: (_time_of(pair[1]), pair[0]))[1]
    return entry_of(latest, "result", list, where)


def _time_of(annotation: Mapping[str, Any]) -> str:
    """The time of the last change; ISO times of one server are in order as texts."""
    return str(annotation.get("updated_at") or annotation.get("created_at") or "")


def _kind(result: Any) -> str | None:
    """The sort of a region, None for what has no area: key points, choices, relations, texts."""
    value = value_of(result, "value")
    if not isinstance(value, Mapping):
        value = result if isinstance(result, Mapping) else {}
    if "rle" in value:
        return "brush"
    if "points" in value:
        return "polygon"
    if "radiusX" in value:
        return "ellipse"
    return "rectangle" if {"x", "y", "width", "height"} <= value.keys() and "keypointlabels" not in value else None


def _count_without_area(result: Any, notes: Notes) -> None:
    if str(value_of(result, "type")).startswith("keypoint"):
        notes.count(WITHOUT_AREA)


def _value(result: Any) -> Mapping[str, Any]:
    """The coordinates and labels of a region; JSON-MIN has them in the region itself."""
    value = value_of(result, "value")
    return value if isinstance(value, Mapping) else result


def _label_lists(result: Any) -> Iterator[list[Any]]:
    value = _value(result)
    for key in (*(f"{kind}labels" for kind in _DRAWN), "labels"):
        labels = value.get(key)
        if isinstance(labels, list) and labels:
            yield labels


def _labels_by_region(results: Sequence[Any]) -> dict[str, list[Any]]:
    """Labels of regions whose outline and label are results of their own, with the same id."""
    found = {}
    for result in results:
        for labels in _label_lists(result) if isinstance(result, Mapping) else ():
            found.setdefault(str(result.get("id")), labels)
    return found


def _class_name(result: Any, labels: Mapping[str, list[Any]], where: str, notes: Notes) -> str | None:
    own = next(_label_lists(result), None) or labels.get(str(result.get("id")))
    if not own:
        notes.count(UNNAMED)
        return None
    if len(own) > 1:
        notes.count("regions have several labels, of which the first counts")
    return name_of({"label": own[0]}, "label", where)


def _draw(kind: str, result: Any, size: ImageSize | None, where: str, notes: Notes) -> Draw | None:
    value = _value(result)
    if value_of(result, "image_rotation"):
        raise SceneError(
            f"Expected an image that was not turned in the tool at {where}, found image_rotation "
            f"{in_short(result['image_rotation'])}; turn it back and export again."
        )
    if kind == "brush" and not value["rle"]:
        notes.count(WITHOUT_REGION)
        return None
    if kind == "brush":
        return _brush(value, size, where)
    unit = np.array(size or (1, 1)) / 100
    if kind == "ellipse":
        x, y, rx, ry = (number_of(value, key, where) for key in ("x", "y", "radiusX", "radiusY"))
        angle = np.deg2rad(number_of(value, "rotation", where)) if value.get("rotation") else 0.0
        if not are_finite(np.array([[x, y], [rx, ry], [angle, angle]]), notes):
            return None
        return drawing.ellipse(np.array([x, y]) * unit, np.array([rx, ry]) * unit, angle)
    points = points_of(value["points"], where) * unit if kind == "polygon" else _rectangle(value, unit, where)
    if not is_region(points, notes):
        return None
    return drawing.polygon(points)


def _rectangle(value: Mapping[str, Any], unit: ndarray, where: str) -> ndarray:
    x, y, width, height = (number_of(value, key, where) for key in ("x", "y", "width", "height"))
    angle = number_of(value, "rotation", where) if value.get("rotation") else 0.0
    corner = (x * unit[0], y * unit[1])
    return turned_rectangle(corner, (width * unit[0], height * unit[1]), corner, angle)


def _brush(value: Mapping[str, Any], size: ImageSize | None, where: str) -> Draw:
    codes = value["rle"]
    try:
        content = bytes(codes) if isinstance(codes, list) else b""
    except (TypeError, ValueError):
        content = b""
    if not content or size is None:
        raise SceneError(
            f"Expected run lengths (rle) as bytes and the original size of {where}, found {in_short(codes)} for "
            f"{in_short(size)}; export it again."
        )
    return drawing.pixels(partial(_decode, content, size, where))


def _decode(content: bytes, size: ImageSize, where: str) -> Bool[ndarray, "height width"]:
    try:
        return decode_label_studio(content, *size)
    except ValueError as error:
        raise SceneError(
            f"Expected run lengths (rle) for {size[0]}x{size[1]} pixels at {where}, found others ({error}); export it "
            "again."
        ) from error
