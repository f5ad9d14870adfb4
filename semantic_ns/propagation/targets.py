"""What each training pixel is trained on, from the classes of the surface and from the pixel's own label."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Int64, Integer
from numpy import ndarray
from torch import Tensor

from semantic_ns.datasets.training_depth import TrainingDepth
from semantic_ns.propagation import targets_numba as kernels
from semantic_ns.propagation.posterior import LabelPosterior
from semantic_ns.propagation.surface_graph import SurfaceGraph, SurfacePoints
from semantic_ns.surface.maps import SurfaceMaps

_COLOR_SLOPE = 200.0
_NORMAL_SLOPE = 4.0
_SPREAD = 0.8
"""Standard deviation, in voxels, of the weight by distance."""
SHARPNESS = 3
"""Power of the probabilities of the surface. They are unsure near outlines that nobody drew, and where they are, wrong
labels count beside them."""
_TINY = 1e-12
"""Sum of powers below which nothing is known."""


@dataclass(frozen=True)
class PropagatedLabels:
    """Class distributions of training pixels, from the posterior of the surface.

    Attributes:
        maps: where the pixels' surface points are.
        graph, posterior: the surface and its classes.
        unit_positions: function from scene units [N, 3] to the unit cube of the graph.
        known: depth of the images, which places their pixels better than the maps do; None without.
        sharpness: power of the probabilities of the surface, see `sharpened`.
    """

    maps: SurfaceMaps
    graph: SurfaceGraph
    posterior: LabelPosterior
    unit_positions: Callable[[Tensor], Tensor]
    known: TrainingDepth | None = None
    sharpness: int = 1

    def targets(
        self,
        rays: tuple[Float32[Tensor, "rays 3"], Float32[Tensor, "rays 3"]],
        pixels: Int64[Tensor, "rays 3"],
        colors: Float32[Tensor, "rays 3"],
        labels: Integer[Tensor, "rays"],
    ) -> Float32[Tensor, "rays classes"]:
        """Distribution over the classes for each ray; all zero where nothing is known.

        Args:
            rays: origins and unit directions, scene units.
            pixels: training image, row and column.
            colors: colours of the pixels, RGB in 0..1.
            labels: classes of the pixels, -1 for void.
        """
        origins, directions = rays
        own = colors.contiguous().numpy()
        depths, normals = self.maps.at(pixels.contiguous().numpy(), own)
        along = torch.from_numpy(depths)
        if self.known is not None:
            along = self.known.where_known(pixels, along)
        points = self.unit_positions(origins + directions * along[:, None]).contiguous().numpy()
        result = interpolated(self.graph, self.posterior.probabilities, SurfacePoints(points, own, normals))
        prior = sharpened(torch.from_numpy(result), self.sharpness)
        return with_own_labels(prior, labels, self.posterior.noise_rate)


def interpolated(
    graph: SurfaceGraph, probabilities: Float32[ndarray, "_nodes classes"], points: SurfacePoints
) -> Float32[ndarray, "_points classes"]:
    """Means of what the voxels around each point have, by their distance, colour and normal; zero where there is none.

    Args:
        graph: The voxels.
        probabilities: Classes of the voxels.
        points: Points in the unit cube of the graph; one outside of it has no voxel.
    """
    positions, voxels = np.ascontiguousarray(points.positions), graph.voxels
    result = np.empty((len(positions), probabilities.shape[1]), np.float32)
    nearness = np.float32(0.5 * (graph.resolution / _SPREAD) ** 2)
    kernels.interpolate(
        voxels.grid.keys_of(positions), np.empty((len(positions), 27), np.int32), positions,
        np.ascontiguousarray(points.colors), np.ascontiguousarray(points.normals), voxels.keys, graph.neighbours,
        graph.centres, graph.colors, graph.normals, probabilities, nearness, np.float32(_COLOR_SLOPE),
        np.float32(_NORMAL_SLOPE), result,
    )  # fmt: skip
    return result


def sharpened(distributions: Float32[Tensor, "rays classes"], power: int) -> Float32[Tensor, "rays classes"]:
    """Powers p_c^k / sum_j p_j^k of distributions, of the same sums (Berthelot et al. 2019, MixMatch, equation (7)).

    A field that is smooth learns the mean of what its rays are taught around a place. There a ray that is sure then
    counts more than one that is not.

    Args:
        distributions: rows sum to one, or to less where less is known.
        power: k, at least 1; 1 leaves all as it is.
    """
    if power == 1:
        return distributions
    powers = distributions**power
    return powers * (distributions.sum(dim=1, keepdim=True) / powers.sum(dim=1, keepdim=True).clamp(min=_TINY))


def with_own_labels(
    prior: Float32[Tensor, "rays classes"], labels: Integer[Tensor, "rays"], noise_rate: float
) -> Float32[Tensor, "rays classes"]:
    """Bayes: a prior over the classes of each ray, and its label through the noise channel.

    p(t | y) is proportional to p(t) ((1 - eta) [t = y] + eta / C). A ray without a label keeps its prior; one whose
    prior knows nothing takes its label.

    Args:
        prior: rows sum to one, or are zero where nothing is known.
        labels: 0..C-1, -1 for void.
        noise_rate: eta.
    """
    num_classes = prior.shape[1]
    labelled = labels >= 0
    likelihood = torch.full_like(prior, noise_rate / num_classes)
    likelihood[torch.arange(len(labels)), labels.clamp(min=0)] += 1 - noise_rate
    known = prior.sum(dim=1, keepdim=True) > 0
    combined = torch.where(known, prior, torch.ones_like(prior)) * likelihood
    combined = combined / combined.sum(dim=1, keepdim=True).clamp(min=1e-12)
    return torch.where(labelled[:, None], combined, prior)


def supervision_weights(targets: Float32[Tensor, "rays classes"]) -> Float32[Tensor, "rays"]:
    """How much each ray counts: all of which anything is known alike, the others not at all.

    A distribution says by itself how sure it is. If rays without a label counted less, the few pixels with one, which
    are drawn again and again, would have as much to say as all others together.

    Args:
        targets: distributions, or zero rows.
    """
    return targets.sum(dim=-1)
