"""Rendering of a field along rays through an occupancy grid by the CPU kernels, and its gradients."""

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from semantic_ns.encodings.hash_grid import HashGrid
from semantic_ns.fields.cpu.render import transposed_matrices, whole_blocks
from semantic_ns.fields.semantic_nerf_field import SemanticNerfField, _linears
from semantic_ns.losses import price_of_distance
from semantic_ns.methods.semantic_ngp.occupancy import March

_NUM_DENSITY_MATRICES = 4
"""Of the network's matrices ``w1 b1 w2 b2 c1 c2 d2 c3 d3 s1 t1`` the first ones belong to the density."""


@dataclass
class RenderedRays:
    """What the kernels render of R rays; distances [R], which are for evaluation, are in scene units."""

    rgb: Float[Tensor, "rays 3"]
    features: Float[Tensor, "rays features"]
    accumulation: Float[Tensor, "rays 1"]
    expected_distance: Float[Tensor, "rays 1"] | None = None
    median_distance: Float[Tensor, "rays 1"] | None = None
    num_samples: Int[Tensor, "rays"] | None = None
    near_camera_prices: Float[Tensor, "rays"] | None = None


@dataclass(frozen=True)
class _Constants:
    """What no gradient reaches."""

    march: March
    grid: HashGrid
    scale: float
    pass_semantics: bool
    near_camera_reach: float

    @property
    def limits(self) -> tuple[np.float32, np.float32, np.float32]:
        """Factor of the density; least light and least opacity of a sample that counts."""
        return np.float32(self.scale), np.float32(self.march.min_light), np.float32(self.march.min_opacity)


def _grid_arrays(grid: HashGrid) -> tuple[np.ndarray, np.ndarray, int]:
    """Table [L T, F], cells per axis [L] and rows T of a level."""
    return grid.hash_table.detach().numpy(), grid.scalings32.numpy(), grid.hash_table_size


def _arrays(tensors: tuple[Tensor, ...] | list[Tensor]) -> tuple[Any, ...]:
    """What the kernels take, sharing memory with contiguous tensors."""
    return tuple(tensor.detach().contiguous().numpy() for tensor in tensors)


class _PackedField(torch.autograd.Function):
    """Visible samples of rays, the field at them, and their compositing."""

    @staticmethod
    def forward(
        ctx: Any, constants: _Constants, cond: Tensor, table: Tensor, *network: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        from semantic_ns.methods.semantic_ngp import heads_numba as kernels

        arrays = _arrays(network)
        cond = cond.detach().contiguous()
        num_rays = cond.shape[0]
        first, edges, x, enc, hidden = _collect(constants, arrays[:_NUM_DENSITY_MATRICES])
        counts = first[1:] - first[:-1]
        rays = torch.repeat_interleave(torch.arange(num_rays), counts)
        lengths = edges[:, 1] - edges[:, 0]
        weights, accumulation = torch.empty_like(lengths), torch.zeros(num_rays)
        rgb, sums = torch.zeros(num_rays, 3), torch.zeros(num_rays, network[-1].shape[0])
        arguments: tuple[Any, ...] = (
            *_arrays((hidden, lengths, rays, first, cond)), arrays[_NUM_DENSITY_MATRICES:], constants.limits[0],
            *_arrays((weights, accumulation, rgb, sums)),
        )  # fmt: skip
        kernels.heads_forward(*arguments)
        price = price_of_distance(edges.mean(dim=1), constants.near_camera_reach)
        prices = torch.zeros(num_rays).index_add_(0, rays, weights * price)
        ctx.save_for_backward(first, rays, lengths, price, x, enc, hidden, weights, cond, table, *network)
        ctx.constants = constants
        ctx.mark_non_differentiable(counts)
        return rgb, sums, accumulation, prices, counts

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, ...]:
        from numba import get_num_threads

        from semantic_ns.encodings import hash_grid_numba
        from semantic_ns.methods.semantic_ngp import heads_numba as kernels

        first, rays, lengths, price, x, enc, hidden, weights, cond, table, *network = ctx.saved_tensors
        constants: _Constants = ctx.constants
        g_rgb, g_sums, g_accumulation, g_prices = (gradient.contiguous() for gradient in gradients[:4])
        w1_t, w2_t, *heads_t = transposed_matrices(network)
        arrays, threads = _arrays(network), get_num_threads()
        g_network = tuple(torch.zeros(threads, *matrix.shape) for matrix in network)
        g_density, g_heads = (_arrays(part) for part in (g_network[:4], g_network[4:]))
        g_weights, g_cond = g_accumulation[rays] + g_prices[rays] * price, torch.zeros_like(cond)
        g_hidden, g_enc = torch.empty_like(hidden), torch.empty_like(enc)
        arguments: tuple[Any, ...] = (
            *_arrays((hidden, rays, first, cond)), arrays[_NUM_DENSITY_MATRICES:], tuple(heads_t),
            constants.pass_semantics, *_arrays((weights, g_rgb, g_sums, g_weights, g_hidden, g_cond)), g_heads,
        )  # fmt: skip
        kernels.heads_backward(*arguments)
        kernels.raw_density_gradient(
            constants.limits[0], *_arrays((hidden, lengths, first, weights, g_weights, g_hidden))
        )
        kernels.density_backward(
            enc.numpy(), arrays[:_NUM_DENSITY_MATRICES], (w1_t, w2_t), g_hidden.numpy(), g_enc.numpy(), g_density
        )
        g_table = torch.empty_like(table)
        _, scalings, table_size = _grid_arrays(constants.grid)
        hash_grid_numba.scatter_table_gradient(x.numpy(), g_enc.numpy(), scalings, table_size, g_table.numpy())
        return None, g_cond, g_table, *(gradient.sum(dim=0) for gradient in g_network)


