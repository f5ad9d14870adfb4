"""Mask folders of PASCAL VOC and of CVAT ("Segmentation mask"): `labelmap.txt` and PNGs in `SegmentationClass`.

- A line of `labelmap.txt` is `name:r,g,b:parts:actions`; the last two are not used, `#` begins a remark.
- Pixels of masks in colour, or with a palette, stand for the class of their colour; pixels of grey masks for that of
  their line in `labelmap.txt`, counted from 0, and 255 is void unless there are as many lines.
- `background` is where nothing was annotated, and so is black unless it is another class's colour. VOC's border
  colour (224, 224, 192) is void unless it is a class's.
- Without a class table the classes have the ids 1, 2, 3, ... in the order of the lines, without `background`
  and names that mean void.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Int64
from numpy import ndarray
from PIL import Image

from semantic_ns.annotations.pixel_values import classes_of_values, png_files
from semantic_ns.annotations.records import in_short
from semantic_ns.annotations.types import UNLABELLED, AnnotatedImage, Annotations, ClassNames, table_from_annotations
from semantic_ns.errors import SceneError
from semantic_ns.io.images import told_as_scene_error
from semantic_ns.io.text import read_text
from semantic_ns.labels.class_table import ClassTable
from semantic_ns.labels.taxonomy import VOID

LABEL_MAP_FILE = "labelmap.txt"
_MASK_FOLDER = "SegmentationClass"
_BACKGROUND = "background"
_BLACK = (0, 0, 0)
_BORDER = (224, 224, 192)
_GREY_VOID = 255

_Color = tuple[int, int, int]


@dataclass(frozen=True)
class _Line:
    name: str
    color: _Color
    where: str

    @property
    def is_background(self) -> bool:
        return self.name.casefold() == _BACKGROUND


@dataclass(frozen=True)
class _Meanings:
    """The class of each packed colour and of each grey value."""

    of_color: Mapping[int, int]
    of_line: Mapping[int, int]


def read_voc(folder: Path, table: ClassTable | None) -> Annotations:
    """Read a folder of masks.

    Args:
        folder: folder with `labelmap.txt` and the masks, which may be in a subfolder `SegmentationClass`.
        table: the classes, found by the names of the colour map; None takes those of the colour map.

    Raises:
        SceneError: if the colour map is missing or wrong (names the line), or there is no mask; on reading a mask, if
            a pixel has a colour that the map does not know (names the pixel).
    """
    path = folder / LABEL_MAP_FILE
    lines = _read_label_map(path)
    classes = [{"name": line.name, "color": line.color} for line in lines if not line.is_background]
    used = table or table_from_annotations(classes, str(path))
    names = ClassNames(used)
    indices = [UNLABELLED if line.is_background else names.index(line.name, line.where) for line in lines]
    of_color = {_packed(_BLACK): UNLABELLED, _packed(_BORDER): VOID}
    of_color |= {_packed(line.color): index for line, index in zip(lines, indices, strict=True)}
    meanings = _Meanings(of_color, {_GREY_VOID: VOID, **dict(enumerate(indices))})
    masks = png_files(folder / _MASK_FOLDER if (folder / _MASK_FOLDER).is_dir() else folder)
    if not masks:
        raise SceneError(f"Expected masks (PNG) in {folder / _MASK_FOLDER}, found none; check the path.")
    images = tuple(AnnotatedImage(mask.name, str(mask), partial(_read_mask, mask, meanings)) for mask in masks)
    return Annotations(used, images, table is not None)


def _read_label_map(path: Path) -> list[_Line]:
    lines: list[_Line] = []
    name_of_color: dict[_Color, str] = {}
    for number, text in enumerate(read_text(path).splitlines(), 1):
        content = text.partition("#")[0].strip()
        if not content:
            continue
        where = f"line {number} of {path}"
        name, _, rest = content.partition(":")
        color = _parse_color(rest.partition(":")[0], where)
        if color in name_of_color:
            raise SceneError(
                f"Expected another colour per class in {path}, found {color} for '{name_of_color[color]}' and, at line "
                f"{number}, '{name.strip()}'; change one of them in map and masks."
            )
        name_of_color[color] = name.strip()
        lines.append(_Line(name.strip(), color, where))
    return lines


def _parse_color(text: str, where: str) -> _Color:
    try:
        red, green, blue = (int(channel) for channel in text.split(","))
    except ValueError:
        red = green = blue = -1
    if not all(0 <= channel <= 255 for channel in (red, green, blue)):
        raise SceneError(
            f"Expected name:r,g,b:: with a colour of three numbers 0..255 at {where}, found {in_short(text)}; correct "
            "the line."
        )
    return red, green, blue


def _packed(color: _Color) -> int:
    red, green, blue = color
    return red << 16 | green << 8 | blue


def _read_mask(path: Path, meanings: _Meanings) -> Int64[ndarray, "height width"]:
    with told_as_scene_error(path, "mask"), Image.open(path) as image:
        if image.mode not in ("1", "L", "P", "RGB", "RGBA"):
            raise SceneError(
                f"Expected a mask with 8 bits per channel at {path}, found mode {image.mode}; save it as a PNG in "
                "colour, with a palette or in grey."
            )
        if image.mode in ("1", "L"):
            values = np.asarray(image).astype(np.int64)
            return classes_of_values(values, meanings.of_line, path, _tell_line)
        channels = np.asarray(image.convert("RGB")).astype(np.int64)
    packed = channels @ np.array([1 << 16, 1 << 8, 1])
    return classes_of_values(packed, meanings.of_color, path, _tell_color)


def _tell_line(value: int) -> str:
    return f"line numbers of {LABEL_MAP_FILE}, from 0, as grey values, found {value}"


def _tell_color(packed: int) -> str:
    return f"colours of {LABEL_MAP_FILE}, found ({packed >> 16}, {packed >> 8 & 255}, {packed & 255})"
