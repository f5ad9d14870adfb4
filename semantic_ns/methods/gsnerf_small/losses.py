"""Losses of `gsnerf-small`, with true depth and without."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

_SSIM_C1, _SSIM_C2 = 0.01**2, 0.03**2
_COLOR_WEIGHT, _GRADIENT_WEIGHT = 0.5, 0.5


def reconstruction_loss(
    warped: Float[Tensor, "views 3 height width"],
    is_seen: Bool[Tensor, "views height width"],
    image: Float[Tensor, "3 height width"],
) -> Float[Tensor, ""]:
    """How well views, warped to a camera by its depth, agree with its image (Chang et al. 2022, RC-MVSNet).

    Half the smooth L1 of colours and half that of their gradients; per pixel the view that agrees best counts (Godard
    et al. 2019), for the others may be occluded there. Pixels that no view sees do not count.

    Args:
        warped: colours of the views at the points of the camera.
        is_seen: whether a view sees the point.
        image: true colours.
    """
    colors = F.smooth_l1_loss(warped, image.expand_as(warped), reduction="none", beta=0.1).mean(dim=1)
    slopes = sum(
        F.smooth_l1_loss(a, b.expand_as(a), reduction="none", beta=0.1).mean(dim=1)
        for a, b in zip(_gradients(warped), _gradients(image[None]), strict=True)
    )
    errors = (_COLOR_WEIGHT * colors + _GRADIENT_WEIGHT * slopes).masked_fill(~is_seen, torch.inf)
    best = errors.min(dim=0).values
    counts = best.isfinite()
    return best.where(counts, 0.0).sum() / counts.sum().clamp(min=1)


def _gradients(images: Float[Tensor, "images channels height width"]) -> tuple[Tensor, Tensor]:
    return (
        F.pad(images[..., 1:] - images[..., :-1], (0, 1)),
        F.pad(images[..., 1:, :] - images[..., :-1, :], (0, 0, 0, 1)),
    )


def structure_loss(
    warped: Float[Tensor, "views 3 height width"],
    is_seen: Bool[Tensor, "views height width"],
    image: Float[Tensor, "3 height width"],
) -> Float[Tensor, ""]:
    """(1 - SSIM) / 2 over windows of 3x3 pixels (Wang et al. 2004); per pixel that of the best view, as above."""
    x, y = warped, image.expand_as(warped)
    mean_x, mean_y = _box(x), _box(y)
    variance_x, variance_y = _box(x * x) - mean_x**2, _box(y * y) - mean_y**2
    covariance = _box(x * y) - mean_x * mean_y
    ssim = ((2 * mean_x * mean_y + _SSIM_C1) * (2 * covariance + _SSIM_C2)) / (
        (mean_x**2 + mean_y**2 + _SSIM_C1) * (variance_x + variance_y + _SSIM_C2)
    )
    errors = ((1 - ssim) / 2).clamp(0, 1).mean(dim=1).masked_fill(~is_seen, torch.inf)
    best = errors.min(dim=0).values
    counts = best.isfinite()
    return best.where(counts, 0.0).sum() / counts.sum().clamp(min=1)


def _box(images: Tensor) -> Tensor:
    return F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="reflect"), 3, 1)


def smoothness_loss(depth: Float[Tensor, "height width"], image: Float[Tensor, "3 height width"]) -> Float[Tensor, ""]:
    """|gradient of log depth| exp(-|gradient of colour|), the mean over pixels (Chang et al. 2022)."""
    logs = depth.log()[None, None]
    pairs = zip(_gradients(logs), _gradients(image[None]), strict=True)
    return (
        sum((slope.abs() * torch.exp(-10 * edge.abs().mean(dim=1, keepdim=True))).mean() for slope, edge in pairs) / 2
    )  # pyright: ignore[reportReturnType]
