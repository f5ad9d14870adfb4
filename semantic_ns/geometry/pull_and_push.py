"""Images without holes: what is unknown takes the mean of what is known around it."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

_LEAST_WEIGHT = 1e-8


def pull_and_push(
    values: Float[Tensor, "channels height width"], weight: Float[Tensor, "height width"], is_saturated: bool
) -> Float[Tensor, "channels height width"]:
    """Values with holes filled by means over ever larger windows (Gortler et al. 1996, section 3.5).

    Where the weight w is below 1, the image of half the size, filled itself, adds (1 - w) of its own. Where nothing of
    the image is known it stays empty.

    Args:
        values: values times their weight.
        weight: how well each is known, in 0..1.
        is_saturated: whether a window that holds anything known is known well; without it, as well as on average.
    """
    return _filled(torch.cat([values, weight[None]])[None], is_saturated)[0, :-1]


def _filled(parts: Float[Tensor, "1 channels_and_1 height width"], is_saturated: bool) -> Tensor:
    weight, (height, width) = parts[:, -1:], parts.shape[-2:]
    if bool((weight >= 1).all()):
        return parts
    if height == 1 and width == 1:
        return parts / weight.clamp(min=_LEAST_WEIGHT)
    coarse = F.avg_pool2d(F.pad(parts, (0, width % 2, 0, height % 2)), 2)
    if is_saturated:
        total = coarse[:, -1:]
        coarse = torch.cat([coarse[:, :-1] / total.clamp(min=_LEAST_WEIGHT), (total > 0).to(total.dtype)], dim=1)
    filled = _filled(coarse, is_saturated)
    around = F.interpolate(filled, scale_factor=2, mode="bilinear", align_corners=False)[..., :height, :width]
    return parts + (1 - weight) * around
