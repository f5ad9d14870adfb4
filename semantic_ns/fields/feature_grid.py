"""Semantic features from a hash grid of their own, composited along rays."""

from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from semantic_ns.encodings.hash_grid import Backend, HashGrid
from semantic_ns.kernels.layers import whole_blocks, zeros_per_slot

_LEAST_SHARE = 0.25
"""Samples that give a ray less of its light than this share of what its strongest gives have no say in its class."""

_GAIN = 16.0
"""Factor of the grid's features: tables whose steps all have one length (Adam) learn classes that much faster."""


def contributes(weights: Float[Tensor, "*rays samples"]) -> Bool[Tensor, "*rays samples"]:
    """Samples that count for the class of their ray: those around its surfaces, which are a few of all.

    Their neighbours in the tails are near them and look the same, but would cost as much.
    """
    return (weights > 0) & (weights >= _LEAST_SHARE * weights.amax(dim=-1, keepdim=True))


class SemanticGrid(nn.Module):
    """Semantic features of positions: relu(g W h(x) + b) with a hash grid h (Mueller et al. 2022) and a gain g.

    Classes and colours that share a grid get in each other's way: its tables are small, few labels pull at them
    everywhere, and both surface and colours suffer.

    Args:
        num_levels: levels of the grid.
        min_res: cells per axis of the coarsest level.
        max_res: cells per axis of the finest level.
        log2_hashmap_size: base-2 logarithm of the number of rows of a level's table.
        width: number of semantic features.
        backend: back end of the hash grid.
    """

    def __init__(
        self, num_levels: int, min_res: int, max_res: int, log2_hashmap_size: int, width: int, backend: Backend
    ) -> None:
        super().__init__()
        self.grid = HashGrid(
            backend,
            num_levels=num_levels,
            min_res=min_res,
            max_res=max_res,
            log2_hashmap_size=log2_hashmap_size,
            features_per_level=2,
        )
        self.layer = nn.Linear(2 * num_levels, width)

    def forward(self, x: Float[Tensor, "*bs 3"]) -> Float[Tensor, "*bs features"]:
        """Features of positions in the unit cube."""
        return F.relu(F.linear(self.grid(x), _GAIN * self.layer.weight, self.layer.bias))

    def composite(
        self, x: Float[Tensor, "all_samples 3"], weights: Float[Tensor, "rays samples"]
    ) -> tuple[Float[Tensor, "rays features"], Float[Tensor, "rays 1"]]:
        """Composited features and accumulation of rays, of the samples that have a say.

        Args:
            x: positions in the unit cube, samples of one ray adjacent.
            weights: rendering weights; they get a gradient.
        """
        kept = contributes(weights.detach())
        index = kept.view(-1).nonzero()[:, 0]
        first = F.pad(kept.sum(dim=1).cumsum(0), (1, 0))
        shares = weights.reshape(-1)[index]
        accumulation = (weights * kept).sum(dim=1, keepdim=True)
        if not self.grid.uses_numba(x):
            rays = torch.repeat_interleave(torch.arange(len(weights), device=x.device), first[1:] - first[:-1])
            features = self(x[index]) * shares[:, None]
            return features.new_zeros(len(weights), features.shape[1]).index_add(0, rays, features), accumulation
        return composite_packed_features(self.grid(x[index]), first, shares, self.layer), accumulation


def composite_packed_features(
    enc: Float[Tensor, "samples encoded"],
    first: Int64[Tensor, "rays_plus_one"],
    weights: Float[Tensor, "samples"],
    layer: nn.Linear,
) -> Float[Tensor, "rays features"]:
    """sum_k w_k relu(g W e_k + b) over the samples of each ray, on the CPU.

    Args:
        enc: e, samples of one ray adjacent.
        first: index of each ray's first sample, and the number of samples.
        weights: w.
        layer: W and b.
    """
    sums = _PackedFeatures.apply(enc, first, weights, whole_blocks(_GAIN * layer.weight.T), whole_blocks(layer.bias))
    assert isinstance(sums, Tensor)
    return sums[:, : layer.out_features]


class _PackedFeatures(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, enc: Tensor, first: Tensor, weights: Tensor, s1: Tensor, t1: Tensor) -> Tensor:
        from semantic_ns.fields import feature_grid_numba as kernels

        tensors = [tensor.detach().contiguous() for tensor in (enc, first, weights, s1, t1)]
        sums = torch.empty(len(first) - 1, s1.shape[1])
        arrays: tuple[Any, ...] = (*(tensor.numpy() for tensor in tensors), sums.numpy())
        kernels.composite_forward(*arrays)
        ctx.save_for_backward(*tensors)
        return sums

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, ...]:
        from semantic_ns.fields import feature_grid_numba as kernels

        enc, first, weights, s1, t1 = ctx.saved_tensors
        g_enc, g_weights = torch.empty_like(enc), torch.empty_like(weights)
        g_s1, g_t1 = zeros_per_slot((s1, t1))
        arrays = (enc, first, weights, s1, s1.T.contiguous(), t1, gradients[0].contiguous())
        inputs: tuple[Any, ...] = tuple(array.numpy() for array in arrays)
        kernels.composite_backward(*inputs, *(gradient.numpy() for gradient in (g_enc, g_weights, g_s1, g_t1)))
        return g_enc, None, g_weights, g_s1.sum(dim=0), g_t1.sum(dim=0)
