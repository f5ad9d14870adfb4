"""What becomes of the samples of a ray, and from where sources look at them."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


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


def alpha_weights(density: Float[Tensor, "rays samples"]) -> Float[Tensor, "rays samples"]:
    """Rendering weights with alpha = 1 - exp(-density), without the length of an interval (Chou et al. 2024)."""
    alpha = 1 - torch.exp(-density)
    passed = torch.cumprod(1 - alpha + 1e-10, dim=-1)
    return alpha * F.pad(passed[:, :-1], (1, 0), value=1.0)
