"""Fused rendering on the CPU: rays in; colour, class logits and weights out, with gradients."""

from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor

from semantic_ns.fields.cpu.network import EncodedRays, KernelView, Network, RenderOptions
from semantic_ns.fields.semantic_nerf_field import SemanticNerfField
from semantic_ns.kernels.layers import as_arrays, whole_blocks, zeros_per_slot
from semantic_ns.rendering import head_of_composited


class CompositedRays(NamedTuple):
    """What the kernel makes of rays."""

    rgb: Float[Tensor, "rays 3"]
    features: Float[Tensor, "rays features"]
    """Semantic features, composited."""
    weights: Float[Tensor, "rays samples"]


class _FusedRendering(torch.autograd.Function):
    """Field and volume rendering of a batch of rays in one pass over memory."""

    @staticmethod
    def forward(
        ctx: Any, enc: Tensor, conditioning: Tensor, lengths: Tensor, options: RenderOptions, *matrices: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        from numba import get_num_threads

        from semantic_ns.fields.cpu import render_numba as kernels

        network = Network(*(matrix.detach().contiguous() for matrix in matrices))
        num_rays, num_samples = lengths.shape
        hidden = torch.empty(enc.shape[0], network.w2.shape[1])
        weights = torch.empty(num_rays, num_samples)
        rgb, features = torch.empty(num_rays, 3), torch.empty(num_rays, network.s1.shape[1])
        enc, conditioning, lengths = (
            enc.detach().contiguous(),
            conditioning.detach().contiguous(),
            lengths.detach().contiguous(),
        )
        kernels.render_forward(
            enc.numpy(), conditioning.numpy(), lengths.numpy(), as_arrays(network), np.float32(options.density_scale),
            np.float32(options.min_transmittance), get_num_threads(),
            hidden.numpy(), weights.numpy(), rgb.numpy(), features.numpy(),
        )  # fmt: skip
        ctx.save_for_backward(enc, conditioning, lengths, hidden, weights, *network)
        ctx.options = options
        return rgb, features, weights

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        from semantic_ns.fields.cpu import render_numba as kernels

        enc, conditioning, lengths, hidden, weights, *matrices = ctx.saved_tensors
        g_rgb, g_features, g_weights = (g.contiguous() for g in gradients)
        network, options = Network(*matrices), ctx.options
        g_enc, g_conditioning, g_network = (
            torch.empty_like(enc),
            torch.empty_like(conditioning),
            zeros_per_slot(network),
        )
        kernels.render_backward(
            enc.numpy(), conditioning.numpy(), lengths.numpy(), as_arrays(network), as_arrays(network.transposed()),
            np.float32(options.density_scale), np.float32(options.min_transmittance), options.pass_semantics,
            hidden.numpy(), weights.numpy(), g_weights.numpy(), g_rgb.numpy(), g_features.numpy(),
            g_enc.numpy(), g_conditioning.numpy(), as_arrays(g_network),
        )  # fmt: skip
        return g_enc, g_conditioning, None, None, *(g.sum(dim=0) for g in g_network)


def render_fused(
    rays: EncodedRays, lengths: Float[Tensor, "rays samples"], network: Network, options: RenderOptions
) -> CompositedRays:
    """Colour, composited semantic features and weights of each ray.

    Args:
        rays: what the networks take.
        lengths: lengths of the intervals, in scene units; they receive no gradient.
        network: matrices of any size, see ``render_numba``.
        options: the density's factor, the gradients of features, and the least light.
    """
    num_features = network.t1.shape[0]
    rgb, features, weights = _FusedRendering.apply(
        rays.enc, whole_blocks(rays.conditioning, axes=1), lengths, options, *network.in_whole_blocks()
    )
    return CompositedRays(rgb, features[:, :num_features], weights)


def render_weights(
    enc: Float[Tensor, "all_samples encoded"],
    lengths: Float[Tensor, "rays samples"],
    network: Network,
    options: RenderOptions,
) -> Float[Tensor, "rays samples"]:
    """The weights alone, as ``render_fused`` has them, without gradients."""
    from numba import get_num_threads

    from semantic_ns.fields.cpu import render_numba as kernels

    matrices = Network(*(matrix.detach().contiguous() for matrix in network.in_whole_blocks()))
    weights = torch.empty(lengths.shape)
    kernels.render_weights(
        enc.detach().contiguous().numpy(), lengths.detach().contiguous().numpy(), as_arrays(matrices),
        np.float32(options.density_scale), get_num_threads(), weights.numpy(),
    )  # fmt: skip
    return weights


def render_rays(
    field: SemanticNerfField, ray_bundle: RayBundle, distances: Float[Tensor, "rays edges"]
) -> tuple[Float[Tensor, "rays 3"], Float[Tensor, "rays classes"] | None, Float[Tensor, "rays samples"]]:
    """Colour, class logits (none without semantics) and weights by the CPU kernels.

    Equal to evaluating every sample and compositing, except where less than 1e-4 of the light arrives.

    Args:
        field: a field that the kernels know (``KernelView.can_fuse``).
        ray_bundle: rays [rays].
        distances: edges of the intervals in scene units.
    """
    view = KernelView(field)
    positions = view.unit_positions(ray_bundle, distances)
    lengths = distances[:, 1:] - distances[:, :-1]
    rendered = render_fused(view.encode(ray_bundle, positions), lengths, view.network(), view.options)
    logits = logits_of(field, positions, rendered.features, rendered.weights) if field.use_semantics else None
    return rendered.rgb, logits, rendered.weights


def logits_of(
    field: SemanticNerfField,
    positions: Float[Tensor, "all_samples 3"],
    features: Float[Tensor, "rays features"],
    weights: Float[Tensor, "rays samples"],
) -> Float[Tensor, "rays classes"]:
    """Logits of the features that the kernel composited, or of the semantic grid at positions in the unit cube."""
    weights = field.pass_semantics(weights)
    accumulation = weights.sum(dim=-1, keepdim=True)
    if field.semantic_grid is not None:
        features, accumulation = field.semantic_grid.composite(positions, weights)
    return head_of_composited(features, accumulation, field.semantic_head.weight, field.semantic_head.bias)
