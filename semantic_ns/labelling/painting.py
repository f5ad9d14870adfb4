"""Which mark each pixel of each image belongs to: the last one that covers it."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int32
from numpy import ndarray

from semantic_ns.labelling.marks import Action

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
        packed: Its pixels, 8 in a byte.
        revision: That of the action that made it. A mark on several images has a part for each, all of one revision.
    """

    number: int
    frame: int
    class_id: int | None
    action: Action
    height: int
    width: int
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
        height, width = mask.shape
        revision = number if revision is None else revision
        return cls(number, frame, class_id, action, height, width, np.packbits(mask).tobytes(), revision)

    @property
    def mask(self) -> Bool[ndarray, "height width"]:
        """The pixels that it covers."""
        bits = np.unpackbits(np.frombuffer(self.packed, np.uint8), count=self.height * self.width)
        return bits.reshape(self.height, self.width).astype(np.bool_)


class Painting:
    """Marks in force, and the owner of each pixel among them."""

    def __init__(self) -> None:
        self.marks: dict[int, PaintedMark] = {}
        self._owners: dict[int, Int32[ndarray, "height width"]] = {}
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
        if is_last:
            owners = self._owners.get(mark.frame)
            owners = np.zeros((mark.height, mark.width), np.int32) if owners is None else owners.copy()
            _draw(mark, owners)
            self._replace(mark.frame, owners)
        else:
            self._draw_anew(mark.frame, mark.height, mark.width)

    def remove(self, number: int) -> None:
        """Take a mark away, as if it had never been."""
        mark = self.marks.pop(number)
        self._draw_anew(mark.frame, mark.height, mark.width)
        self._pixels.pop(number, None)

    def owners(self, frame: int) -> Int32[ndarray, "height width"] | None:
        """The number of the mark that each pixel belongs to, 0 for none; None for a frame without marks."""
        return self._owners.get(frame)

    def pixels(self, number: int) -> Int32[ndarray, "pixels"]:
        """The pixels, counted row by row, that still belong to a mark in force."""
        if number not in self._pixels:
            owners = self._owners[self.marks[number].frame]
            self._pixels[number] = np.flatnonzero(owners == number).astype(np.int32)
        return self._pixels[number]

    def _draw_anew(self, frame: int, height: int, width: int) -> None:
        owners = np.zeros((height, width), np.int32)
        for number in sorted(self.marks):
            if self.marks[number].frame == frame:
                _draw(self.marks[number], owners)
        self._replace(frame, owners)

    def _replace(self, frame: int, owners: Int32[ndarray, "height width"]) -> None:
        before = self._owners.get(frame)
        changed = owners != (0 if before is None else before)
        for values in (owners,) if before is None else (owners, before):
            for number in np.unique(values[changed]):
                self._pixels.pop(int(number), None)
        self._owners[frame] = owners


def _draw(mark: PaintedMark, owners: Int32[ndarray, "height width"]) -> None:
    owners[mark.mask] = NOBODY if mark.action == "erase" else mark.number
