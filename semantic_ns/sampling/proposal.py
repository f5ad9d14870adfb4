"""nerfstudio's proposal sampler with a fused CPU path."""

from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from jaxtyping import Float
from nerfstudio.cameras.rays import RayBundle, RaySamples
from nerfstudio.field_components.spatial_distortions import SceneContraction
from nerfstudio.fields.density_fields import HashMLPDensityField
from nerfstudio.model_components.ray_samplers import ProposalNetworkSampler
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from semantic_ns.encodings.hash_grid import HashGrid
from semantic_ns.kernels.layers import INPUT_BLOCK, as_arrays, linear_layers, whole_blocks, zeros_per_slot


class UnitBox(NamedTuple):
    """How a field maps positions in scene units to the unit cube, as the kernels take it."""

    contracts: bool
    """A contraction knows no box; that of a field that contracts is the unit cube here, and is not read."""
    low: Float[np.ndarray, "3"]
    """The corner with the least coordinates, in scene units."""
    size: Float[np.ndarray, "3"]


_CONTRACTION = UnitBox(True, np.zeros(3, np.float32), np.ones(3, np.float32))


def scene_to_unit_box(field: Any) -> UnitBox:
    """How a field maps positions to the unit cube."""
    if field.spatial_distortion is not None:
        return _CONTRACTION
    aabb = field.aabb.detach().float()
    return UnitBox(False, aabb[0].numpy(), (aabb[1] - aabb[0]).numpy())


def is_infinity_contraction(distortion: Any) -> bool:
    """Whether a spatial distortion is the contraction to a cube, the one map that the kernels serve."""
    return isinstance(distortion, SceneContraction) and distortion.order == float("inf")


class Edges(NamedTuple):
    """The edges of the intervals of R rays, S + 1 of a ray with S samples."""

    spacings: Float[Tensor, "rays edges"]
    """Normalised, from 0 at the near plane to 1 at the far one."""
    distances: Float[Tensor, "rays edges"]
    """From the origin, in scene units."""


class ProposalMatrices(NamedTuple):
    """Matrices [in, out] and biases of a proposal network, as tensors or, for the kernels, as arrays."""

    w1: Float[Tensor, "encoded hidden"]
    b1: Float[Tensor, "hidden"]
    w2: Float[Tensor, "hidden 1"]
    b2: Float[Tensor, "1"]


@dataclass
class FusedProposal:
    """What one proposal stage leaves for its loss."""

    ray_bundle: RayBundle
    spacings: Float[Tensor, "rays edges"]
    """Edges of its bins, normalised as those of :class:`Edges`."""
    weights: Float[Tensor, "rays bins"]


