"""The super-pixels of the frames, which fill a region of an image with one click."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future

import numpy as np
from jaxtyping import Int32, UInt8
from numpy import ndarray
from PIL import Image

_REGIONS_OF_FRAME = 400
"""Super-pixels of an image, about."""
_LEAST_REGION = 16
_MOST_PIXELS = 520_000
"""Pixels of the picture that is divided, those of 1920x1080 halved: of more, the time that it takes is felt, and the
outlines of 400 regions hardly get better."""
_MOST_KEPT = 8
"""Frames whose regions are kept; those of others are found again when they are asked for."""


class RegionMaps:
    """Super-pixels of frames, found when they are first asked for: several threads may ask at once.

    A large frame is divided at a smaller size, each of whose pixels gives its region to the pixels that it covers.

    Args:
        color: Gives the colours of a frame.
    """

    def __init__(self, color: Callable[[int], UInt8[ndarray, "height width 3"]]) -> None:
        self._color = color
        self._lock = threading.Lock()
        self._kept: "OrderedDict[int, Future[Int32[ndarray, '_rows _columns']]]" = OrderedDict()

    def of(self, frame: int) -> Int32[ndarray, "height width"]:
        """The super-pixels of a frame, numbered from 0; who asks for those that are being found waits for them.

        Raises:
            SceneError: if the image of the frame cannot be read.
        """
        color = self._color(frame)
        with self._lock:
            future, is_first = self._kept.get(frame), False
            if future is None:
                future, is_first = Future(), True
                self._kept[frame] = future
            self._kept.move_to_end(frame)
            while len(self._kept) > _MOST_KEPT:
                self._kept.popitem(last=False)
        if is_first:
            self._find(frame, color, future)
        height, width = color.shape[:2]
        step, regions = _step(height, width), future.result()
        if step == 1:
            return regions
        return regions.repeat(step, axis=0).repeat(step, axis=1)[:height, :width]

    def _find(self, frame: int, color: UInt8[ndarray, "height width 3"], future: "Future[ndarray]") -> None:
        try:
            future.set_result(_divided(color))
        except BaseException as error:  # who waits for it gets it, too; the next one tries anew
            with self._lock:
                if self._kept.get(frame) is future:
                    del self._kept[frame]
            future.set_exception(error)

    def __len__(self) -> int:
        """Number of frames whose regions are kept."""
        return len(self._kept)


def _divided(color: UInt8[ndarray, "height width 3"]) -> Int32[ndarray, "_rows _columns"]:
    """The super-pixels of a picture at the size at which it is divided."""
    from semantic_ns.active_learning.pool.units import super_pixels  # slow to import

    step = _step(*color.shape[:2])
    if step > 1:
        color = np.asarray(Image.fromarray(color).reduce(step))
    height, width = color.shape[:2]
    return super_pixels(color.astype(np.float32) / 255, max(_LEAST_REGION, height * width // _REGIONS_OF_FRAME))


def _step(height: int, width: int) -> int:
    """n, where each pixel of the picture that is divided stands for n x n of the frame."""
    return max(1, int(np.ceil((height * width / _MOST_PIXELS) ** 0.5)))
