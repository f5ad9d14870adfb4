"""Rendering of packed samples: rays with different numbers of samples, stored one ray behind the other.

Symbols, used by every function of this module: N samples of R rays; ``rays`` [N] is the ray of each sample, ascending.
On CUDA nerfacc (Li et al. 2023) does the work, on the CPU, where it has no kernels for packed samples, ours do.
"""

from typing import Any

import nerfacc
import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def first_samples(rays: Int[Tensor, "samples"], num_rays: int) -> Int[Tensor, "rays_plus_one"]:
    """Index of each ray's first sample, and the number of samples as last entry."""
    return torch.searchsorted(rays, torch.arange(num_rays + 1, device=rays.device))


class _PackedWeights(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, optical: Tensor, first: Tensor) -> Tensor:
        from semantic_ns.methods.semantic_ngp import packed_numba as kernels

        optical = optical.detach().contiguous()
        weights = torch.empty_like(optical)
        kernels.weights_forward(optical.numpy(), first.numpy(), weights.numpy())
        ctx.save_for_backward(optical, first, weights)
        return weights

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        from semantic_ns.methods.semantic_ngp import packed_numba as kernels

        optical, first, weights = ctx.saved_tensors
        g_optical = torch.empty_like(optical)
        kernels.weights_backward(
            optical.numpy(), first.numpy(), weights.numpy(), gradients[0].contiguous().numpy(), g_optical.numpy()
        )
        return g_optical, None


class _PackedSums(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weights: Tensor, values: Tensor, first: Tensor) -> Tensor:
        from semantic_ns.methods.semantic_ngp import packed_numba as kernels

        weights, values = weights.detach().contiguous(), values.detach().contiguous()
        sums = torch.empty(first.shape[0] - 1, values.shape[1])
        kernels.composite_forward(weights.numpy(), values.numpy(), first.numpy(), sums.numpy())
        ctx.save_for_backward(weights, values, first)
        return sums

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        from semantic_ns.methods.semantic_ngp import packed_numba as kernels

        weights, values, first = ctx.saved_tensors
        g_weights, g_values = torch.empty_like(weights), torch.empty_like(values)
        kernels.composite_backward(
            weights.numpy(), values.numpy(), first.numpy(), gradients[0].contiguous().numpy(),
            g_weights.numpy(), g_values.numpy(),
        )  # fmt: skip
        return g_weights, g_values, None


def packed_weights(
    lengths: Float[Tensor, "samples"], densities: Float[Tensor, "samples"], rays: Int[Tensor, "samples"], num_rays: int
) -> Float[Tensor, "samples"]:
    """Rendering weights T_k (1 - exp(-sigma_k delta_k)) (Max 1995), differentiable in the densities.

    Args:
        lengths: interval lengths delta in scene units; no gradient reaches them.
        densities: sigma per scene unit.
        rays: ray of each sample.
        num_rays: number of rays.
    """
    if densities.is_cuda:
        info = nerfacc.pack_info(rays, num_rays)
        starts = torch.zeros_like(lengths)
        return nerfacc.render_weight_from_density(starts, lengths, densities, packed_info=info)[0]
    weights = _PackedWeights.apply(densities * lengths.detach(), first_samples(rays, num_rays))
    assert isinstance(weights, Tensor)
    return weights


def composite_packed(
    weights: Float[Tensor, "samples"],
    values: Float[Tensor, "samples channels"],
    rays: Int[Tensor, "samples"],
    num_rays: int,
) -> Float[Tensor, "rays channels"]:
    """Sum of w_k v_k along each ray; 0 for a ray without samples."""
    if weights.is_cuda:
        return nerfacc.accumulate_along_rays(weights, values, rays, num_rays)
    sums = _PackedSums.apply(weights, values, first_samples(rays, num_rays))
    assert isinstance(sums, Tensor)
    return sums


def packed_visibility(
    optical: Float[Tensor, "samples"],
    rays: Int[Tensor, "samples"],
    num_rays: int,
    min_transmittance: float,
    min_opacity: float,
) -> Bool[Tensor, "samples"]:
    """Which samples are worth rendering, for CPU tensors: nerfacc's ``render_visibility_from_density``.

    Args:
        optical: density times interval length.
        rays: ray of each sample.
        num_rays: number of rays.
        min_transmittance: share of the light that must reach a sample.
        min_opacity: opacity that it must have, 1 - exp(-optical).
    """
    from semantic_ns.methods.semantic_ngp import packed_numba as kernels

    visible = torch.empty(optical.shape, dtype=torch.bool)
    kernels.mark_visible(
        optical.contiguous().numpy(), first_samples(rays, num_rays).numpy(),
        np.float32(min_transmittance), np.float32(min_opacity), visible.numpy(),
    )  # fmt: skip
    return visible


def packed_median_distance(
    weights: Float[Tensor, "samples"],
    edges: Float[Tensor, "samples 2"],
    rays: Int[Tensor, "samples"],
    num_rays: int,
) -> Float[Tensor, "rays 1"]:
    """Distance at which half of each ray's light is gone (``rendering.median_distance``); 0 for one without samples.

    Args:
        weights: rendering weights.
        edges: start and end of the interval of each sample.
        rays: ray of each sample.
        num_rays: number of rays.
    """
    first = first_samples(rays, num_rays)
    # One sum over all rays, in double precision because it grows with their number.
    total = torch.cat([weights.new_zeros(1, dtype=torch.float64), weights.double().cumsum(0)])
    gone = total[1:] - total[first[rays]]
    counts = first[1:] - first[:-1]
    num_visible = torch.bincount(rays[gone < 0.5], minlength=num_rays)
    # The last place belongs to no sample: all zero, for rays without any.
    index = torch.where(counts > 0, first[:-1] + torch.minimum(num_visible, counts - 1), weights.shape[0])
    gone, weights, edges = (torch.cat([x, x.new_zeros(1, *x.shape[1:])])[index] for x in (gone, weights, edges))
    share = (0.5 - gone.float() + weights) / weights.clamp(min=1e-10)
    return torch.lerp(edges[:, 0], edges[:, 1], share.clamp(0.0, 1.0)).unsqueeze(-1)
