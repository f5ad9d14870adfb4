"""nerfstudio's proposal sampler with a fused CPU path for the steps that do not train the proposal network."""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from nerfstudio.cameras.rays import RayBundle, RaySamples
from nerfstudio.field_components.spatial_distortions import SceneContraction
from nerfstudio.fields.density_fields import HashMLPDensityField
from nerfstudio.model_components.ray_samplers import ProposalNetworkSampler
from torch import Tensor, nn

from semantic_ns.encodings.hash_grid import HashGrid


def scene_to_unit_box(field: Any) -> tuple[bool, np.ndarray, np.ndarray]:
    """How a field maps scene positions to the unit cube: (contracted, low corner [3], size [3])."""
    aabb = field.aabb.detach().float()
    return field.spatial_distortion is not None, aabb[0].numpy(), (aabb[1] - aabb[0]).numpy()


class FusedProposalSampler(ProposalNetworkSampler):
    """Proposal sampling that takes one numba kernel per batch where it can, and nerfstudio's path elsewhere.

    The kernel serves CPU rays with one proposal network on steps without a gradient for it: four of five training
    steps and all of rendering. Results equal the parent's for equal random draws.

    Args:
        kwargs: arguments of ``ProposalNetworkSampler``.
    """

    def __init__(self, piecewise: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.piecewise = piecewise

    def trains_proposals(self) -> bool:
        """Whether this step gives the proposal network a gradient (the parent's schedule)."""
        if not torch.is_grad_enabled():
            return False
        return self._steps_since_update > self.update_sched(self._step) or self._step < 10

    def can_fuse(self, ray_bundle: RayBundle, networks: nn.ModuleList) -> bool:
        """Whether the kernel can serve this batch."""
        if self.num_proposal_network_iterations != 1 or ray_bundle.origins.device.type != "cpu":
            return False
        network = networks[0]
        if not isinstance(network, HashMLPDensityField) or network.use_linear:
            return False
        distortion = network.spatial_distortion
        # An infinite order and no contraction are the two maps that the kernel knows.
        known_map = distortion is None or (
            isinstance(distortion, SceneContraction) and distortion.order == float("inf")
        )
        grid = network.encoding
        return known_map and isinstance(grid, HashGrid) and grid.uses_numba(ray_bundle.origins)

    @torch.no_grad()
    def sample_edges(self, ray_bundle: RayBundle, network: HashMLPDensityField) -> tuple[Tensor, Tensor]:
        """Interval edges of the field's samples.

        Returns:
            edges [rays, S + 1] as normalised spacings and as distances in scene units.
        """
        from semantic_ns.sampling import proposal_numba as kernels

        num_rays = ray_bundle.origins.shape[0]
        num_bins = self.num_proposal_samples_per_ray[0]
        grid, layers = cast(HashGrid, network.encoding), cast(Sequence[nn.Linear], network.mlp_base[1].layers)
        s_edges, weights = torch.empty(num_rays, num_bins + 1), torch.empty(num_rays, num_bins)
        s_new = torch.empty(num_rays, self.num_nerf_samples_per_ray + 1)
        t_new = torch.empty_like(s_new)
        jitter = torch.rand(num_rays, 2) if self.training else torch.full((num_rays, 2), -1.0)
        matrices = tuple(m.detach().contiguous().numpy() for layer in layers for m in (layer.weight.T, layer.bias))
        nears, fars = ray_bundle.nears, ray_bundle.fars
        assert nears is not None
        assert fars is not None
        kernels.propose(
            ray_bundle.origins.contiguous().numpy(), ray_bundle.directions.contiguous().numpy(),
            nears.reshape(-1).contiguous().numpy(), fars.reshape(-1).contiguous().numpy(),
            jitter.numpy(), scene_to_unit_box(network), matrices,
            grid.hash_table.detach().numpy(), grid.scalings32.numpy(), grid.hash_table_size,
            np.float32(network.average_init_density), np.float32(self._anneal), self.piecewise,
            s_edges.numpy(), weights.numpy(), s_new.numpy(), t_new.numpy(),
        )  # fmt: skip
        self.last_proposal = (s_edges, weights)
        return s_new, t_new


def edges_of(ray_samples: RaySamples) -> tuple[Tensor, Tensor]:
    """Edges [rays, S + 1] of nerfstudio's samples, as normalised spacings and as distances."""
    frustums = ray_samples.frustums
    assert ray_samples.spacing_starts is not None
    assert ray_samples.spacing_ends is not None
    s = torch.cat([ray_samples.spacing_starts[..., 0], ray_samples.spacing_ends[..., -1:, 0]], dim=-1)
    t = torch.cat([frustums.starts[..., 0], frustums.ends[..., -1:, 0]], dim=-1)
    return s, t
