"""What becomes of the samples of a ray, and from where sources look at them."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from semantic_ns.geometry.views import ViewCameras

_SAFE_ANGLE = 0.05
"""Radians between lines of sight below which a source is no better for being closer."""


def angle_code(
    rays: Float[Tensor, "rays 3"], to_points: Float[Tensor, "views rays samples 3"]
) -> Float[Tensor, "views rays samples 9"]:
    """Code of the angle between the target's ray and that of each source: a, sin 2^i a, cos 2^i a, i = 0..3.

    a = sqrt(|1 - cos^2|), the sine of the angle (Chou et al. 2024, released code).
    """
    cosine = F.cosine_similarity(rays[None, :, None], to_points, dim=-1)
    # The root has no finite slope at 0; its argument has none either, but gradients do not pass through geometry.
    a = (1 - cosine**2).abs().clamp(min=1e-8).sqrt()[..., None]
    scaled = a * 2.0 ** torch.arange(4, device=a.device)
    return torch.cat([a, scaled.sin(), scaled.cos()], dim=-1)


def closeness_of_views(
    sources: ViewCameras, camera: ViewCameras, xy: Float[Tensor, "rays 2"], depth: Float[Tensor, "rays"]
) -> Float[Tensor, "views rays"]:
    """How far what a source shows at a point of the target can be relied on: 1 / (angle + 0.05)^2.

    The angle, in radians, is that between the lines of sight of the target and the source. A relative error of depth
    moves the place where the source looks the point up by the error times this angle. Buehler et al. (2001) weight
    views by their angle, too.

    Args:
        sources: cameras of the sources.
        camera: one camera, the target.
        xy: image coordinates of the points in the target.
        depth: planar depth of the points in the target, metres.
    """
    ahead = camera.ray_directions(xy[None])[0] * depth[:, None]
    to_points = camera.centres.to(xy.dtype) + ahead - sources.centres.to(xy.dtype)[:, None]
    across = torch.linalg.cross(ahead.expand_as(to_points), to_points).norm(dim=-1)
    angle = torch.atan2(across, (ahead * to_points).sum(dim=-1))
    return (angle + _SAFE_ANGLE) ** -2


def alpha_weights(density: Float[Tensor, "rays samples"]) -> Float[Tensor, "rays samples"]:
    """Rendering weights with alpha = 1 - exp(-density), without the length of an interval (Chou et al. 2024)."""
    alpha = 1 - torch.exp(-density)
    passed = torch.cumprod(1 - alpha + 1e-10, dim=-1)
    return alpha * F.pad(passed[:, :-1], (1, 0), value=1.0)
