"""Rendering of a field along rays through an occupancy grid by the CPU kernels, and its gradients."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, Int64
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor
from torch.autograd.function import once_differentiable

from semantic_ns.encodings.hash_grid import HashGrid
from semantic_ns.fields.cpu.network import KernelView, Network
from semantic_ns.fields.semantic_nerf_field import SemanticNerfField
from semantic_ns.kernels.layers import as_arrays, whole_blocks, zeros_per_slot
from semantic_ns.losses import DepthNoise, interval_agreements, price_of_distance
from semantic_ns.methods.semantic_ngp.occupancy import March


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
    depth_agreements: Float[Tensor, "rays"] | None = None


class KnownDepth(NamedTuple):
    """How far rays go by depth images."""

    distances: Float[Tensor, "rays"]
    """Along the unit ray, scene units; 0 is unknown."""
    noise: DepthNoise
    """In scene units."""


class Limits(NamedTuple):
    """What makes samples of raw densities, and which of them count."""

    density_scale: np.float32
    """Factor of the exponential density activation."""
    min_transmittance: np.float32
    """Least share of the light that must reach a sample."""
    min_opacity: np.float32
    """Least opacity that it must have."""


@dataclass(frozen=True)
class _Constants:
    """What no gradient reaches."""

    march: March
    grid: HashGrid
    density_scale: float
    pass_semantics: bool
    near_camera_reach: float
    known: KnownDepth | None

    @property
    def limits(self) -> Limits:
        """What samples count, as the kernels take it."""
        march = self.march
        return Limits(
            np.float32(self.density_scale), np.float32(march.min_transmittance), np.float32(march.min_opacity)
        )


class _PackedField(torch.autograd.Function):
    """Visible samples of rays, the field at them, and their compositing."""

    @staticmethod
    def forward(
        ctx: Any, constants: _Constants, conditioning: Tensor, table: Tensor, *matrices: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
        from semantic_ns.methods.semantic_ngp import heads_numba as kernels

        network = Network(*matrices)
        arrays = as_arrays(network)
        conditioning = conditioning.detach().contiguous()
        num_rays = conditioning.shape[0]
        first, ends, x, enc, hidden = _collect(constants, arrays)
        counts = first[1:] - first[:-1]
        rays = torch.repeat_interleave(torch.arange(num_rays), counts)
        lengths = ends[:, 1] - ends[:, 0]
        weights, accumulation = torch.empty_like(lengths), torch.zeros(num_rays)
        rgb, sums = torch.zeros(num_rays, 3), torch.zeros(num_rays, network.t1.shape[0])
        arguments: tuple[Any, ...] = (
            *as_arrays((hidden, lengths, rays, first, conditioning)), arrays, constants.limits.density_scale,
            *as_arrays((weights, accumulation, rgb, sums)),
        )  # fmt: skip
        kernels.heads_forward(*arguments)
        price = price_of_distance(ends.mean(dim=1), constants.near_camera_reach)
        prices = torch.zeros(num_rays).index_add_(0, rays, weights * price)
        share = torch.zeros_like(weights) if constants.known is None else _shares_at(constants.known, rays, ends)
        agreements = torch.zeros(num_rays).index_add_(0, rays, weights * share)
        ctx.save_for_backward(
            first, rays, lengths, price, share, x, enc, hidden, weights, conditioning, table, *network
        )
        ctx.constants = constants
        ctx.mark_non_differentiable(counts)
        return rgb, sums, accumulation, prices, agreements, counts

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, ...]:
        from semantic_ns.encodings import hash_grid_numba
        from semantic_ns.methods.semantic_ngp import heads_numba as kernels

        first, rays, lengths, price, share, x, enc, hidden, weights, conditioning, table, *matrices = ctx.saved_tensors
        constants: _Constants = ctx.constants
        g_rgb, g_sums, g_accumulation, g_prices, g_agreements = (gradient.contiguous() for gradient in gradients[:5])
        network = Network(*matrices)
        arrays, transposed = as_arrays(network), as_arrays(network.transposed())
        g_network = zeros_per_slot(network)
        scale, g_arrays = constants.limits.density_scale, as_arrays(g_network)
        g_weights = g_accumulation[rays] + g_prices[rays] * price + g_agreements[rays] * share
        g_conditioning = torch.zeros_like(conditioning)
        g_hidden, g_enc = torch.empty_like(hidden), torch.empty_like(enc)
        arguments: tuple[Any, ...] = (
            *as_arrays((hidden, rays, first, conditioning)), arrays, transposed, constants.pass_semantics,
            *as_arrays((weights, g_rgb, g_sums, g_weights, g_hidden, g_conditioning)), g_arrays,
        )  # fmt: skip
        kernels.heads_backward(*arguments)
        kernels.raw_density_gradient(scale, *as_arrays((hidden, lengths, first, weights, g_weights, g_hidden)))
        kernels.density_backward(enc.numpy(), arrays, transposed, g_hidden.numpy(), g_enc.numpy(), g_arrays)
        g_table = torch.empty_like(table)
        _, cells_per_axis, table_size = constants.grid.arrays()
        hash_grid_numba.scatter_table_gradient(x.numpy(), g_enc.numpy(), cells_per_axis, table_size, g_table.numpy())
        return None, g_conditioning, g_table, *(gradient.sum(dim=0) for gradient in g_network)


def _shares_at(known: KnownDepth, rays: Tensor, ends: Tensor) -> Tensor:
    return interval_agreements(ends[:, 0], ends[:, 1], known.distances[rays], known.noise)


class _VisibleSamples(NamedTuple):
    """The samples of R rays that count, one ray behind the other."""

    first: Int64[Tensor, "rays_plus_one"]
    """Index of each ray's first sample, and the number of samples."""
    ends: Float[Tensor, "samples 2"]
    """Distances in scene units at which each sample starts and ends."""
    x: Float[Tensor, "samples 3"]
    """Positions in the unit cube."""
    enc: Float[Tensor, "samples encoded"]
    hidden: Float[Tensor, "samples outputs"]
    """Outputs of the density network."""


