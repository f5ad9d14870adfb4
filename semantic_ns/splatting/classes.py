"""Classes of Gaussians in closed form: votes of labelled pixels, spread over the surface."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from semantic_ns.propagation.clusters import Clusters, find_clusters
from semantic_ns.propagation.posterior import noise_rate
from semantic_ns.propagation.posterior_updates import PosteriorUpdates
from semantic_ns.propagation.surface_graph import SurfaceGraph, SurfacePoints, build_surface_graph
from semantic_ns.splatting.project import Gaussians
from semantic_ns.splatting.votes import Votes

_NUM_NODES = 60_000
"""Voxels of a room: near the best number for clicks and for noise in the measurements of spreading."""
_GAUSSIANS_PER_NODE = 3
"""Gaussians of a voxel at least, on average: with fewer, voxels would not touch."""
_SPREAD = 0.6
"""Points of a Gaussian lie at its mean and so many standard deviations beside it, by which large ones touch."""
_LEAST_PROBABILITY = 1e-3
LEAST_SHARE = 1e-3
"""Of the light that a pixel stops, the least that has to have a class for the pixel to have one."""
_FEW = 0.02
"""Share of Gaussians at either end of an axis that may be far away from the others."""
_DENSE, _CLEAN_NOISE_RATE = 0.5, 0.1
"""Share of labelled pixels from which on, and noise rate below which, votes stand as they are: the many votes of a
Gaussian outvote so little noise, of which what lies across the outlines of classes is a part."""


@dataclass(frozen=True, eq=False)
class GaussianSurface:
    """Voxels of Gaussians, over which labels spread, whatever the labels.

    Attributes:
        graph: the voxels.
        clusters: those of them that look alike.
        nodes: the voxel of each Gaussian, -1 for one far away from the others.
    """

    graph: SurfaceGraph
    clusters: Clusters
    nodes: Int[Tensor, "gaussians"]

    @cached_property
    def posterior(self) -> PosteriorUpdates:
        """Solves for the classes of the voxels: each time from what it has found the time before."""
        return PosteriorUpdates(self.graph, self.clusters)

    def votes_of_voxels(self, counts: Float[Tensor, "gaussians classes"]) -> Float[Tensor, "voxels classes"]:
        """The votes of the Gaussians of each voxel together."""
        votes = torch.zeros(self.graph.num_nodes, counts.shape[1])
        return votes.index_add_(0, self.nodes.clamp(min=0), counts * (self.nodes >= 0)[:, None])

    @classmethod
    def of(cls, gaussians: Gaussians, colors: Float[Tensor, "gaussians 3"]) -> "GaussianSurface":
        """Voxels of about 60 000 or, of fewer Gaussians, of three of them each."""
        is_near = are_near(gaussians.means)
        parts = gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities
        near = Gaussians(*(part[is_near] for part in parts))
        low, high = near.means.amin(dim=0), near.means.amax(dim=0)
        graph = build_surface_graph(
            _surface_points(near, colors[is_near], low, high),
            min(_NUM_NODES, max(1, len(near) // _GAUSSIANS_PER_NODE)),
        )
        nodes = torch.full((len(gaussians),), -1)
        nodes[is_near] = torch.from_numpy(graph.voxels.at(_unit(near.means, low, high).numpy())).long()
        return cls(graph, find_clusters(graph), nodes)


def class_probabilities(
    gaussians: Gaussians,
    colors: Float[Tensor, "gaussians 3"],
    votes: Votes,
    spreads: bool = True,
    surface_of: Callable[[Gaussians, Float[Tensor, "gaussians 3"]], GaussianSurface] = GaussianSurface.of,
) -> Float[Tensor, "gaussians classes"]:
    """Probabilities of classes from votes; all zero where no label reaches.

    Dense clean votes stand as they are, and so do those of Gaussians far away from the others. The rest are added up
    over voxels, spread over the graph of those that touch, and weighed by how noisy they are, see
    :func:`semantic_ns.propagation.posterior.solve_posterior`. Where `surface_of` gives voxels for which classes have
    been asked before, they are solved from those, see :class:`PosteriorUpdates`.

    Args:
        gaussians: the Gaussians.
        colors: their colours.
        votes: votes of labelled pixels.
        spreads: whether any votes are spread; without it all stand as they are.
        surface_of: gives their voxels, which are asked for only where votes are spread.
    """
    # Of single Gaussians: voxels lie across the outlines of classes, where labels differ without being wrong.
    if not spreads or are_dense_and_clean(votes):
        return _shares(votes.counts)
    surface = surface_of(gaussians, colors)
    solved = surface.posterior.solve(surface.votes_of_voxels(votes.counts).numpy())
    found = without_traces(torch.from_numpy(solved.probabilities)).index_select(0, surface.nodes.clamp(min=0))
    is_far = surface.nodes < 0
    found[is_far] = _shares(votes.counts[is_far])
    return found


def are_dense_and_clean(votes: Votes) -> bool:
    """Whether votes can stand as they are: those of most pixels, hardly any of which contradict each other."""
    return votes.labelled_share > _DENSE and noise_rate(votes.counts.round().numpy()) < _CLEAN_NOISE_RATE


def _shares(counts: Float[Tensor, "gaussians classes"]) -> Float[Tensor, "gaussians classes"]:
    return counts / counts.sum(dim=1, keepdim=True).clamp(min=1e-6)


def are_near(means: Float[Tensor, "gaussians 3"]) -> Bool[Tensor, "gaussians"]:
    """Which Gaussians are of the scene, and not a few far away, by which its voxels would become too large.

    Those are near that lie in the box of the middle 96 % along each axis, or no farther from it than it is wide.
    """
    low, high = (torch.from_numpy(bound).float() for bound in np.quantile(means.numpy(), [_FEW, 1 - _FEW], axis=0))
    margin = (high - low).max()
    return ((means >= low - margin) & (means <= high + margin)).all(dim=1)


def without_traces(probabilities: Float[Tensor, "nodes classes"]) -> Float[Tensor, "nodes classes"]:
    """Probabilities of which those below 1/1000 are 0, which is quick to draw; the others add up to what all did."""
    kept = probabilities.where(probabilities >= _LEAST_PROBABILITY, 0.0)
    sums = probabilities.sum(dim=1, keepdim=True)
    return kept * (sums / kept.sum(dim=1, keepdim=True).clamp(min=_LEAST_PROBABILITY))


def _unit(positions: Float[Tensor, "*points 3"], low: Tensor, high: Tensor) -> Float[Tensor, "*points 3"]:
    """Positions in the unit cube, a little inside of it."""
    return ((positions - low) / (high - low).max().clamp(min=1e-6) * 0.998 + 0.001).clamp(0, 1 - 1e-6).contiguous()


def _surface_points(
    gaussians: Gaussians, colors: Float[Tensor, "gaussians 3"], low: Tensor, high: Tensor
) -> SurfacePoints:
    """Nine points on the plane of the two long axes of each Gaussian."""
    axes = axes_of(gaussians.quats)
    order = gaussians.scales.argsort(dim=-1, descending=True)
    first, second = (
        axes.gather(1, order[:, n, None, None].expand(-1, 1, 3))[:, 0]
        * (_SPREAD * gaussians.scales.gather(1, order[:, n, None]))
        for n in (0, 1)
    )
    steps = torch.tensor([-1.0, 0.0, 1.0])
    points = gaussians.means[:, None, None] + (
        steps[:, None, None] * first[:, None, None] + steps[None, :, None] * second[:, None, None]
    )
    shape = (*points.shape[:3], 3)
    return SurfacePoints(
        _unit(points, low, high).reshape(-1, 3).numpy(),
        colors.clamp(0, 1)[:, None, None].expand(shape).reshape(-1, 3).contiguous().numpy(),
        normals_of(gaussians)[:, None, None].expand(shape).reshape(-1, 3).contiguous().numpy(),
    )


def normals_of(gaussians: Gaussians) -> Float[Tensor, "gaussians 3"]:
    """The shortest axis of each Gaussian, unit length, towards either side."""
    axes = axes_of(gaussians.quats)
    return axes[torch.arange(len(axes)), gaussians.scales.argmin(dim=-1)]


def axes_of(quats: Float[Tensor, "gaussians 4"]) -> Float[Tensor, "gaussians 3 3"]:
    """The axes of Gaussians in the world, [gaussians, axis, xyz]: the columns of their rotations."""
    w, x, y, z = torch.nn.functional.normalize(quats, dim=-1).unbind(-1)
    return torch.stack(
        [
            torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)], dim=-1),
            torch.stack([2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)], dim=-1),
            torch.stack([2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)], dim=-1),
        ],
        dim=1,
    )


def are_classless(
    shares: Float[Tensor, "*pixels classes"], opacity: Float[Tensor, "*pixels"]
) -> Bool[Tensor, "*pixels"]:
    """Whether what pixels show has no class: that of hardly any of the light.

    Args:
        shares: composited probabilities of classes.
        opacity: share of the light that is stopped.
    """
    return shares.sum(dim=-1) <= LEAST_SHARE * opacity


def labels_of(probabilities: Float[Tensor, "gaussians classes"]) -> np.ndarray:
    """The most probable class of each Gaussian, -1 where no label reaches."""
    found = probabilities.argmax(dim=-1)
    return found.where(probabilities.sum(dim=-1) > 0, -1).numpy().astype(np.int32)
