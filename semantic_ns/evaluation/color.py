"""The scores of rendered colours."""

from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor, nn

from semantic_ns.io.console import announce

_LEAST_SIDE = 6
"""torchmetrics mirrors 5 pixels beyond each side of an image, for windows of 11."""


class PeakSignalNoiseRatio(nn.Module):
    """PSNR in dB of values in [0, 1]: what torchmetrics' class of this name gives with a data range of 1.

    That one keeps a state over calls, which no model of nerfstudio uses and which costs a training step on a GPU, where
    the time goes into small operations, about as much as a layer of the network.
    """

    def forward(self, rendered: Float[Tensor, "*shape"], target: Float[Tensor, "*shape"]) -> Float[Tensor, ""]:
        """-10 log10 of the mean squared error."""
        with torch.no_grad():
            return -10.0 * torch.log10((rendered - target).square().mean())


def structural_similarity(
    image: Float[Tensor, "images channels height width"],
    reference: Float[Tensor, "images channels height width"],
    data_range: float | None = None,
) -> Float[Tensor, ""]:
    """SSIM (Wang et al. 2004) as torchmetrics computes it, NaN for images of fewer than 6 pixels, which is said once.

    Args:
        image: one of the images.
        reference: the other one.
        data_range: difference of the largest and smallest possible value; None takes those that occur.
    """
    from torchmetrics.functional import structural_similarity_index_measure  # slow, and not needed to register

    if min(image.shape[-2:]) < _LEAST_SIDE:
        _tell_of_small_images(image.shape[-1], image.shape[-2])
        return torch.tensor(float("nan"))
    ssim = structural_similarity_index_measure(image, reference, data_range=data_range)
    return torch.as_tensor(ssim)


@cache
def _tell_of_small_images(width: int, height: int) -> None:
    announce(
        "scores",
        f"SSIM needs images of {_LEAST_SIDE} pixels a side at least, so that those of {width}x{height} have none",
    )