def _collect(constants: _Constants, network: Any) -> _VisibleSamples:
    """The samples that count, found by the density network, whose matrices are arrays."""
    from semantic_ns.methods.semantic_ngp import march_numba as kernels

    march = constants.march
    first = march.count()
    room = int(first[-1])
    counts = np.zeros(len(first) - 1, np.int64)
    widths = (2, 3, network.w1.shape[0], network.w2.shape[1])
    roomy = [torch.empty(room, width) for width in widths]
    kernels.collect(
        *march.arguments(), constants.grid.arrays(), network, constants.limits, first, counts, *as_arrays(roomy)
    )
    packed_first = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    packed = [torch.empty(int(packed_first[-1]), width) for width in widths]
    for source, target in zip(roomy, packed, strict=True):
        kernels.close_gaps(first, packed_first, source.numpy(), target.numpy())
    return _VisibleSamples(torch.from_numpy(packed_first), *packed)


def _constants_of(
    view: KernelView, march: March, near_camera_reach: float = 1.0, known: KnownDepth | None = None
) -> _Constants:
    options = view.options
    return _Constants(march, view.grid, options.density_scale, options.pass_semantics, near_camera_reach, known)


def _conditioning(view: KernelView, ray_bundle: RayBundle) -> Tensor:
    return whole_blocks(view.conditioning(ray_bundle), axes=1)


def render_packed(
    field: SemanticNerfField,
    ray_bundle: RayBundle,
    march: March,
    near_camera_reach: float = 1.0,
    known: KnownDepth | None = None,
) -> RenderedRays:
    """Render rays with gradients in the field's parameters, without a background.

    The samples are those that ``OccupancySampler`` keeps; behind the last one of a ray nothing is evaluated.

    Args:
        field: a field that the kernels know (``KernelView.can_fuse_packed``).
        ray_bundle: R rays, with cameras while training.
        march: how they go through the occupancy grid.
        near_camera_reach: distance in scene units at which ``losses.near_camera_prices`` end.
        known: how far the rays go, for ``losses.depth_agreements``, which are 0 without it.
    """
    view = KernelView(field)
    rgb, features, accumulation, prices, agreements, counts = _PackedField.apply(
        _constants_of(view, march, near_camera_reach, known),
        _conditioning(view, ray_bundle),
        view.grid.hash_table,
        *view.network().in_whole_blocks(),
    )
    width = field.semantic_head.in_features if field.use_semantics else 0
    return RenderedRays(
        rgb,
        features[:, :width],
        accumulation[:, None],
        num_samples=counts,
        near_camera_prices=prices,
        depth_agreements=agreements,
    )


@torch.no_grad()
def render_packed_for_evaluation(field: SemanticNerfField, ray_bundle: RayBundle, march: March) -> RenderedRays:
    """Equal to :func:`render_packed`, with distances and without gradients, and nothing kept of the samples."""
    from semantic_ns.methods.semantic_ngp import march_numba as kernels

    view = KernelView(field)
    network, conditioning = as_arrays(view.network().in_whole_blocks()), _conditioning(view, ray_bundle)
    constants, num_rays = _constants_of(view, march), conditioning.shape[0]
    width = field.semantic_head.in_features if field.use_semantics else 0
    rgb, sums = torch.zeros(num_rays, 3), torch.zeros(num_rays, network.t1.shape[0])
    accumulation, expected, median = torch.zeros(3, num_rays).unbind()
    kernels.render(
        *march.arguments(), constants.grid.arrays(), network, constants.limits,
        *as_arrays((conditioning, rgb, sums, accumulation, expected, median)),
    )  # fmt: skip
    expected = expected / accumulation.clamp(min=1e-10)
    return RenderedRays(rgb, sums[:, :width], accumulation[:, None], expected[:, None], median[:, None])


@torch.no_grad()
def packed_densities(field: SemanticNerfField, points: Float[Tensor, "points 3"]) -> Float[Tensor, "points 1"]:
    """Density per scene unit at points in scene units: what ``field.density_fn`` gives, by the kernels."""
    from semantic_ns.methods.semantic_ngp import march_numba as kernels

    view, densities = KernelView(field), torch.empty(len(points))
    kernels.densities(
        points.contiguous().numpy(), view.grid.arrays(), as_arrays(view.network().in_whole_blocks()),
        np.float32(view.options.density_scale), densities.numpy(),
    )  # fmt: skip
    return densities[:, None]
