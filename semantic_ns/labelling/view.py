"""Views of the surface from any pose: each pixel of the maps of the surface is a small flat disc."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int, Int16, Int32, UInt8
from numpy import ndarray

from semantic_ns.errors import SceneError
from semantic_ns.labelling import view_numba as kernels

BACKGROUND = (40, 40, 40)
"""Colour where there is no surface."""
_MAX_SIDE = 2048
_LEAST_AROUND = 5


@dataclass(frozen=True, eq=False)
class SurfaceDiscs:
    """Points of the surface that training pixels show, with the size of what these see of it.

    Attributes:
        positions: Their places, scene units.
        normals: Unit normals times 127.
        radii: Radii of the discs, scene units.
        pixels: Frame, row and column of the training pixel of each, frame by frame.
        colors: RGB of these pixels.
    """

    positions: Float32[ndarray, "points 3"]
    normals: ndarray
    radii: Float32[ndarray, "points"]
    pixels: Int32[ndarray, "points 3"]
    colors: UInt8[ndarray, "points 3"]

    def part(self, numbers: Int[ndarray, "part"]) -> "SurfaceDiscs":
        """The discs of these numbers."""
        parts = self.positions, self.normals, self.radii, self.pixels, self.colors
        return SurfaceDiscs(*(part[numbers] for part in parts))


@dataclass(frozen=True, eq=False)
class View:
    """A picture of the surface.

    Attributes:
        color: RGB.
        labels: Class ids, -1 where nothing is known or seen.
        confidence: How sure they are, 0..1; 0 where nothing is seen.
        pixels: Frame, row and column of the training pixel that each pixel shows, -1 for none: a mark on the view is
            one on these.
    """

    color: UInt8[ndarray, "height width 3"]
    labels: Int16[ndarray, "height width"]
    confidence: Float32[ndarray, "height width"]
    pixels: Int32[ndarray, "height width 3"]


def nearest_discs(
    discs: SurfaceDiscs, c2w: Float32[ndarray, "3 4"], vertical_fov: float, height: int, width: int, near: float
) -> Int32[ndarray, "height width"]:
    """The number of the disc that each pixel shows, -1 for none.

    Args:
        discs: The discs.
        c2w: The pose of a camera (OpenGL axes: it looks along -z with y up), scene units.
        vertical_fov: The angle between the upper and the lower border of the picture, radians.
        height: The height of the picture, pixels.
        width: Its width, pixels.
        near: Depth below which nothing is seen, scene units.

    Raises:
        SceneError: if a number is not finite or out of range.
    """
    if not (np.isfinite(c2w).all() and 0.01 < vertical_fov < 3.1):
        raise SceneError("Expected a pose of finite numbers and an angle of view between 0.01 and 3.1; reset the view.")
    if not (1 <= height <= _MAX_SIDE and 1 <= width <= _MAX_SIDE):
        raise SceneError(
            f"Expected a picture of 1 to {_MAX_SIDE} pixels a side, found {width}x{height}; make it smaller."
        )
    rotation = np.ascontiguousarray(c2w[:, :3] * np.array([1, -1, -1], np.float32))
    seen = np.empty((len(discs.positions), 6), np.float32)
    normals = discs.normals.astype(np.float32) / np.float32(127)
    kernels.to_camera(discs.positions, normals, rotation, np.ascontiguousarray(c2w[:, 3]), seen)
    focal = np.float32(0.5 * height / np.tan(0.5 * vertical_fov))
    depths, nearest = np.full((height, width), np.inf, np.float32), np.full((height, width), -1, np.int32)
    boxes = np.empty((len(seen), 4), np.int32)
    kernels.find_boxes(seen, discs.radii, focal, np.float32(near), height, width, boxes)
    kernels.nearest_discs(seen, discs.radii, boxes, focal, np.float32(near), depths, nearest)
    return nearest


def without_gaps(nearest: Int32[ndarray, "height width"]) -> Int32[ndarray, "height width"]:
    """A picture of `nearest_discs` in which a pixel between others shows what one of these does.

    A pixel that shows nothing takes the disc of a neighbour if at least five of its eight neighbours show one.
    """
    height, width = nearest.shape
    steps = [(1, 0), (1, 2), (0, 1), (2, 1), (0, 0), (0, 2), (2, 0), (2, 2)]
    shows = np.pad(nearest >= 0, 1).astype(np.uint8)
    around = sum((shows[down : down + height, right : right + width] for down, right in steps), np.uint8(0))
    rows, columns = np.nonzero((nearest < 0) & (around >= _LEAST_AROUND))
    padded = np.pad(nearest, 1, constant_values=-1)
    found = np.stack([padded[rows + down, columns + right] for down, right in steps])
    filled = nearest.copy()
    filled[rows, columns] = found[(found >= 0).argmax(axis=0), np.arange(len(rows))]
    return filled


def view_of(
    discs: SurfaceDiscs,
    nearest: Int32[ndarray, "height width"],
    labels: Int16[ndarray, "points"],
    confidence: Float32[ndarray, "points"],
) -> View:
    """The picture of the discs that each pixel shows.

    Args:
        discs: The discs.
        nearest: The number of the disc of each pixel, -1 for none.
        labels: The class id of each disc, -1 where nothing is known.
        confidence: How sure that is, 0..1.
    """
    is_seen = nearest >= 0
    return View(
        np.where(is_seen[..., None], discs.colors[nearest], np.array(BACKGROUND, np.uint8)),
        np.where(is_seen, labels[nearest], np.int16(-1)),
        np.where(is_seen, confidence[nearest], np.float32(0)),
        np.where(is_seen[..., None], discs.pixels[nearest], np.int32(-1)),
    )
