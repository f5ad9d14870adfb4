"""Veils: what stops light close to the lens of one camera and is not there for the others.

A field can explain an image by a thin coat of its colours right in front of the camera instead of by the scene; from
anywhere else that coat is fog. A ray is *veiled* if more than 20 % of its light stops nearer than a quarter of the
scene's depth, at a point that other cameras do not confirm. Such a camera has the point in its picture and stands at
least half the point's distance away from the first one, since from the same place a veil looks like a surface. It
confirms the point if the median depth that it renders there agrees, contradicts it if that depth is larger, and says
nothing if it is smaller (something is in between). A point is confirmed by at least as many cameras as contradict it,
and by one at least. Where no camera stands that far away, as in a panorama, nothing can be said, and no ray is veiled.

The scene's depth is the upper quartile, over cameras, of the median depth that a camera renders: veils before most of
the cameras must not make it small. Distances are along unit rays in scene units.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float64, Int64
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

NEAR_SHARE = 0.25
"""Of the scene's depth: what is nearer is close to the lens."""
LEAST_WEIGHT = 0.2
"""Share of a ray's light that has to stop there."""
LEAST_SHARE = 0.1
"""Share of veiled rays from which on a camera is named."""
_LEAST_BASELINE = 0.5
_RELATIVE_TOLERANCE = 0.1
_SMALLEST_TOLERANCE = 0.02
"""Of the scene's depth."""
_VEIL_END = 0.9
"""Quantile of the distances of veiled points that is given as the end of the veil."""
_NUM_NAMED = 3


@runtime_checkable
class RayRenderer(DepthRenderer, Protocol):
    """A trained scene, asked ray by ray, also for light that stops early."""

    def near_weight(self, rays: RayBundle, end: float) -> tuple[Float[Tensor, "rays"], Float[Tensor, "rays"]]:
        """The share of each ray's light that stops before the distance `end`, and the mean distance of that."""
        ...


@dataclass(frozen=True)
class Veils:
    """Which cameras stand behind a veil.

    Attributes:
        names: names of the cameras that were examined.
        shares: share of the rays of each that are veiled.
        near: distance in scene units below which a point is close to the lens.
        end: distance in scene units within which nine of ten veiled points lie; NaN without any.
        remedy: option that makes a further training better, in words that follow "train again with".
    """

    names: tuple[str, ...]
    shares: Float64[ndarray, "cameras"]
    near: float
    end: float
    remedy: str = ""

    def veiled(self) -> list[tuple[str, float]]:
        """Name and share of the cameras with at least 10 % veiled rays, the worst first."""
        found = [(name, float(share)) for name, share in zip(self.names, self.shares, strict=True)]
        return sorted((item for item in found if item[1] >= LEAST_SHARE), key=lambda item: (-item[1], item[0]))

    def sentence(self) -> str | None:
        """How many cameras are veiled, the worst by name, and where the veil ends; None if none is."""
        veiled = self.veiled()
        if not veiled:
            return None
        worst = ", ".join(f"{name} {share:.0%}" for name, share in veiled[:_NUM_NAMED])
        more = ", ..." if len(veiled) > _NUM_NAMED else ""
        return (
            f"{len(veiled)} of {len(self.names)} views lie behind a veil close to the lens that no other camera "
            f"confirms (share of the view: {worst}{more}); most of it is nearer than {self.end:.2g} scene units"
        )


def find_veils(
    cameras: Cameras, names: Sequence[str], render: RayRenderer, num_cameras: int = 10**9, num_rays: int = 64
) -> Veils:
    """Look for veils before the cameras of a scene; a pure function of cameras and field.

    Args:
        cameras: all of the scene, perspective ones; each may confirm what another one sees.
        names: names of the cameras.
        render: the trained scene.
        num_cameras: largest number of cameras to examine, evenly spaced.
        num_rays: approximate number of rays of each, on a regular grid.
    """
    examined = ExaminedRays.of(cameras, num_cameras, num_rays)
    owner = examined.owner
    scene_depth = depth_of_scene(numbers(render.depth(examined.rays)), owner)
    near = NEAR_SHARE * scene_depth
    weight, distance = (numbers(values) for values in render.near_weight(examined.rays, near))
    longest = _longest_baselines(cameras, examined.cameras)[owner]
    is_veiled = (weight > LEAST_WEIGHT) & (_LEAST_BASELINE * distance <= longest)
    where = np.flatnonzero(is_veiled)
    points = examined.points(distance)[where]
    seen = look_from_elsewhere(cameras, render, points, owner[where], _LEAST_BASELINE * distance[where])
    agreeing, contradicting = seen.votes(len(points), _RELATIVE_TOLERANCE, _SMALLEST_TOLERANCE * scene_depth)
    is_veiled[where] = (agreeing == 0) | (agreeing < contradicting)
    return Veils(
        names=tuple(names[int(i)] for i in examined.cameras),
        shares=examined.shares(is_veiled),
        near=near,
        end=float(np.quantile(distance[is_veiled], _VEIL_END)) if is_veiled.any() else float("nan"),
    )


def _longest_baselines(cameras: Cameras, examined: Int64[ndarray, "some"]) -> Float64[ndarray, "cameras"]:
    """How far the farthest other camera is from each of the examined ones; 0 for the rest."""
    positions = numbers(cameras.camera_to_worlds)[:, :, 3]
    found = np.zeros(len(positions))
    for index in examined:
        found[index] = np.linalg.norm(positions - positions[index], axis=1).max()
    return found
