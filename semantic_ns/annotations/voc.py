"""Mask folders of PASCAL VOC and of CVAT ("Segmentation mask"): `labelmap.txt` and PNGs in `SegmentationClass`.

- A line of `labelmap.txt` is `name:r,g,b:parts:actions`; the last two are not used, and lines that begin with `#` are
  remarks. A line without a colour has that of its number in PASCAL VOC's colours, counted from 0.
- Pixels of masks in colour, or with a palette, stand for the class of their colour; pixels of grey masks for that of
  their line in `labelmap.txt`, counted from 0, and 255 is void unless there are as many lines.
- `background` is where nothing was annotated, and so is black unless it is another class's colour. A `background` in
  another colour is a class of the user's. VOC's border colour (224, 224, 192) is void unless it is a class's.
- Colours that are not in the map occur at the edges of masks that a program smoothed. Such a pixel gets the class of
  the nearest colour of the map if it is within `MAX_COLOR_DISTANCE`, and is void otherwise; both are counted. An
  unknown colour that fills a square of 3x3 pixels is no edge, and is refused.
- Without a class table the classes have the ids 1, 2, 3, ... in the order of the lines, without `background`
  and names that mean void.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int64
from numpy import ndarray
from PIL import Image

from semantic_ns.annotations.class_lists import read_names
from semantic_ns.annotations.folder import files_in
from semantic_ns.annotations.mask_files import mask_files, mask_size, open_mask
from semantic_ns.annotations.pixel_values import classes_of_values
from semantic_ns.annotations.records import in_short
from semantic_ns.annotations.types import (
    UNLABELLED,
    AnnotatedImage,
    Annotations,
    ClassNames,
    Notes,
    table_from_annotations,
)
from semantic_ns.dataparsers.scene import ImageSize
from semantic_ns.errors import SceneError
from semantic_ns.labels.class_table import ClassTable, voc_color
from semantic_ns.labels.taxonomy import VOID

LABEL_MAP_FILE = "labelmap.txt"
MAX_COLOR_DISTANCE = 32
"""Euclidean distance in RGB, of 442 from black to white, up to which an unknown colour is the nearest listed one."""
_MASK_FOLDER = "SegmentationClass"
_BACKGROUND = "background"
_BLACK = (0, 0, 0)
_BORDER = (224, 224, 192)
_GREY_VOID = 255
_EDGE = 3

_Color = tuple[int, int, int]


@dataclass(frozen=True)
class _Line:
    name: str
    color: _Color
    where: str

    @property
    def is_background(self) -> bool:
        """Whether the line is the tool's own for what nobody annotated, not a class of the user's."""
        return self.name.casefold() == _BACKGROUND and self.color == _BLACK


@dataclass(frozen=True)
class _Meanings:
    """The class of each packed colour and of each grey value."""

    of_color: Mapping[int, int]
    of_line: Mapping[int, int]


def find_label_map(folder: Path) -> Path | None:
    """The `labelmap.txt` in a folder or the only one in its subfolders; None if there is none or several."""
    if (folder / LABEL_MAP_FILE).is_file():
        return folder / LABEL_MAP_FILE
    found = [path for path in files_in(folder, (".txt",)) if path.name == LABEL_MAP_FILE]
    return found[0] if len(found) == 1 else None


def read_voc(folder: Path, table: ClassTable | None, notes: Notes) -> Annotations:
    """Read a folder of masks.

    Args:
        folder: folder with `labelmap.txt` and the masks, which may be in a subfolder `SegmentationClass`.
        table: the classes, found by the names of the colour map; None takes those of the colour map.
        notes: notes, to which what was left out is added, also when an image is read.

    Raises:
        SceneError: if the colour map is missing or wrong (names the line), or there is no mask; on reading a mask, if
            it has areas of a colour that the map does not know (names a pixel).
    """
    path = find_label_map(folder) or folder / LABEL_MAP_FILE
    lines = _read_label_map(path, notes)
    for line in lines:
        if line.name.casefold() == _BACKGROUND and not line.is_background:
            notes.say(f"'{line.name}' has the colour {line.color}, and so is a class; what nobody annotated is black")
    classes = [{"name": line.name, "color": line.color} for line in lines if not line.is_background]
    used = table or table_from_annotations(classes, str(path), notes)
    names = ClassNames(used, notes)
    indices = [UNLABELLED if line.is_background else names.index(line.name, line.where) for line in lines]
    of_color = {_packed(_BLACK): UNLABELLED, _packed(_BORDER): VOID}
    of_color |= {_packed(line.color): index for line, index in zip(lines, indices, strict=True)}
    meanings = _Meanings(of_color, {_GREY_VOID: VOID, **dict(enumerate(indices))})
    masks_in = path.parent / _MASK_FOLDER
    masks = mask_files(masks_in if masks_in.is_dir() else path.parent)
    if not masks:
        raise SceneError(f"Expected masks (PNG) in {masks_in}, found none; check the path.")
    images = (
        AnnotatedImage(mask.name, str(mask), partial(_read_mask, mask, meanings, notes), partial(mask_size, mask))
        for mask in masks
    )
    return Annotations(used, tuple(images), table is not None, notes)


def _read_label_map(path: Path, notes: Notes) -> list[_Line]:
    lines: list[_Line] = []
    name_of_color: dict[_Color, str] = {}
    for number, text in enumerate(read_names(path, notes).splitlines(), 1):
        content = text.strip()
        if not content or content.startswith("#"):
            continue
        where = f"line {number} of {path}"
        # Names may hold colons, and the fields after the name may be missing.
        fields = content.rsplit(":", 3) if content.count(":") >= 3 else content.split(":")
        name = fields[0].strip()
        if not name.isprintable():
            raise SceneError(f"Expected a name that can be shown at {where}, found {in_short(name)}; correct the line.")
        is_colorless = len(fields) > 1 and not fields[1].strip()
        color = voc_color(len(lines) % 255) if is_colorless else _parse_color("".join(fields[1:2]), where)
        if color in name_of_color:
            raise SceneError(
                f"Expected another colour per class in {path}, found {color} for '{name_of_color[color]}' and, at line "
                f"{number}, '{name}'; change one of them in map and masks."
            )
        name_of_color[color] = name
        lines.append(_Line(name, color, where))
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


def _read_mask(path: Path, meanings: _Meanings, notes: Notes, size: ImageSize) -> Int64[ndarray, "height width"]:
    with open_mask(path, "mask") as image:
        if image.mode not in ("1", "L", "P", "RGB", "RGBA"):
            raise SceneError(
                f"Expected a mask with 8 bits per channel at {path}, found mode {image.mode}; save it as a PNG in "
                "colour, with a palette or in grey."
            )
        is_grey = image.mode in {"1", "L"}
        # In colour first, since the palette is lost in resizing.
        loaded = image if is_grey else image.convert("RGB")
        values = np.asarray(loaded.resize(size, Image.Resampling.NEAREST)).astype(np.int64)
    if is_grey:
        return classes_of_values(values, meanings.of_line, path, _tell_line)
    packed = values @ np.array([1 << 16, 1 << 8, 1])
    known = np.array(sorted(meanings.of_color))
    is_edge = ~np.isin(packed, known)
    if not is_edge.any() or _has_area(packed, is_edge):
        return classes_of_values(packed, meanings.of_color, path, _tell_color)
    is_near, nearest = _nearest_colors(packed[is_edge], known)
    packed[is_edge] = nearest
    labels = classes_of_values(packed, meanings.of_color, path, _tell_color)
    labels[is_edge] = np.where(is_near, labels[is_edge], VOID)
    notes.count("pixels at edges of masks have the class of the nearest colour of the map", int(is_near.sum()))
    notes.count("pixels at edges of masks have no such colour and are void", int((~is_near).sum()))
    return labels


def _has_area(packed: Int64[ndarray, "height width"], is_unknown: Bool[ndarray, "height width"]) -> bool:
    """Whether one unknown colour fills a square of 3x3 pixels, which an edge between two classes does not."""
    if min(packed.shape) < _EDGE:
        return False
    squares = np.lib.stride_tricks.sliding_window_view(np.where(is_unknown, packed, -1), (_EDGE, _EDGE))
    first = squares[..., 0, 0]
    is_filled = first >= 0
    for row in range(_EDGE):
        for column in range(_EDGE):
            is_filled &= squares[..., row, column] == first
    return bool(is_filled.any())


def _nearest_colors(
    packed: Int64[ndarray, "pixels"], known: Int64[ndarray, "colors"]
) -> tuple[Bool[ndarray, "pixels"], Int64[ndarray, "pixels"]]:
    """Whether a listed colour is near enough, and the nearest one."""
    colors, places = np.unique(packed, return_inverse=True)
    channels, known_channels = (np.stack([c >> 16, c >> 8 & 255, c & 255], -1) for c in (colors, known))
    nearest, square = np.zeros(len(colors), np.int64), np.full(len(colors), 3 * 256**2)
    for color, of_known in zip(known.tolist(), known_channels, strict=True):
        distance = ((channels - of_known) ** 2).sum(-1)
        nearest, square = np.where(distance < square, color, nearest), np.minimum(distance, square)
    places = places.reshape(-1)
    return (square <= MAX_COLOR_DISTANCE**2)[places], nearest[places]


def _tell_line(value: int) -> str:
    return f"line numbers of {LABEL_MAP_FILE}, from 0, as grey values, found {value}"


def _tell_color(packed: int) -> str:
    return f"colours of {LABEL_MAP_FILE}, found ({packed >> 16}, {packed >> 8 & 255}, {packed & 255})"
