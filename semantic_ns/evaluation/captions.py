"""Titles and a class legend around pictures, which then explain themselves. Float RGB in [0, 1], shape [H, W, 3]."""

import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from numpy import ndarray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from semantic_ns.labels.taxonomy import Taxonomy

VOID_NAME = "void"
VOID_COLOR = (0, 0, 0)
GAP_PX = 4
"""Between pictures, and around text."""
_SMALLEST_FONT_PX = 12
_PICTURE_WIDTH_PER_FONT_PX = 28
"""Text grows with the pictures, which are looked at as a whole."""


class LegendEntry(NamedTuple):
    """A colour and what it means."""

    name: str
    color: tuple[int, int, int]
    """0..255."""


class GridRow(NamedTuple):
    """A row of pictures of one size; None leaves a place empty."""

    pictures: Sequence[Float[Tensor, "height width 3"] | None]
    title: str = ""
    """Left of the row."""
    column_titles: Sequence[str] = ()
    """Above the pictures of this row; nothing for a row whose pictures are those of the row above."""


def class_legend(taxonomy: Taxonomy, *labels: Int[Tensor, "..."]) -> list[LegendEntry]:
    """The entries of the classes that occur in images of classes -1..C-1, in the order of the taxonomy, void last."""
    present = {int(number) for image in labels for number in image.unique()}
    entries = [
        LegendEntry(name, color)
        for number, (name, color) in enumerate(zip(taxonomy.names, taxonomy.colors, strict=True))
        if number in present
    ]
    has_void = not present <= set(range(taxonomy.num_classes))
    return [*entries, LegendEntry(VOID_NAME, VOID_COLOR)] if has_void else entries


def captioned_grid(
    rows: Sequence[GridRow], legend: Sequence[LegendEntry] = (), title: str = ""
) -> Float[Tensor, "grid_height grid_width 3"]:
    """Lay pictures of one size out as a grid on white, with titles beside and above them and a legend below.

    The pixels of the pictures are not touched. Columns are as wide as their titles need, so that no text is cut.

    Args:
        rows: Pictures and titles, at least one picture.
        legend: Colours to explain; none for no legend.
        title: Text above the whole.

    Returns:
        The grid on the CPU.
    """
    height, width = next(picture.shape[:2] for row in rows for picture in row.pictures if picture is not None)
    font = _font(max(_SMALLEST_FONT_PX, round(width / _PICTURE_WIDTH_PER_FONT_PX)))
    line = _line_height(font)
    margin = max(_room(font, row.title) for row in rows)
    column = max(width, *(_room(font, text) for row in rows for text in row.column_titles), 0) + GAP_PX
    num_columns = max(len(row.pictures) for row in rows)
    key = draw_entries(legend, font, margin + num_columns * column - GAP_PX) if legend else None

    slots, bottom = [], line if title else 0  # a title may be higher than its pictures
    for row in rows:
        slots.append((bottom + (line if any(row.column_titles) else 0), max(height, line) if row.title else height))
        bottom = sum(slots[-1]) + GAP_PX
    grid_width = max(margin + num_columns * column - GAP_PX, key.width if key else 0, _room(font, title))
    canvas = Image.new("RGB", (grid_width, bottom - GAP_PX + (key.height + GAP_PX if key else 0)), "white")
    pen = ImageDraw.Draw(canvas)
    pen.text((GAP_PX, line / 2), title, fill="black", font=font, anchor="lm")
    for row, (top, slot) in zip(rows, slots, strict=True):
        pen.text((GAP_PX, top + slot / 2), row.title, fill="black", font=font, anchor="lm")
        for number, text in enumerate(row.column_titles):
            middle = margin + number * column + (column - GAP_PX) / 2
            pen.text((middle, top - line / 2), text, fill="black", font=font, anchor="mm")
    if key is not None:
        canvas.paste(key, (0, bottom))
    grid = torch.from_numpy(np.array(canvas)).float() / 255
    for row, (top, slot) in zip(rows, slots, strict=True):
        y = top + (slot - height) // 2
        for number, picture in enumerate(row.pictures):
            x = margin + number * column + (column - GAP_PX - width) // 2
            if picture is not None:
                grid[y : y + height, x : x + width] = picture
    return grid


def draw_legend(taxonomy: Taxonomy, width: int = 480) -> UInt8[ndarray, "height _width 3"]:
    """Colour and name of each class of a scene, and of void, as a picture on white, about `width` pixels wide."""
    entries = [LegendEntry(*pair) for pair in zip(taxonomy.names, taxonomy.colors, strict=True)]
    return np.array(draw_entries([*entries, LegendEntry(VOID_NAME, VOID_COLOR)], _font(_SMALLEST_FONT_PX), width))


def draw_entries(entries: Sequence[LegendEntry], font: ImageFont.FreeTypeFont, width: int) -> Image.Image:
    """Draw a legend in columns from top to bottom, on white; wider than `width` only where one name needs it."""
    line = _line_height(font)
    swatch = line - GAP_PX
    column = max(_room(font, entry.name) for entry in entries) + 2 * swatch + GAP_PX
    num_rows = -(-len(entries) // max(1, width // column))
    image = Image.new("RGB", (-(-len(entries) // num_rows) * column, num_rows * line), "white")
    pen = ImageDraw.Draw(image)
    for index, entry in enumerate(entries):
        x, y = index // num_rows * column + GAP_PX, index % num_rows * line + GAP_PX // 2
        pen.rectangle((x, y, x + 2 * swatch - GAP_PX, y + swatch - 1), fill=entry.color, outline="black")
        pen.text((x + 2 * swatch, y + swatch / 2), entry.name, fill="black", font=font, anchor="lm")
    return image


@cache
def _font(size_px: int) -> ImageFont.FreeTypeFont:
    # matplotlib brings DejaVu Sans, which has most alphabets; Pillow's built-in font has ASCII only.
    import matplotlib as mpl  # slow to import, and only needed when pictures are made

    return ImageFont.truetype(Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size_px)


def _line_height(font: ImageFont.FreeTypeFont) -> int:
    return sum(font.getmetrics()) + GAP_PX


def _room(font: ImageFont.FreeTypeFont, text: str) -> int:
    """Width of a text and the gaps around it; none for no text."""
    return math.ceil(font.getlength(text)) + 2 * GAP_PX if text else 0
