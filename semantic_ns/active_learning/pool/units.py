"""What can be labelled at a time: pixels, super-pixels or frames of the pool."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, Int64
from numpy import ndarray

from semantic_ns.active_learning.config import Cost, Unit
from semantic_ns.errors import SceneError


@dataclass(frozen=True, eq=False)
class Units:
    """A division of the pool: every pixel of every frame belongs to exactly one unit.

    Attributes:
        maps: number of the unit of each pixel, per frame; numbers go on from frame to frame.
        frames: frame of each unit, ascending.
        num_pixels: number of pixels of each unit, void or not.
        clicks: number of clicks that a unit costs: one for a pixel or a region, one per region for a frame.
    """

    maps: Sequence[Int32[ndarray, "_height _width"]]
    frames: Int32[ndarray, "units"]
    num_pixels: Int64[ndarray, "units"]
    clicks: Int64[ndarray, "units"]

    def __len__(self) -> int:
        return len(self.frames)

    def costs(self, cost: Cost) -> Float64[ndarray, "units"]:
        """What each unit costs; in frames, the share that it is of its frame. Void is charged."""
        if cost == "clicks":
            return self.clicks.astype(np.float64)
        if cost == "pixels":
            return self.num_pixels.astype(np.float64)
        of_frames = np.bincount(self.frames, self.num_pixels, len(self.maps))
        return self.num_pixels / of_frames[self.frames]

    def mask(self, unit: int) -> Bool[ndarray, "height width"]:
        """The pixels of a unit in its frame."""
        return self.maps[self.frames[unit]] == unit


class _PixelMaps(Sequence[ndarray]):
    """Numbers of single pixels, made when asked for."""

    def __init__(self, sizes: Sequence[tuple[int, int]]) -> None:
        self._sizes = sizes
        self._first = np.cumsum([0, *(height * width for height, width in sizes)])

    def __len__(self) -> int:
        return len(self._sizes)

    def __getitem__(self, index):  # type: ignore[override]
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        height, width = self._sizes[index]
        first = self._first[:-1][index]
        return np.arange(first, first + height * width, dtype=np.int32).reshape(height, width)


def divide(images: Sequence[Float32[ndarray, "_height _width 3"]], unit: Unit, region_pixels: int) -> Units:
    """Divide the frames of the pool into units; the same images give the same units.

    Regions are super-pixels (SLIC, Achanta et al. 2012, in CIELAB, connected).

    Args:
        images: RGB in 0..1.
        unit: what the units are.
        region_pixels: size of a super-pixel, about; with frames, their clicks are the number of their super-pixels.

    Raises:
        SceneError: if there is no image.
    """
    if len(images) == 0:
        raise SceneError("Expected at least one training image to divide into units, found none; add images.")
    if unit == "pixel":
        return _pixels([(len(image), len(image[0])) for image in images])
    regions = [super_pixels(image, region_pixels) for image in images]
    counts = np.array([int(region.max()) + 1 for region in regions])
    if unit == "frame":
        sizes = np.array([region.size for region in regions], np.int64)
        maps = [np.full_like(region, frame) for frame, region in enumerate(regions)]
        return Units(maps, np.arange(len(maps), dtype=np.int32), sizes, counts.astype(np.int64))
    first = np.cumsum(counts) - counts
    maps = [(region + start).astype(np.int32) for region, start in zip(regions, first, strict=True)]
    num_pixels = np.concatenate([np.bincount(region.reshape(-1)) for region in regions]).astype(np.int64)
    frames = np.repeat(np.arange(len(maps), dtype=np.int32), counts)
    return Units(maps, frames, num_pixels, np.ones_like(num_pixels))


def _pixels(sizes: Sequence[tuple[int, int]]) -> Units:
    areas = [height * width for height, width in sizes]
    frames = np.repeat(np.arange(len(sizes), dtype=np.int32), areas)
    ones = np.broadcast_to(np.int64(1), len(frames))  # read-only and without size
    return Units(_PixelMaps(sizes), frames, ones, ones)


def super_pixels(image: Float32[ndarray, "height width 3"], region_pixels: int) -> Int32[ndarray, "height width"]:
    """Numbers 0..n-1 of the super-pixels of an image, each connected by sides.

    Args:
        image: RGB in 0..1.
        region_pixels: their size, about.
    """
    # Slow to import, and not needed for pixels.
    from skimage.segmentation import slic

    wanted = max(1, round(image.shape[0] * image.shape[1] / region_pixels))
    regions = slic(image, n_segments=wanted, compactness=10.0, start_label=0, channel_axis=-1)
    # SLIC leaves numbers out where it merges.
    _, numbers = np.unique(regions, return_inverse=True)
    return numbers.reshape(regions.shape).astype(np.int32)
