"""Autograd wrapper of the fused CPU kernel: rays in; colour, semantic features and weights out."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

BLOCK = 8
"""The kernels' matrices have a multiple of this many rows and columns."""

_INPUT_BLOCK = 4
"""Except for the rows of the first one."""


class _FusedRendering(torch.autograd.Function):
    """Field and volume rendering of a batch of rays in one pass over memory."""

    @staticmethod
    def forward(
        ctx: Any, enc: Tensor, cond: Tensor, delta: Tensor, options: tuple[float, float, bool], *network: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        from semantic_ns.fields.cpu import render_numba as kernels

        matrices = tuple(m.detach().contiguous() for m in network)
        arrays = tuple(m.numpy() for m in matrices)
        scale, min_light = np.float32(options[0]), np.float32(options[1])
        num_rays, num_samples = delta.shape
        hidden = torch.empty(enc.shape[0], matrices[2].shape[1])
        weights = torch.empty(num_rays, num_samples)
        rgb, features = torch.empty(num_rays, 3), torch.empty(num_rays, matrices[9].shape[1])
        enc, cond, delta = enc.detach().contiguous(), cond.detach().contiguous(), delta.detach().contiguous()
        kernels.render_forward(
            enc.numpy(), cond.numpy(), delta.numpy(), arrays, scale, min_light, kernels.number_of_threads(),
            hidden.numpy(), weights.numpy(), rgb.numpy(), features.numpy(),
        )  # fmt: skip
        ctx.save_for_backward(enc, cond, delta, hidden, weights, *matrices)
        ctx.options = options
        return rgb, features, weights

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        from semantic_ns.fields.cpu import render_numba as kernels

        enc, cond, delta, hidden, weights, *matrices = ctx.saved_tensors
        g_rgb, g_features, g_weights = (g.contiguous() for g in gradients)
        scale, min_light, pass_semantics = np.float32(ctx.options[0]), np.float32(ctx.options[1]), ctx.options[2]
        g_enc, g_cond = torch.empty_like(enc), torch.empty_like(cond)
        threads = kernels.number_of_threads()
        g_network = tuple(torch.zeros(threads, *m.shape) for m in matrices)
        kernels.render_backward(
            enc.numpy(), cond.numpy(), delta.numpy(), tuple(m.numpy() for m in matrices), transposed_matrices(matrices),
            scale, min_light, pass_semantics, hidden.numpy(), weights.numpy(),
            g_weights.numpy(), g_rgb.numpy(), g_features.numpy(), g_enc.numpy(), g_cond.numpy(),
            tuple(g.numpy() for g in g_network),
        )  # fmt: skip
        return g_enc, g_cond, None, None, *(g.sum(dim=0) for g in g_network)


def render_fused(
    enc: Float[Tensor, "all_samples encoded"],
    cond: Float[Tensor, "rays hidden"],
    delta: Float[Tensor, "rays samples"],
    network: tuple[Tensor, ...],
    density_scale: float,
    pass_semantics: bool,
    min_light: float = 1e-4,
) -> tuple[Float[Tensor, "rays 3"], Float[Tensor, "rays features"], Float[Tensor, "rays samples"]]:
    """Colour, composited semantic features and weights of each ray.

    Args:
        enc: encoded sample positions, samples of one ray adjacent.
        cond: what is constant along a ray, through the first colour layer, bias included.
        delta: interval lengths in scene units.
        network: ``w1 b1 w2 b2 c1 c2 d2 c3 d3 s1 t1`` as described in ``render_numba``; matrices are [in, out].
        density_scale: factor of the exponential density activation.
        pass_semantics: whether the features' gradient reaches weights and geometry.
        min_light: light below which a sample's colour and semantics are not evaluated.
    """
    num_features = network[-1].shape[0]
    rgb, features, weights = _FusedRendering.apply(
        enc, whole_blocks(cond, axes=1), delta, (density_scale, min_light, pass_semantics),
        *kernel_matrices(network),
    )  # fmt: skip
    return rgb, features[:, :num_features], weights


def whole_blocks(matrix: Tensor, axes: int = 2, rows: int = BLOCK) -> Tensor:
    """Zeros appended to each of the last axes up to whole blocks; the matrix itself where none are missing."""
    multiples = (BLOCK, rows)
    missing = [zeros for i in range(min(axes, matrix.ndim)) for zeros in (0, -matrix.shape[-1 - i] % multiples[i])]
    return F.pad(matrix, missing) if any(missing) else matrix


def kernel_matrices(network: Sequence[Tensor]) -> list[Tensor]:
    """The network ``w1 b1 w2 b2 c1 c2 d2 c3 d3 s1 t1`` in the sizes that the kernels want."""
    return [whole_blocks(network[0], rows=_INPUT_BLOCK), *(whole_blocks(matrix) for matrix in network[1:])]


def transposed_matrices(network: Sequence[Tensor]) -> tuple[np.ndarray, ...]:
    """Matrices [out, in] of the layers w1 w2 c1 c2 c3 s1, for the way back; of c3 only what belongs to the colours."""
    w1, _, w2, _, c1, c2, _, c3, _, s1, _ = network
    transposed = (whole_blocks(w1.T), w2.T, c1.T, c2.T, c3.T[:3], s1.T)
    return tuple(m.detach().contiguous().numpy() for m in transposed)
