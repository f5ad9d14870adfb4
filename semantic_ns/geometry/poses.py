"""Camera poses: checks, the one change of convention, centring and scaling. Pure, float64.

`c2w` is camera to world, 4x4: a point p of the camera frame lies at `c2w @ p` in the world. OpenCV cameras look along
+z with y down, OpenGL cameras (nerfstudio) along -z with y up. World frames are untouched but for `Similarity`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from semantic_ns.errors import SceneError

ROTATION_TOLERANCE = 1e-3
"""Largest deviation of R^T R from the identity; files with three decimals pass, scaled or sheared poses do not."""

MAX_COORDINATE = 1e12
"""Largest coordinate of a camera; single precision overflows in the squares of 1e19."""


def check_poses(c2w: Float[ndarray, "frames 4 4"], names: Sequence[str]) -> None:
    """Refuse poses that are no rigid motions.

    Args:
        c2w: camera to world, any camera convention.
        names: where each pose comes from, for the error.

    Raises:
        SceneError: at the first pose that is not finite or too far away, whose 3x3 part is no rotation (R^T R = I,
            det R = +1) or whose last row is not 0 0 0 1.
    """
    for pose, name in zip(c2w, names, strict=True):
        if not np.isfinite(pose).all():
            raise SceneError(
                f"Expected finite numbers in the pose of {name}, found {_first_not_finite(pose)}; remove the frame "
                "(tracking was lost there) or correct its pose."
            )
        if np.abs(pose[:3, 3]).max() > MAX_COORDINATE:
            raise SceneError(
                f"Expected a position within {MAX_COORDINATE:g} of the origin in the pose of {name}, found "
                f"{pose[:3, 3].tolist()}; correct the pose."
            )
        rotation = pose[:3, :3]
        deviation = np.abs(rotation.T @ rotation - np.eye(3)).max()
        determinant = np.linalg.det(rotation)
        if deviation > ROTATION_TOLERANCE or determinant < 0:
            raise SceneError(
                f"Expected a rotation in the pose of {name}, found a matrix R with |R^T R - I| = {deviation:.3g} and "
                f"determinant {determinant:.3g}; correct the pose (camera to world, without scale or mirroring)."
            )
        if np.abs(pose[3] - [0, 0, 0, 1]).max() > ROTATION_TOLERANCE:
            raise SceneError(
                f"Expected 0 0 0 1 as last row of the pose of {name}, found {pose[3].tolist()}; write it row by row."
            )


def _first_not_finite(pose: Float[ndarray, "4 4"]) -> str:
    return str(pose[~np.isfinite(pose)][0])


def opencv_to_opengl(c2w_opencv: Float[ndarray, "frames 4 4"]) -> Float[ndarray, "frames 4 4"]:
    """Camera axes from OpenCV to OpenGL: y and z of the camera turn round, the camera stays where it is."""
    return c2w_opencv * np.array([1.0, -1.0, -1.0, 1.0])


@dataclass(frozen=True)
class Similarity:
    """Map from the world to scene units: `p_scene = scale * (p_world + translation)`; axes are kept."""

    translation: Float[ndarray, "3"]
    scale: float

    @property
    def transform(self) -> Float[ndarray, "3 4"]:
        """The part before scaling, as nerfstudio's `dataparser_transform` [3, 4]."""
        return np.concatenate([np.eye(3), self.translation[:, None]], axis=1)

    def apply_to_poses(self, c2w: Float[ndarray, "frames 4 4"]) -> Float[ndarray, "frames 3 4"]:
        """Camera to scene: positions mapped, rotations kept."""
        mapped = c2w[:, :3, :4].copy()
        mapped[:, :, 3] = self.scale * (mapped[:, :, 3] + self.translation)
        return mapped


def centre_and_scale(c2w: Float[ndarray, "frames 4 4"], margin_m: float) -> Similarity:
    """Put the mean camera at the origin and everything within margin_m of the cameras' cube into [-1, 1]^3.

    Axes are kept, as indoor data has z up. The map is the same for every split, as it is taken over all frames.

    Args:
        c2w: camera to world of every frame used, positions in metres.
        margin_m: metres between the cube round the cameras and that of the scene; walls lie outside the camera path.

    Raises:
        SceneError: if the margin is not positive.
    """
    if not margin_m > 0:
        raise SceneError(
            f"Expected --camera-margin above 0 metres, found {margin_m}; the walls lie behind the cameras."
        )
    positions = c2w[:, :3, 3]
    centre = positions.mean(axis=0)
    return Similarity(-centre, float(1 / (np.abs(positions - centre).max() + margin_m)))
