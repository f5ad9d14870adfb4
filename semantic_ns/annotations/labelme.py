"""LabelMe annotations: a JSON file per image with `shapes`, or a folder of them.

- Shapes: `polygon`, `rectangle` (two opposite corners, or the four corners), `rotation` (a turned rectangle of four
  corners, as X-AnyLabeling writes it), `circle` (centre, point on the circumference), `mask` (a PNG from the upper left
  pixel to the lower right pixel, both included). Points, lines and line strips have no area: they label nothing and are
  counted.
- Where shapes overlap, the later one in the file wins, as in LabelMe.
- Without a class table the classes are the labels that occur, in alphabetical order from id 1.
- Files that do not say the size of their image belong to an image of any size.
"""

import base64
import binascii
import io
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64
from numpy import ndarray
from PIL import Image

from semantic_ns.annotations import shapes as drawing
from semantic_ns.annotations.mask_files import quiet_about_size
from semantic_ns.annotations.records import MAX_PIXELS, entry_of, in_short, name_of, points_of, size_of
from semantic_ns.annotations.regions import rectangle_mask
from semantic_ns.annotations.shapes import WITHOUT_AREA, Draw, Shape, ShapeImage, annotations_of, are_finite, is_region
from semantic_ns.annotations.types import Annotations, Notes
from semantic_ns.dataparsers.scene import ImageSize
from semantic_ns.errors import SceneError
from semantic_ns.io.text import read_json
from semantic_ns.labels.class_table import ClassTable

# Tuples, since a damaged file may have a list for the kind, which no set can look up.
_SHAPES_WITHOUT_AREA = ("point", "points", "line", "linestrip")
_TURNED = ("rotation", "rotated_rectangle", "oriented_rectangle")
_NUM_CORNERS = 4


def read_labelme(paths: Sequence[Path], table: ClassTable | None, notes: Notes) -> Annotations:
    """Read LabelMe files.

    Args:
        paths: the JSON files.
        table: the classes, found by the shapes' labels; None takes the labels that occur.
        notes: notes, to which what was left out is added.

    Raises:
        SceneError: if a file cannot be understood or has an unknown shape, or no file has a labelled shape. The
            sentence names the shape.
    """
    images = [_read(path, notes) for path in paths]
    source = f"labels of {paths[0].parent if len(paths) > 1 else paths[0]}"
    return annotations_of(images, None, table, source, notes)


def _read(path: Path, notes: Notes) -> ShapeImage:
    content = read_json(path)
    records = entry_of(content, "shapes", list, str(path))
    size = size_of(content, ("imageWidth", "imageHeight"), str(path))
    found = [_shape(record, size, f"shape number {i} of {path}", notes) for i, record in enumerate(records)]
    image = content.get("imagePath")
    name = image if isinstance(image, str) and image.strip() else path.name
    return ShapeImage(name, str(path), size, [shape for shape in found if shape is not None])


def _shape(record: Any, size: ImageSize | None, where: str, notes: Notes) -> Shape | None:
    name = name_of(record, "label", where)
    where = f"{where} ('{name}')"
    # Files of the first versions name no type: all shapes were polygons.
    kind = record.get("shape_type") or "polygon"
    if kind in _SHAPES_WITHOUT_AREA:
        notes.count(WITHOUT_AREA)
        return None
    points = points_of(record.get("points"), where)
    if not (is_region(points, notes) if kind == "polygon" else are_finite(points, notes)):
        return None
    return Shape(name, _draw(kind, points, record, size, where), where)


def _draw(kind: Any, points: Float64[ndarray, "points 2"], record: Any, size: ImageSize | None, where: str) -> Draw:
    if kind == "polygon":
        return drawing.polygon(points)
    if kind in ("rectangle", *_TURNED) and len(points) == _NUM_CORNERS:
        return drawing.polygon(points)
    if kind not in ("rectangle", "circle", "mask", *_TURNED):
        raise SceneError(
            f"Expected a polygon, rectangle, circle or mask in {where}, found {in_short(kind)}; redraw or remove it."
        )
    if kind in _TURNED or len(points) != 2:
        expected = "four corners" if kind in _TURNED else "two points"
        raise SceneError(f"Expected {expected} of the {kind} in {where}, found {len(points)} points; redraw it.")
    if kind == "rectangle":
        return lambda canvas: rectangle_mask(points * canvas.scale, canvas.size)
    if kind == "circle":
        return drawing.circle(points)
    if size is None:
        raise SceneError(f"Expected imageWidth and imageHeight for the mask in {where}, found neither; add them.")
    return drawing.pixels(partial(_mask, entry_of(record, "mask", str, where), points, size, where))


def _mask(encoded: str, points: Float64[ndarray, "2 2"], size: ImageSize, where: str) -> Bool[ndarray, "height width"]:
    (left, top), (right, bottom) = points.round().astype(int).tolist()
    width, height = size
    part = _decode(encoded, where)
    if part.shape != (bottom - top + 1, right - left + 1) or min(left, top) < 0 or right >= width or bottom >= height:
        raise SceneError(
            f"Expected a mask from pixel ({left}, {top}) to pixel ({right}, {bottom}) of {width}x{height} in {where}, "
            f"found {part.shape[1]}x{part.shape[0]} pixels; redraw it."
        )
    mask = np.zeros((height, width), bool)
    mask[top : bottom + 1, left : right + 1] = part
    return mask


def _decode(encoded: str, where: str) -> Bool[ndarray, "height width"]:
    try:
        with quiet_about_size(), Image.open(io.BytesIO(base64.b64decode(encoded)), formats=["PNG"]) as image:
            if image.width * image.height <= MAX_PIXELS:
                return np.asarray(image.convert("L")) > 0
    except (binascii.Error, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise SceneError(f"Expected a PNG in base 64 as mask of {where}, found damaged data; redraw it.") from error
    raise SceneError(f"Expected at most {MAX_PIXELS} pixels in the mask of {where}, found more; redraw it.")
