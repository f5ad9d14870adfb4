"""Where the surface of a trained scene is unsure: rays that end nowhere or in two places, or that others contradict.

Labels spread over the surface, and reach another view only where both views see it in the same place. A ray is *unsure*
if less than nine tenths of its light are stopped, if the mean distance at which it is stopped is more than a tenth off
the median one, or if more of the other cameras that look at its end see through it than see a surface there, up to
2.5 % of their distance or 2 % of the scene's depth. A camera that has something in front of it says nothing, and a
camera that stands within a tenth of the ray's length of the first one is not asked, since from the same place a wrong
surface looks right. A surface that is wrong in the same way for all cameras is not found: labels travel over it.

Distances are along unit rays in scene units.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.rays import RayBundle
from numpy import ndarray
from torch import Tensor

from semantic_ns.evaluation.other_views import (
    DepthRenderer,
    ExaminedRays,
    depth_of_scene,
    look_from_elsewhere,
    numbers,
)

LEAST_SHARE = 0.05
"""Share of unsure rays from which on a frame is named."""
_LEAST_ACCUMULATION = 0.9
_LARGEST_SPREAD = 0.1
"""Difference of the mean and the median distance, as a share of the latter."""
_LEAST_BASELINE = 0.1
_RELATIVE_TOLERANCE = 0.025
_SMALLEST_TOLERANCE = 0.02
"""Of the scene's depth."""
_NUM_NAMED = 5


@runtime_checkable
class SurfaceRenderer(DepthRenderer, Protocol):
    """A trained scene, asked ray by ray where light stops, and how much of it."""

    def stopped(self, rays: RayBundle) -> tuple[Float[Tensor, "rays"], Float[Tensor, "rays"]]:
        """The share of the light of each ray that is stopped, and the mean distance of that."""
        ...


@dataclass(frozen=True)
class UnsureSurface:
    """How much of what each frame sees is unsure.

    Attributes:
        names: names of the frames that were examined.
        shares: share of the rays of each that are unsure.
    """

    names: tuple[str, ...]
    shares: Float64[ndarray, "frames"]

    @property
    def share(self) -> float:
        """Of all rays, each frame with the same weight."""
        return float(self.shares.mean())

    def frames(self) -> list[tuple[str, float]]:
        """Name and share of the frames with at least 5 % unsure rays, the worst first."""
        found = [(name, float(share)) for name, share in zip(self.names, self.shares, strict=True)]
        return sorted((item for item in found if item[1] >= LEAST_SHARE), key=lambda item: (-item[1], item[0]))

    def sentence(self) -> str:
        """The share, and the worst frames by name."""
        total, frames = f"{self.share:.1%} of the pixels", self.frames()
        if not frames:
            return f"{total}, in no frame more than {self.shares.max():.1%}"
        named = ", ".join(f"{name} {share:.0%}" for name, share in frames[:_NUM_NAMED])
        more = f", and {len(frames) - _NUM_NAMED} more frames" if len(frames) > _NUM_NAMED else ""
        return f"{total}, most in {named}{more}; labels given there do not travel to other frames"

    def to_json(self) -> dict[str, Any]:
        """For a report."""
        by_frame = {name: float(share) for name, share in zip(self.names, self.shares, strict=True)}
        return {"share": self.share, "by_frame": by_frame}


def find_unsure_surface(
    cameras: Cameras, names: Sequence[str], render: SurfaceRenderer, num_cameras: int = 10**9, num_rays: int = 64
) -> UnsureSurface:
    """Ask other cameras about the surface that each one sees; a pure function of cameras and field.

    Args:
        cameras: all of the scene, perspective ones; each may contradict what another one sees.
        names: names of the cameras.
        render: the trained scene.
        num_cameras: largest number of cameras to examine, evenly spaced.
        num_rays: approximate number of rays of each, on a regular grid.
    """
    examined = ExaminedRays.of(cameras, num_cameras, num_rays)
    distance = numbers(render.depth(examined.rays))
    accumulation, mean = (numbers(values) for values in render.stopped(examined.rays))
    is_unsure = (accumulation < _LEAST_ACCUMULATION) | (distance <= 0)
    is_unsure |= np.abs(mean - distance) > _LARGEST_SPREAD * distance
    where = np.flatnonzero(~is_unsure)
    is_unsure[where] = _are_contradicted(
        cameras,
        render,
        examined.points(distance)[where],
        examined.owner[where],
        distance[where],
        depth_of_scene(distance, examined.owner),
    )
    return UnsureSurface(tuple(names[int(index)] for index in examined.cameras), examined.shares(is_unsure))


def _are_contradicted(
    cameras: Cameras,
    render: DepthRenderer,
    points: Float64[ndarray, "points 3"],
    owner: Int64[ndarray, "points"],
    distance: Float64[ndarray, "points"],
    scene_depth: float,
) -> Bool[ndarray, "points"]:
    seen = look_from_elsewhere(cameras, render, points, owner, _LEAST_BASELINE * distance)
    agreeing, contradicting = seen.votes(len(points), _RELATIVE_TOLERANCE, _SMALLEST_TOLERANCE * scene_depth)
    return contradicting > agreeing
