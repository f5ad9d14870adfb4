"""Supervisely's projects: `meta.json` with the classes, and `ann/<image>.json` for each image of a data set.

- Objects: `polygon` (with holes), `rectangle` (two corner pixels, both included) and `bitmap` (a packed PNG and the
  place of its upper left pixel). Points and lines label nothing and are counted.
- Where objects overlap, the later one wins.
- The classes are those of `meta.json`, in their order and with their colours, with ids from 1. Without that file they
  are the classes that occur, in alphabetical order.
"""

import base64
import binascii
import io
import zlib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool
from numpy import ndarray
from PIL import Image

from semantic_ns.annotations import shapes as drawing
from semantic_ns.annotations.records import entry_of, in_short, name_of, points_of, size_of, value_of
from semantic_ns.annotations.shapes import (
    WITHOUT_AREA,
    Draw,
    Shape,
    ShapeImage,
    annotations_of,
    are_finite,
    has_area,
    is_region,
)
from semantic_ns.annotations.types import Annotations, Notes
from semantic_ns.dataparsers.scene import ImageSize
from semantic_ns.errors import SceneError
from semantic_ns.io.images import quiet_about_size
from semantic_ns.io.text import read_json
from semantic_ns.labels.class_table import ClassTable

META_FILE = "meta.json"
_MAX_PNG_BYTES = 16 * 2**20
_WITHOUT_AREA = ("point", "line", "graph", "cuboid")  # no set, which cannot look up a list


def read_supervisely(paths: Sequence[Path], meta: Path | None, table: ClassTable | None, notes: Notes) -> Annotations:
    """Read Supervisely's annotations.

    Args:
        paths: the JSON files of the images.
        meta: the file of the classes, if there is one.
        table: the classes, found by the objects' titles; None takes those of the project.
        notes: notes, to which what was left out is added.

    Raises:
        SceneError: if a file or object cannot be understood. The sentence names the object.
    """
    images = [_image(path, notes) for path in paths]
    classes = None if meta is None else _classes(meta)
    return annotations_of(images, classes, table, f"classes of {meta or paths[0]}", notes)


def _classes(path: Path) -> list[dict[str, Any]]:
    classes = []
    for position, entry in enumerate(entry_of(read_json(path), "classes", list, str(path))):
        found: dict[str, Any] = {"name": name_of(entry, "title", f"class number {position} of {path}")}
        color = str(value_of(entry, "color") or "").lstrip("#")
        if len(color) == 6 and not set(color.lower()) - set("0123456789abcdef"):
            found["color"] = list(bytes.fromhex(color))
        classes.append(found)
    return classes


def _image(path: Path, notes: Notes) -> ShapeImage:
    content = read_json(path)
    size = size_of(value_of(content, "size"), ("width", "height"), f"size of {path}")
    shapes = []
    for position, record in enumerate(entry_of(content, "objects", list, str(path))):
        shape = _shape(record, size, f"object number {position} of {path}", notes)
        if shape is not None:
            shapes.append(shape)
    # The file is named after the image with its suffix, `photo.jpg.json`.
    name = path.stem if Path(path.stem).suffix else path.name
    return ShapeImage(name, str(path), size, shapes)


def _shape(record: Any, size: ImageSize | None, where: str, notes: Notes) -> Shape | None:
    kind = value_of(record, "geometryType")
    name = name_of(record, "classTitle", where)
    if kind in _WITHOUT_AREA:
        notes.count(WITHOUT_AREA)
        return None
    draw = _draw(kind, record, size, where, notes)
    return None if draw is None else Shape(name, draw, where)


def _draw(kind: Any, record: Mapping[str, Any], size: ImageSize | None, where: str, notes: Notes) -> Draw | None:
    if kind == "bitmap":
        return _bitmap(record, size, where)
    if kind not in ("polygon", "rectangle"):
        raise SceneError(f"Expected a polygon, rectangle or bitmap at {where}, found {in_short(kind)}; redraw it.")
    rings = entry_of(record, "points", Mapping, where)
    outline = points_of(rings.get("exterior"), where)
    if kind == "rectangle":
        if len(outline) != 2:
            raise SceneError(f"Expected two corners of the rectangle at {where}, found {len(outline)}; redraw it.")
        if not are_finite(outline, notes):
            return None
        (left, top), (right, bottom) = np.sort(outline, axis=0) + np.array([[0, 0], [1, 1]])
        return drawing.polygon(np.array([[left, top], [right, top], [right, bottom], [left, bottom]]))
    inner = entry_of(rings, "interior", list, where) if rings.get("interior") else []
    holes = [points_of(hole, where) for hole in inner]
    # Without one of its holes an object would label what it is not.
    if not all(are_finite(hole, notes) for hole in holes) or not is_region(outline, notes):
        return None
    return drawing.polygons([outline], [hole for hole in holes if has_area(hole)])


def _bitmap(record: Mapping[str, Any], size: ImageSize | None, where: str) -> Draw:
    bitmap = entry_of(record, "bitmap", Mapping, where)
    data = entry_of(bitmap, "data", str, where)
    corner = points_of([bitmap.get("origin")], where)
    if not np.isfinite(corner).all():
        raise SceneError(
            f"Expected two finite numbers as origin of the bitmap at {where}, found {in_short(bitmap['origin'])}; "
            "export it again."
        )
    origin = corner[0].round().astype(int).tolist()
    if size is None:
        raise SceneError(f"Expected the size of the image for the bitmap at {where}, found none; export it again.")
    return drawing.pixels(partial(_decode, data, (origin[0], origin[1]), size, where))


def _decode(data: str, origin: tuple[int, int], size: ImageSize, where: str) -> Bool[ndarray, "height width"]:
    left, top = origin
    width, height = size
    try:
        # A PNG is packed itself, so that a longer one is none of a mask.
        unpacker = zlib.decompressobj()
        content = unpacker.decompress(base64.b64decode(data), _MAX_PNG_BYTES)
        with quiet_about_size(), Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            if min(origin) < 0 or left + image.width > width or top + image.height > height:
                raise ValueError(f"{image.width}x{image.height} pixels at {origin}")
            is_transparent = image.mode in {"RGBA", "LA"} or "transparency" in image.info
            part = np.asarray(image.convert("RGBA").getchannel("A") if is_transparent else image.convert("L")) > 0
    except (binascii.Error, zlib.error, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise SceneError(
            f"Expected a packed PNG inside the image of {width}x{height} pixels as bitmap at {where}, found other data "
            f"({in_short(str(error))}); export it again."
        ) from error
    mask = np.zeros((height, width), bool)
    mask[top : top + part.shape[0], left : left + part.shape[1]] = part
    return mask
