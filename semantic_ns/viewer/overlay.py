"""Classes laid over colour. Pure code on tensors."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

_DIMMED = 0.35


def blend(
    rgb: Float[Tensor, "*pixels 3"], colormap: Float[Tensor, "*pixels 3"], opacity: float
) -> Float[Tensor, "*pixels 3"]:
    """`(1 - opacity) * rgb + opacity * colormap`; opacity in 0..1."""
    return torch.lerp(rgb, colormap, opacity)


def highlight(
    rgb: Float[Tensor, "*pixels 3"],
    overlay: Float[Tensor, "*pixels 3"],
    labels: Int64[Tensor, "*pixels 1"],
    class_index: int,
) -> Float[Tensor, "*pixels 3"]:
    """The overlay where the label is `class_index`, dark grey colour elsewhere."""
    grey = rgb.mean(-1, keepdim=True).expand_as(rgb) * _DIMMED
    return torch.where(labels == class_index, overlay, grey)
