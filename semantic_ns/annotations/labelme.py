"""LabelMe annotations: a JSON file per image with `shapes`, or a folder of them.

- Shapes: `polygon`, `rectangle` (two opposite corners), `circle` (centre, point on the circumference), `mask` (a PNG
  from the upper left pixel to the lower right pixel, both included). Points, lines and line strips have no area: they
  label nothing and are counted.
- Where shapes overlap, the later one in the file wins, as in LabelMe.
- Without a class table the classes are the labels that occur, in alphabetical order from id 1.
"""

import base64
import binascii
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numpy import ndarray
from PIL import Image

from semantic_ns.annotations.records import entry_of, in_short, points_of
from semantic_ns.annotations.regions import Region, circle_mask, polygon_mask, rectangle_mask
from semantic_ns.annotations.types import UNLABELLED, AnnotatedImage, Annotations, ClassNames, table_from_annotations
from semantic_ns.dataparsers.scene import ImageSize
from semantic_ns.errors import SceneError
from semantic_ns.io.text import read_json
from semantic_ns.labels.class_table import ClassTable

_SHAPES_WITHOUT_AREA = frozenset({"point", "points", "line", "linestrip"})
_SIDES = {"polygon": polygon_mask, "rectangle": rectangle_mask, "circle": circle_mask}


@dataclass(frozen=True)
class _Shape:
    name: str
    draw: Callable[[], Bool[ndarray, "height width"]]
    where: str


@dataclass(frozen=True)
class _File:
    path: Path
    image: str
    size: ImageSize
    shapes: tuple[_Shape, ...]
    num_without_area: int


def read_labelme(paths: Iterable[Path], table: ClassTable | None) -> Annotations:
    """Read LabelMe files.

    Args:
        paths: the JSON files.
        table: the classes, found by the shapes' labels; None takes the labels that occur.

    Raises:
        SceneError: if a file cannot be understood or has an unknown shape, or no file has a labelled shape. The
            sentence names the shape.
    """
    files = [_read(path) for path in paths]
    used = table or _table_of_labels(files)
    indices = ClassNames(used)
    images = []
    for file in files:
        regions = [Region(indices.index(shape.name, shape.where), shape.draw) for shape in file.shapes]
        images.append(AnnotatedImage(file.image, str(file.path), partial(_paint, regions, file.size)))
    count = sum(file.num_without_area for file in files)
    remarks = [f"{count} shapes without an area (points, lines) label nothing"] if count else []
    return Annotations(used, tuple(images), table is not None, tuple(remarks))


def _table_of_labels(files: list[_File]) -> ClassTable:
    names = {shape.name.casefold(): shape.name for file in reversed(files) for shape in reversed(file.shapes)}
    classes = [{"name": names[key]} for key in sorted(names)]
    return table_from_annotations(classes, f"labels of {files[0].path.parent if len(files) > 1 else files[0].path}")


def _read(path: Path) -> _File:
    content = read_json(path)
    shapes = entry_of(content, "shapes", list, str(path))
    size = (entry_of(content, "imageWidth", int, str(path)), entry_of(content, "imageHeight", int, str(path)))
    if min(size) < 1:
        raise SceneError(f"Expected imageWidth and imageHeight above 0 in {path}, found {size}; correct them.")
    found = [_shape(shape, size, f"shape number {i} of {path}") for i, shape in enumerate(shapes)]
    kept = tuple(shape for shape in found if shape is not None)
    image = content.get("imagePath")
    name = image if isinstance(image, str) and image.strip() else path.name
    return _File(path, name, size, kept, len(found) - len(kept))


def _shape(record: Any, size: ImageSize, where: str) -> _Shape | None:
    name = entry_of(record, "label", str, where).strip()
    where = f"{where} ('{name}')"
    # Files of the first versions name no type: all shapes were polygons.
    kind = record.get("shape_type") or "polygon"
    if kind in _SHAPES_WITHOUT_AREA:
        return None
    if kind not in (*_SIDES, "mask"):
        raise SceneError(
            f"Expected a polygon, rectangle, circle or mask in {where}, found {in_short(kind)}; redraw or remove it."
        )
    is_polygon = kind == "polygon"
    points = points_of(record.get("points"), 3 if is_polygon else 2, where)
    if not is_polygon and len(points) != 2:
        raise SceneError(f"Expected two points of the {kind} in {where}, found {len(points)}; redraw it.")
    if kind == "mask":
        return _Shape(name, partial(_mask, entry_of(record, "mask", str, where), points, size, where), where)
    return _Shape(name, partial(_SIDES[kind], points, size), where)


def _mask(encoded: str, points: Float64[ndarray, "2 2"], size: ImageSize, where: str) -> Bool[ndarray, "height width"]:
    try:
        with Image.open(io.BytesIO(base64.b64decode(encoded))) as image:
            part = np.asarray(image.convert("L")) > 0
    except (binascii.Error, OSError, ValueError, SyntaxError) as error:
        raise SceneError(f"Expected a PNG in base 64 as mask of {where}, found damaged data; redraw it.") from error
    (left, top), (right, bottom) = points.round().astype(int)
    width, height = size
    if part.shape != (bottom - top + 1, right - left + 1) or min(left, top) < 0 or right >= width or bottom >= height:
        raise SceneError(
            f"Expected a mask from pixel ({left}, {top}) to pixel ({right}, {bottom}) of {width}x{height} in {where}, "
            f"found {part.shape[1]}x{part.shape[0]} pixels; redraw it."
        )
    mask = np.zeros((height, width), bool)
    mask[top : bottom + 1, left : right + 1] = part
    return mask


def _paint(regions: Iterable[Region], size: ImageSize) -> Int64[ndarray, "height width"]:
    width, height = size
    labels = np.full((height, width), UNLABELLED)
    for region in regions:
        labels[region.draw()] = region.label
    return labels
