"""The score of rendered colours."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class PeakSignalNoiseRatio(nn.Module):
    """PSNR in dB of values in [0, 1]: what torchmetrics' class of this name gives with a data range of 1.

    That one keeps a state over calls, which no model of nerfstudio uses and which costs a training step on a GPU, where
    the time goes into small operations, about as much as a layer of the network.
    """

    def forward(self, rendered: Float[Tensor, "*shape"], target: Float[Tensor, "*shape"]) -> Float[Tensor, ""]:
        """-10 log10 of the mean squared error."""
        with torch.no_grad():
            return -10.0 * torch.log10((rendered - target).square().mean())
