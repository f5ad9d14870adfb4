"""Losses against the true depth and labels of views."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from semantic_ns.many_scenes.samples import Frames


def log_depth_loss(depth: Float[Tensor, "*pixels"], truth: Float[Tensor, "*pixels"]) -> Float[Tensor, ""]:
    """Smooth L1 of the logarithm of depth, its corner at 5 %: the mean over pixels with known depth (not 0)."""
    is_known = truth > 0
    error = (depth.clamp(min=1e-3).log() - truth.where(is_known, 1.0).log()) * is_known
    loss = F.smooth_l1_loss(error, torch.zeros_like(error), beta=0.05, reduction="sum")
    return loss / is_known.sum().clamp(min=1)


def class_loss(
    logits: Float[Tensor, "pixels classes"],
    labels: Int[Tensor, "pixels"],
    weights: Float[Tensor, "classes"] | None = None,
) -> Float[Tensor, ""]:
    """Cross-entropy over the pixels that are not void; 0 if all are.

    Args:
        logits: class logits.
        labels: classes, void -1.
        weights: how much each class counts.
    """
    is_labelled = labels >= 0
    if not bool(is_labelled.any()):
        return logits.sum() * 0
    return F.cross_entropy(logits[is_labelled], labels[is_labelled].long(), weights)


def distillation_loss(
    logits: Float[Tensor, "images classes rows columns"],
    taught: Float[Tensor, "images classes rows columns"],
    is_used: Bool[Tensor, "images rows columns"],
) -> Float[Tensor, ""]:
    """Divergence of class probabilities from those of a teacher (Li and Hoiem 2016, eq. 2, at temperature 1).

    The Kullback-Leibler divergence, whose gradient is that of their cross-entropy, summed over the pixels that are used
    and divided by the number of all: so a few pixels without a label have little weight beside many with one.

    Args:
        logits: class logits of the student.
        taught: logarithms of the class probabilities of the teacher.
        is_used: which pixels the teacher speaks for.
    """
    divergence = (taught.exp() * (taught - logits.log_softmax(dim=1))).sum(dim=1)
    return (divergence * is_used).mean()


def masked_mse(
    found: Float[Tensor, "*pixels channels"], truth: Float[Tensor, "*pixels channels"], is_used: Bool[Tensor, "*pixels"]
) -> Float[Tensor, ""]:
    """Mean squared error over the pixels that are used; 0 if none is."""
    errors = (found - truth).square() * is_used[..., None]
    return errors.sum() / (found.shape[-1] * is_used.sum()).clamp(min=1)


def image_color_loss(colors: Float[Tensor, "images 3 rows columns"], truth: Frames) -> Float[Tensor, ""]:
    """Mean squared error of smaller images against true ones, over the pixels of which all parts are used.

    Args:
        colors: colours 0..1.
        truth: the frames, whose colours are averaged to the size.
    """
    size = colors.shape[-2:]
    small = F.interpolate(truth.images, size, mode="area")
    if truth.masks is None:
        return F.mse_loss(colors, small)
    is_used = F.interpolate(truth.masks[:, None].to(colors.dtype), size, mode="area")[:, 0] >= 1
    return masked_mse(colors.movedim(1, -1), small.movedim(1, -1), is_used)
