"""Which mark each pixel of each image belongs to: the last one that covers it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int32
from numpy import ndarray

from semantic_ns.labelling.marks import Action
from semantic_ns.labelling.owner_map import Box, OwnerMap

NOBODY = 0
"""In place of the number of a mark, which are above 0."""


@dataclass(frozen=True, eq=False)
class PaintedMark:
    """A mark with the pixels that it covers.

    Attributes:
        number: Its number, 1 or more; the higher is the later.
        frame: The image.
        class_id: Its class; None to erase or for void.
        action: What it says.
        height, width: The size of the image.
        box: The part of the image that holds its pixels.
        packed: Its pixels in there, 8 in a byte.
        revision: That of the action that made it. A mark on several images has a part for each, all of one revision.
    """

    number: int
    frame: int
    class_id: int | None
    action: Action
    height: int
    width: int
    box: Box
    packed: bytes
    revision: int

    @classmethod
    def of(
        cls,
        number: int,
        frame: int,
        class_id: int | None,
        action: Action,
        mask: Bool[ndarray, "height width"],
        revision: int | None = None,
    ) -> "PaintedMark":
        """A mark from its mask; its revision is its number, unless another one is given."""
        (height, width), (top, left, bottom, right) = mask.shape, _box_of(mask)
        packed = np.packbits(mask[top:bottom, left:right]).tobytes()
        revision = number if revision is None else revision
        return cls(number, frame, class_id, action, height, width, (top, left, bottom, right), packed, revision)

    @property
    def mask(self) -> Bool[ndarray, "_height _width"]:
        """The pixels of its box that it covers."""
        top, left, bottom, right = self.box
        shape = bottom - top, right - left
        bits = np.unpackbits(np.frombuffer(self.packed, np.uint8), count=shape[0] * shape[1])
        return bits.reshape(shape).astype(np.bool_)


class Painting:
    """Marks in force, and the owner of each pixel among them."""

    def __init__(self) -> None:
        self.marks: dict[int, PaintedMark] = {}
        self._owners: dict[int, OwnerMap] = {}
        self._pixels: dict[int, Int32[ndarray, "pixels"]] = {}

    @classmethod
    def of(cls, marks: Iterable[PaintedMark]) -> "Painting":
        """The painting of some marks."""
        painting = cls()
        for mark in sorted(marks, key=lambda mark: mark.number):
            painting.add(mark)
        return painting

    def copy(self) -> "Painting":
        """The marks in force now: what is added or removed later does not change them."""
        painting = Painting()
        painting.marks, painting._owners, painting._pixels = dict(self.marks), dict(self._owners), dict(self._pixels)
        return painting

    def add(self, mark: PaintedMark) -> None:
        """Put a mark where its number belongs."""
        is_last = all(number < mark.number for number in self.marks)
        self.marks[mark.number] = mark
        self._draw_anew(mark, [mark.number] if is_last else None)

    def remove(self, number: int) -> None:
        """Take a mark away, as if it had never been."""
        self._draw_anew(self.marks.pop(number), None)
        self._pixels.pop(number, None)

    def owners(self, frame: int) -> OwnerMap | None:
        """The number of the mark that each pixel belongs to, 0 for none; None for a frame that never had a mark."""
        return self._owners.get(frame)

    def pixels(self, number: int) -> Int32[ndarray, "pixels"]:
        """The pixels, counted row by row, that still belong to a mark in force."""
        if number not in self._pixels:
            mark = self.marks[number]
            rows, columns = np.nonzero(self._owners[mark.frame].box(mark.box) == number)
            self._pixels[number] = ((rows + mark.box[0]) * mark.width + columns + mark.box[1]).astype(np.int32)
        return self._pixels[number]

    def _draw_anew(self, changed: PaintedMark, over: Sequence[int] | None) -> None:
        """Draw what the box of a mark that came or went shows: some marks over what is there, or all without it."""
        owners = self._owners.get(changed.frame) or OwnerMap.empty(changed.height, changed.width)
        before = owners.box(changed.box)
        numbers = before.copy() if over is not None else np.zeros_like(before)
        for number in sorted(self.marks) if over is None else over:
            if self.marks[number].frame == changed.frame:
                _draw(self.marks[number], changed.box, numbers)
        is_changed = numbers != before
        for values in (numbers, before):
            for number in np.unique(values[is_changed]):
                self._pixels.pop(int(number), None)
        self._owners[changed.frame] = owners.with_box(changed.box, numbers)


def _box_of(mask: Bool[ndarray, "height width"]) -> Box:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return 0, 0, 1, 1
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def _draw(mark: PaintedMark, box: Box, numbers: Int32[ndarray, "_height _width"]) -> None:
    """Draw a mark into the numbers of a box, as far as it lies in there."""
    top, left = max(mark.box[0], box[0]), max(mark.box[1], box[1])
    bottom, right = min(mark.box[2], box[2]), min(mark.box[3], box[3])
    if top >= bottom or left >= right:
        return
    part = numbers[top - box[0] : bottom - box[0], left - box[1] : right - box[1]]
    mask = mark.mask[top - mark.box[0] : bottom - mark.box[0], left - mark.box[1] : right - mark.box[1]]
    part[mask] = NOBODY if mark.action == "erase" else mark.number