def _collect(constants: _Constants, density: tuple[np.ndarray, ...]) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Index [R + 1] of each ray's first visible sample; edges, unit positions, encodings, density outputs of all."""
    from semantic_ns.methods.semantic_ngp import march_numba as kernels

    march = constants.march
    first = march.count()
    room = int(first[-1])
    counts = np.zeros(len(first) - 1, np.int64)
    widths = (2, 3, density[0].shape[0], density[2].shape[1])
    roomy = [torch.empty(room, width) for width in widths]
    kernels.collect(
        *march.arguments(), _grid_arrays(constants.grid), density, constants.limits, first, counts, *_arrays(roomy)
    )
    packed_first = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    packed = [torch.empty(int(packed_first[-1]), width) for width in widths]
    for source, target in zip(roomy, packed, strict=True):
        kernels.close_gaps(first, packed_first, source.numpy(), target.numpy())
    return torch.from_numpy(packed_first), packed[0], packed[1], packed[2], packed[3]


def _grid_of(field: SemanticNerfField) -> HashGrid:
    return cast(HashGrid, field.mlp_base.model[0])


def _network_of(field: SemanticNerfField) -> tuple[Tensor, ...]:
    """The matrices of ``packed_heads_numba``, padded to whole blocks."""
    return tuple(whole_blocks(matrix) for matrix in field._kernel_matrices())


def _conditioning(field: SemanticNerfField, ray_bundle: RayBundle) -> Tensor:
    """What is constant along a ray, through the first colour layer, padded to whole blocks."""
    by_ray = field._split_first_colour_layer()[0]
    channels = field.ray_conditioning(ray_bundle.directions, ray_bundle.camera_indices)
    cond = F.linear(channels, by_ray, _linears(field.mlp_head)[0].bias)
    return whole_blocks(cond, axes=1)


def _constants_of(field: SemanticNerfField, march: March, near_camera_reach: float = 1.0) -> _Constants:
    scale, passes = field.average_init_density, field.pass_semantic_gradients
    return _Constants(march, _grid_of(field), scale, passes, near_camera_reach)


def render_packed(
    field: SemanticNerfField, ray_bundle: RayBundle, march: March, near_camera_reach: float = 1.0
) -> RenderedRays:
    """Render rays with gradients in the field's parameters, without a background.

    The samples are those that ``OccupancySampler`` keeps; behind the last one of a ray nothing is evaluated.

    Args:
        field: a field that the kernels know (``can_fuse``).
        ray_bundle: R rays, with cameras while training.
        march: how they go through the occupancy grid.
        near_camera_reach: distance in scene units at which ``losses.near_camera_prices`` end.
    """
    network = _network_of(field)
    rgb, features, accumulation, prices, counts = _PackedField.apply(
        _constants_of(field, march, near_camera_reach),
        _conditioning(field, ray_bundle),
        _grid_of(field).hash_table,
        *network,
    )
    width = field.semantic_head.in_features if field.use_semantics else 0
    return RenderedRays(rgb, features[:, :width], accumulation[:, None], num_samples=counts, near_camera_prices=prices)


@torch.no_grad()
def render_packed_for_evaluation(field: SemanticNerfField, ray_bundle: RayBundle, march: March) -> RenderedRays:
    """Equal to :func:`render_packed`, with distances and without gradients, and nothing kept of the samples."""
    from semantic_ns.methods.semantic_ngp import march_numba as kernels

    arrays, cond = _arrays(_network_of(field)), _conditioning(field, ray_bundle)
    constants, num_rays = _constants_of(field, march), cond.shape[0]
    width = field.semantic_head.in_features if field.use_semantics else 0
    rgb, sums = torch.zeros(num_rays, 3), torch.zeros(num_rays, arrays[-1].shape[0])
    accumulation, expected, median = torch.zeros(3, num_rays).unbind()
    kernels.render(
        *march.arguments(), _grid_arrays(constants.grid), arrays[:_NUM_DENSITY_MATRICES],
        arrays[_NUM_DENSITY_MATRICES:], constants.limits, *_arrays((cond, rgb, sums, accumulation, expected, median)),
    )  # fmt: skip
    expected = expected / accumulation.clamp(min=1e-10)
    return RenderedRays(rgb, sums[:, :width], accumulation[:, None], expected[:, None], median[:, None])


@torch.no_grad()
def packed_densities(field: SemanticNerfField, points: Float[Tensor, "points 3"]) -> Float[Tensor, "points 1"]:
    """Density per scene unit at points in scene units: what ``field.density_fn`` gives, by the kernels."""
    from semantic_ns.methods.semantic_ngp import march_numba as kernels

    layers, densities = _linears(field.mlp_base.model[1]), torch.empty(len(points))
    density = [whole_blocks(matrix) for layer in layers for matrix in (layer.weight.T, layer.bias)]
    kernels.densities(
        points.contiguous().numpy(), _grid_arrays(_grid_of(field)), _arrays(density),
        np.float32(field.average_init_density), densities.numpy(),
    )  # fmt: skip
    return densities[:, None]
