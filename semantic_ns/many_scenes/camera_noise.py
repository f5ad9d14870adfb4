"""Wrong cameras, as a user has them: the rotations of source views turned by random angles."""

from dataclasses import replace

import torch
from jaxtyping import Float64
from torch import Tensor

from semantic_ns.errors import SceneError
from semantic_ns.geometry.views import ViewCameras

LARGEST_NOISE_DEG = 90.0


def checked_noise(degrees: float, option: str) -> float:
    """Largest angle of the noise of an option, if cameras can be turned by it.

    Raises:
        SceneError: if it is negative, or beyond 90 degrees, where a camera looks at none of what its image shows.
    """
    if not 0 <= degrees <= LARGEST_NOISE_DEG:  # NaN fails this, too
        raise SceneError(
            f"Expected 0 to {LARGEST_NOISE_DEG:g} degrees of camera noise for {option}, found {degrees:g}; give a "
            "smaller angle, such as 10."
        )
    return degrees


def turned(cameras: ViewCameras, largest_deg: float, generator: torch.Generator) -> ViewCameras:
    """Cameras in place, each turned about its own x, y and z axis in turn.

    The three angles are independent and uniform in +-largest_deg (Qian et al. 2021, supplement D).

    Args:
        cameras: exact cameras.
        largest_deg: largest angle about each axis in degrees; with 0 nothing changes.
        generator: draws the angles.
    """
    if largest_deg == 0:
        return cameras
    draws = torch.rand(len(cameras), 3, generator=generator, dtype=torch.float64)
    angles = torch.deg2rad((2 * draws - 1) * largest_deg).to(cameras.c2w.device)
    c2w = cameras.c2w.clone()
    c2w[:, :3, :3] = c2w[:, :3, :3] @ rotations(angles)
    return replace(cameras, c2w=c2w)


def rotations(angles: Float64[Tensor, "cameras 3"]) -> Float64[Tensor, "cameras 3 3"]:
    """Rotation matrices R_x R_y R_z of angles in radians about the axes x, y and z."""
    result = torch.eye(3, dtype=angles.dtype, device=angles.device).expand(len(angles), 3, 3)
    for axis in range(3):
        first, second = (axis + 1) % 3, (axis + 2) % 3
        turn = torch.eye(3, dtype=angles.dtype, device=angles.device).repeat(len(angles), 1, 1)
        cosine, sine = angles[:, axis].cos(), angles[:, axis].sin()
        turn[:, first, first], turn[:, second, second] = cosine, cosine
        turn[:, first, second], turn[:, second, first] = -sine, sine
        result = result @ turn
    return result
