"""The scale of a scene whose cameras stand in one place, or nearly: how far they are apart says nothing of it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from semantic_ns.io.images import read_depth_image

_ROUNDING = 1e-6
"""Distance between cameras, as a share of their coordinates (1 at least), that is no distance."""
_FAR = 10.0
"""Depth over the distance of cameras from their middle from which on they stand in nearly one place.

Where the farthest camera is 1 from the middle, the space beyond 1 is contracted, and a cell of the finest grid is about
.004 r^2 deep at r: 4 % at 10. Rooms that are filmed all round have .5 to .9.
"""
_NUM_IMAGES = 8


def places_of(entries: Sequence[Mapping[str, Any]]) -> Float[ndarray, "frames 3"]:
    """Positions of the cameras of frames, in the units of the file."""
    return np.array([entry["transform_matrix"] for entry in entries], float)[:, :3, 3]


def are_in_one_place(places: Float[ndarray, "frames 3"], at_origin: bool) -> bool:
    """Whether all cameras stand at one point, but for rounding; if `at_origin`, whether that is the origin."""
    if at_origin:
        return not places.any()
    return bool(np.ptp(places, axis=0).max() <= _ROUNDING * max(1.0, np.abs(places).max()))


def scale_by_depth(places: Float[ndarray, "frames 3"], depths: Sequence[Path], unit_m: float) -> float | None:
    """Factor after which what cameras in one place, or nearly, see is about 1 away.

    Args:
        places: positions of the cameras in metres.
        depths: depth images of the scene.
        unit_m: metres for a step of their values.

    Returns:
        None where the cameras spread as far as they see, or nearly, and where no depth is known.

    Raises:
        SceneError: if a depth image cannot be read.
    """
    chosen = depths[:: -(-len(depths) // _NUM_IMAGES)] if depths else []
    known = [depth[depth > 0] for depth in (read_depth_image(path, unit_m) for path in chosen)]
    known = [values for values in known if len(values)]
    if not known:
        return None
    median = float(np.median(np.concatenate(known)))
    extent = float(np.linalg.norm(places - places.mean(axis=0), axis=1).max())
    return 1 / median if median > _FAR * extent else None
