"""Losses against the true depth and labels of views."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F


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
