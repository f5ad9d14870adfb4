"""The scale of a scene whose cameras stand in one place, or nearly: how far they are apart says nothing of it."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32
from numpy import ndarray

from semantic_ns.errors import SceneError
from semantic_ns.geometry.depth_agreement import DepthViews
from semantic_ns.geometry.depth_scale import judge_scale
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


def scale_by_depth(
    frames: Sequence[Mapping[str, Any]], shared: Mapping[str, Any], depths: Sequence[Path | None], unit_m: float
) -> float | None:
    """Factor after which what cameras in one place, or nearly, see is about 1 away.

    Args:
        frames: frames of nerfstudio's format with poses in metres.
        shared: numbers of the camera that all frames have; those of a frame go before them.
        depths: depth image of each frame.
        unit_m: metres for a step of their values.

    Returns:
        None where the cameras spread as far as they see, or nearly, where no depth is known, and where depth does not
        agree between views, such as depth in another unit than the poses.
    """
    given = [(frame, path) for frame, path in zip(frames, depths, strict=True) if path is not None]
    chosen = given[:: -(-len(given) // _NUM_IMAGES)] if given else []
    chosen, images = _readable(chosen, unit_m)
    known = [image[image > 0] for image in images]
    if not any(len(values) for values in known):
        return None
    median, places = float(np.median(np.concatenate(known))), places_of(frames)
    extent = float(np.linalg.norm(places - places.mean(axis=0), axis=1).max())
    if median <= _FAR * extent:
        return None
    of_one_size = [place for place, image in enumerate(images) if image.shape == images[0].shape]
    views = _views([{**shared, **chosen[place][0]} for place in of_one_size], [images[place] for place in of_one_size])
    return 1 / median if judge_scale(views, _NUM_IMAGES, _NUM_IMAGES)[0] else None


def _readable(
    chosen: Sequence[tuple[Mapping[str, Any], Path]], unit_m: float
) -> tuple[list[tuple[Mapping[str, Any], Path]], list[Float32[ndarray, "_height _width"]]]:
    """Those whose depth image can be read, and these; what cannot is told when training reads all of them."""
    frames, images = [], []
    for frame, path in chosen:
        with suppress(SceneError):
            images.append(read_depth_image(path, unit_m))
            frames.append((frame, path))
    return frames, images


def _views(cameras: Sequence[Mapping[str, Any]], images: Sequence[Float32[ndarray, "height width"]]) -> DepthViews:
    """The images as pinhole cameras see them; lenses bend too little for what is asked here."""
    height, width = images[0].shape
    c2w = np.array([camera["transform_matrix"] for camera in cameras], float)[:, :3]
    c2w = np.concatenate([c2w, np.broadcast_to([[[0.0, 0, 0, 1]]], (len(c2w), 1, 4))], axis=1)
    c2w[:, :3, 1:3] *= -1  # from OpenGL's axes to OpenCV's
    factors = [(width / camera["w"], height / camera["h"]) for camera in cameras]
    intrinsics = [
        (x * camera["fl_x"], y * camera["fl_y"], x * camera["cx"], y * camera["cy"])
        for camera, (x, y) in zip(cameras, factors, strict=True)
    ]
    return DepthViews(np.stack(images), c2w, np.array(intrinsics, float))
