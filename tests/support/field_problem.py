"""Encoded rays and random networks for the fused kernels."""

import torch
from torch import Tensor

from semantic_ns.fields.cpu.network import EncodedRays, Network


def problem(
    rays: int, samples: int, encoded: int = 20, width: int = 64, hidden: int = 16, features: int = 64
) -> tuple[EncodedRays, Tensor, Network]:
    """Rays, lengths of their intervals, and a network for them."""
    torch.manual_seed(rays + samples)

    def parameter(*shape: int) -> Tensor:
        return (torch.randn(*shape) * max(1, shape[0]) ** -0.5).requires_grad_()

    network = Network(
        parameter(encoded, width), parameter(width), parameter(width, hidden), parameter(hidden),
        parameter(hidden, width), parameter(width, width), parameter(width), parameter(width, 3), parameter(3),
        parameter(hidden, features), parameter(features),
    )  # fmt: skip
    with torch.no_grad():
        network.c1[0] = 0
        network.s1[0] = 0
    enc = torch.randn(rays * samples, encoded, requires_grad=True)
    encoded_rays = EncodedRays(enc, torch.randn(rays, width, requires_grad=True))
    return encoded_rays, torch.rand(rays, samples) * 0.5, network
