"""Which points of a surface are enough to draw it: each part as often as its finest view needs."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float32, Int32, Int64
from numpy import ndarray

from semantic_ns.labelling.view import SurfaceDiscs, nearest_discs

_COARSER = 1.5
"""Radius of a disc over that of another up to which it stands in for the other."""
_GRAZING = 0.15
"""Cosine between a disc's normal and the ray that it is from below which it is likely to lie between two surfaces, at
the outline of the nearer one, and on neither."""
_MOST_FRAMES = 1000
"""Images beyond which all discs are drawn: to look through each of them would take minutes, and few of their discs show
the same then."""
_WIDER = 1.2
"""Radius with which a disc is drawn over its own: those that are left do not meet as those of one image do."""


def drawn_wider(discs: SurfaceDiscs) -> SurfaceDiscs:
    """Discs that were chosen by `enough_discs`, a little wider, so that hardly a gap is left between them."""
    return replace(discs, radii=np.float32(_WIDER) * discs.radii)


def enough_discs(
    discs: SurfaceDiscs,
    c2w: Float32[ndarray, "frames 3 4"],
    vertical_fovs: Sequence[float],
    size: tuple[int, int],
    near: float,
) -> Int32[ndarray, "drawn"]:
    """Numbers of discs, ascending, that cover what all discs do, but for what outlines leave in the air.

    Images are taken one after the other, those whose discs are smallest first. Of an image the discs are left out
    before which its camera sees one that was taken already, touches it, and is hardly larger. Discs that their own
    camera sees from the side come last, and only where it sees none at all.

    Args:
        discs: The discs of the training pixels.
        c2w: The poses of the training images (OpenGL axes), scene units.
        vertical_fovs: Their vertical angles of view, radians.
        size: Rows and columns of the discs of each image.
        near: Depth below which nothing is seen, scene units.
    """
    if len(c2w) > _MOST_FRAMES:
        return np.arange(len(discs.positions), dtype=np.int32)
    first = np.searchsorted(discs.pixels[:, 0], np.arange(len(c2w) + 1))
    medians = [float(np.median(discs.radii[start:end])) if end > start else np.inf for start, end in pairwise(first)]
    order = np.argsort(medians, kind="stable")
    grazes = _graze(discs, c2w)
    kept, count = discs.part(np.zeros(len(discs.positions), np.int64)), 0
    numbers = np.empty(len(discs.positions), np.int64)
    for frame, is_last in [(frame, is_last) for is_last in (False, True) for frame in order]:
        own = np.arange(first[frame], first[frame + 1])
        own = own[grazes[own] == is_last]
        if len(own) and count:
            seen = nearest_discs(_first(kept, count), c2w[frame], vertical_fovs[frame], *size, near)
            found = shown_at(seen, discs.positions[own], c2w[frame], vertical_fovs[frame])
            stands_in = np.full(len(own), True) if is_last else _stands_in(discs, own, numbers[np.maximum(found, 0)])
            own = own[(found < 0) | ~stands_in]
        numbers[count : count + len(own)] = own
        for name in ("positions", "normals", "radii"):
            getattr(kept, name)[count : count + len(own)] = getattr(discs, name)[own]
        count += len(own)
    return np.sort(numbers[:count]).astype(np.int32)


def _first(discs: SurfaceDiscs, count: int) -> SurfaceDiscs:
    """The first discs, without a copy."""
    parts = discs.positions, discs.normals, discs.radii, discs.pixels, discs.colors
    positions, normals, radii, pixels, colors = (part[:count] for part in parts)
    return SurfaceDiscs(positions, normals, radii, pixels, colors)


def _graze(discs: SurfaceDiscs, c2w: Float32[ndarray, "frames 3 4"]) -> Bool[ndarray, "points"]:
    rays = discs.positions - c2w[discs.pixels[:, 0], :, 3]
    along = np.abs((rays * discs.normals.astype(np.float32)).sum(axis=1))
    return along < _GRAZING * 127 * np.linalg.norm(rays, axis=1)


def _stands_in(
    discs: SurfaceDiscs, own: Int64[ndarray, "points"], others: Int64[ndarray, "points"]
) -> Bool[ndarray, "points"]:
    apart = np.linalg.norm(discs.positions[own] - discs.positions[others], axis=1)
    touches = apart <= discs.radii[own] + discs.radii[others]
    return touches & (discs.radii[others] <= _COARSER * discs.radii[own])


def shown_at(
    seen: Int32[ndarray, "height width"],
    positions: Float32[ndarray, "points 3"],
    c2w: Float32[ndarray, "3 4"],
    vertical_fov: float,
) -> Int64[ndarray, "points"]:
    """What a picture of `nearest_discs` shows in the pixel in which each point lies, -1 where it lies in none."""
    height, width = seen.shape
    x, y, z = ((positions - c2w[:, 3]) @ c2w[:, :3]).T
    with np.errstate(divide="ignore", invalid="ignore"):
        focal = 0.5 * height / np.tan(0.5 * vertical_fov)
        columns, rows = focal * x / -z + 0.5 * width, -focal * y / -z + 0.5 * height
        inside = (z < 0) & (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    place = np.where(inside, rows, 0).astype(np.int64), np.where(inside, columns, 0).astype(np.int64)
    return np.where(inside, seen[place], -1).astype(np.int64)