class FusedProposalSampler(ProposalNetworkSampler):
    """Proposal sampling that takes one numba kernel per batch where it can, and nerfstudio's path elsewhere.

    The kernels serve CPU rays with one proposal network. Results equal the parent's for equal random draws.

    Args:
        piecewise: whether the first bins are spaced as nerfstudio's ``UniformLinDispPiecewiseSampler`` does, or evenly.
        kwargs: arguments of ``ProposalNetworkSampler``.
    """

    def __init__(self, piecewise: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.piecewise = piecewise

    def is_update_step(self) -> bool:
        """Whether this step trains the proposal network (the parent's schedule), which then waits for its next turn."""
        is_update = bool(self._steps_since_update > self.update_sched(self._step)) or self._step < 10
        if is_update:
            self._steps_since_update = 0
        return is_update

    def can_fuse(self, ray_bundle: RayBundle, networks: nn.ModuleList) -> bool:
        """Whether the kernels can serve this batch."""
        if self.num_proposal_network_iterations != 1 or ray_bundle.origins.device.type != "cpu":
            return False
        network = networks[0]
        if not isinstance(network, HashMLPDensityField) or network.use_linear:
            return False
        grid = network.encoding
        return (
            # Without a contraction points may lie outside the unit cube, where nerfstudio's density is 0, ours is not.
            is_infinity_contraction(network.spatial_distortion)
            and len(linear_layers(network.mlp_base[1])) == 2
            and self.pdf_sampler.single_jitter
            and isinstance(grid, HashGrid)
            and grid.uses_numba(ray_bundle.origins)
        )

    @torch.no_grad()
    def sample_edges(self, ray_bundle: RayBundle, network: HashMLPDensityField) -> tuple[Edges, FusedProposal]:
        """Edges of the field's intervals, and the proposal that led to them."""
        from semantic_ns.sampling import proposal_numba as kernels

        num_rays = ray_bundle.origins.shape[0]
        num_bins = self.num_proposal_samples_per_ray[0]
        spacings, weights = torch.empty(num_rays, num_bins + 1), torch.empty(num_rays, num_bins)
        new_spacings = torch.empty(num_rays, self.num_nerf_samples_per_ray + 1)
        new_distances = torch.empty_like(new_spacings)
        jitter = torch.rand(num_rays, 2) if self.training else torch.full((num_rays, 2), -1.0)
        kernels.propose(
            *_ray_arrays(ray_bundle), jitter.numpy(), scene_to_unit_box(network),
            as_arrays(_matrices_of(network)), cast(HashGrid, network.encoding).arrays(),
            np.float32(network.average_init_density), np.float32(self._anneal), self.piecewise,
            spacings.numpy(), weights.numpy(), new_spacings.numpy(), new_distances.numpy(),
        )  # fmt: skip
        return Edges(new_spacings, new_distances), FusedProposal(ray_bundle, spacings, weights)

    def interlevel_loss(
        self,
        proposal: FusedProposal,
        network: HashMLPDensityField,
        field_spacings: Float[Tensor, "rays edges"],
        field_weights: Float[Tensor, "rays samples"],
    ) -> Float[Tensor, ""]:
        """Loss that makes the proposal's weights bound the field's (Barron et al. 2022, equation (13)).

        Mean over rays and samples; differentiable in the proposal network's parameters alone.

        Args:
            proposal: what :meth:`sample_edges` returned for this batch.
            network: the proposal network.
            field_spacings: edges of the field's samples as normalised spacings.
            field_weights: the field's rendering weights.
        """
        constants = _Constants(proposal, network, field_spacings.detach(), field_weights.detach(), self.piecewise)
        table = cast(HashGrid, network.encoding).hash_table
        loss = _FusedInterlevel.apply(constants, table, *_matrices_of(network))
        assert isinstance(loss, Tensor)
        return loss


class _Constants(NamedTuple):
    """What no gradient of the interlevel loss reaches, or reaches by its own way."""

    proposal: FusedProposal
    network: HashMLPDensityField
    field_spacings: Float[Tensor, "rays edges"]
    field_weights: Float[Tensor, "rays samples"]
    piecewise: bool


class _FusedInterlevel(torch.autograd.Function):
    """Interlevel loss whose gradients come with its value."""

    @staticmethod
    def forward(ctx: Any, constants: _Constants, table: Tensor, *parameters: Tensor) -> Tensor:
        from semantic_ns.encodings import hash_grid_numba
        from semantic_ns.sampling import proposal_numba as kernels

        proposal, network, field_spacings, field_weights, piecewise = constants
        matrices = ProposalMatrices(*parameters)
        rays, bins = proposal.weights.shape
        grid = cast(HashGrid, network.encoding)
        losses, x = torch.empty(rays), torch.empty(rays * bins, 3)
        g_enc, g_table = torch.empty(rays * bins, grid.get_out_dim()), torch.empty_like(table)
        g_matrices = zeros_per_slot(matrices)
        kernels.interlevel(
            *_ray_arrays(proposal.ray_bundle), scene_to_unit_box(network), as_arrays(matrices),
            grid.arrays(), np.float32(network.average_init_density), piecewise,
            proposal.spacings.numpy(), proposal.weights.numpy(), field_spacings.contiguous().numpy(),
            field_weights.contiguous().numpy(), losses.numpy(), x.numpy(), g_enc.numpy(),
            as_arrays(g_matrices),
        )  # fmt: skip
        hash_grid_numba.scatter_table_gradient(
            x.numpy(), g_enc.numpy(), grid.scalings32.numpy(), grid.hash_table_size, g_table.numpy()
        )
        ctx.save_for_backward(g_table, *(gradient.sum(dim=0) for gradient in g_matrices))
        ctx.count = max(1, field_weights.numel())
        return losses.sum() / ctx.count

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, ...]:
        return (None, *(saved * (gradients[0] / ctx.count) for saved in ctx.saved_tensors))


def _matrices_of(network: HashMLPDensityField) -> ProposalMatrices:
    """The layers of a proposal network in whole blocks, differentiable in its parameters."""
    first, second = linear_layers(network.mlp_base[1])
    return ProposalMatrices(
        w1=whole_blocks(first.weight.T, rows=INPUT_BLOCK), b1=whole_blocks(first.bias),
        w2=whole_blocks(second.weight, axes=1).T, b2=second.bias,
    )  # fmt: skip


def _ray_arrays(ray_bundle: RayBundle) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Origins [R, 3], directions [R, 3], near [R] and far [R]."""
    nears, fars = ray_bundle.nears, ray_bundle.fars
    assert nears is not None
    assert fars is not None
    origins, directions = _array(ray_bundle.origins), _array(ray_bundle.directions)
    return origins, directions, _array(nears.reshape(-1)), _array(fars.reshape(-1))


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().contiguous().numpy()


def edges_of(ray_samples: RaySamples) -> Edges:
    """Edges of the intervals of nerfstudio's samples."""
    frustums = ray_samples.frustums
    assert ray_samples.spacing_starts is not None
    assert ray_samples.spacing_ends is not None
    s = torch.cat([ray_samples.spacing_starts[..., 0], ray_samples.spacing_ends[..., -1:, 0]], dim=-1)
    t = torch.cat([frustums.starts[..., 0], frustums.ends[..., -1:, 0]], dim=-1)
    return Edges(s, t)
