"""Memory that frames are drawn in, kept from one frame to the next."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

_SPARE = 1.25
"""Room that is taken over what is asked for, so that the next frame, of a few pairs more, finds room."""
_MOST_KEPT = 512 * 2**20
"""Bytes that one renderer keeps. A frame that needs more takes so long that taking its memory is no part of it."""


class FrameMemory:
    """Blocks of memory by name, for one frame at a time; they grow to what the largest frame needs."""

    def __init__(self) -> None:
        self._blocks: dict[str, Tensor] = {}

    def take(self, name: str, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """A contiguous tensor of the block of this name. What it holds is undefined, and what it held is lost.

        Args:
            name: the name; what has the same name lies in the same place.
            shape: its shape.
            dtype: its type, the same one whenever the name is used.
        """
        count, block = math.prod(shape), self._blocks.get(name)
        if block is None or len(block) < count:
            # What was in the block goes first, or there would be both for a moment.
            self._blocks.pop(name, None)
            del block
            with torch.inference_mode(False):  # or only frames in that mode could be drawn in it
                block = self._blocks[name] = torch.empty(int(count * _SPARE), dtype=dtype)
        return block[:count].view(shape)

    @property
    def num_bytes(self) -> int:
        """How much there is of it."""
        return sum(block.numel() * block.element_size() for block in self._blocks.values())


class FrameMemories:
    """The memories of one renderer: as many as there are threads that have drawn with it at the same time.

    Args:
        most_kept: bytes that all those have together that nobody has; one that is too large for it is given up.
    """

    def __init__(self, most_kept: int = _MOST_KEPT) -> None:
        self._most_kept = most_kept
        self._idle: list[tuple[FrameMemory, int]] = []  # with its bytes, for another thread may have taken it since

    @contextmanager
    def lent(self) -> Iterator[FrameMemory]:
        """Within it, nobody else has this memory; what lies in it must not be used afterwards."""
        try:
            memory, _ = self._idle.pop()  # one step, in between which no other thread runs
        except IndexError:
            memory = FrameMemory()
        try:
            yield memory
        finally:
            size = memory.num_bytes
            if size + sum(of_other for _, of_other in tuple(self._idle)) <= self._most_kept:
                self._idle.append((memory, size))
