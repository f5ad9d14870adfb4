"""Colours that are drawn back to those that Gaussians began with, by every image that shows them.

Where Gaussians begin at depth images, each begins with the mean colour of the pixels in its leaf. Neighbours overlap,
and what they show together can be right in the training images while their own colours go far apart, dark beside
bright, which other images show: the fewer images there are, the more.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from semantic_ns.splatting.fit_config import FIRST_COLOR_WEIGHT


def held(
    colors: Float[Tensor, "gaussians 3"],
    first: Float[Tensor, "gaussians 3"],
    num_pixels: int,
    num_images: int,
) -> Float[Tensor, "gaussians 3"]:
    """The same colours, with another gradient: that of the loss and of w / (P V) sum |c - f|² over what an image shows.

    A pixel that one Gaussian covers has the loss |c - c'|² / P, with the sum over channels in |.|², so that the first
    colour of what all images show counts as much as w pixels of all of them together, and less of what few show. What
    an image shows are the Gaussians whose colours have a gradient; the others rest.

    Args:
        colors: colours c of the Gaussians.
        first: colours f that they began with.
        num_pixels: number of pixels P of the image.
        num_images: number of images V that train.
    """
    return _Held.apply(colors, first, 2 * FIRST_COLOR_WEIGHT / (num_pixels * num_images))  # pyright: ignore[reportReturnType]


class _Held(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, colors: Tensor, first: Tensor, factor: float) -> Tensor:
        ctx.save_for_backward(colors, first)
        ctx.factor = factor
        return colors.view_as(colors)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]  # that of torch names no gradients
        ctx: Any, gradient: Tensor
    ) -> tuple[Tensor, None, None]:
        colors, first = ctx.saved_tensors
        is_shown = gradient.any(dim=1, keepdim=True)
        return gradient + ctx.factor * (colors - first) * is_shown, None, None
