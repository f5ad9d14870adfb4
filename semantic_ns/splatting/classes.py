"""Classes of Gaussians in closed form: those of labelled pixels, spread over the surface that pixels show."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int, Int16, Int32
from numpy import ndarray
from scipy.sparse import coo_array, csr_array
from scipy.spatial import KDTree
from torch import Tensor

from semantic_ns.propagation.appearance import class_prior
from semantic_ns.propagation.class_shares import ClassShares, shares_of_classes, with_class_shares
from semantic_ns.propagation.clusters import find_clusters
from semantic_ns.propagation.posterior import DENSE_LABELS, count_votes, noise_rate, share_of_voxels
from semantic_ns.propagation.posterior_updates import PosteriorUpdates
from semantic_ns.propagation.surface_graph import build_surface_graph
from semantic_ns.propagation.targets import interpolated
from semantic_ns.splatting.outlines import Outlines, class_paints, painted
from semantic_ns.splatting.project import Gaussians, PinholeCamera
from semantic_ns.splatting.seen_surface import MOST_KEPT, SeenSurface
from semantic_ns.splatting.votes import Votes, gaussian_votes

NUM_NODES = 120_000
"""Voxels of a room. Half as many have the classes of a new label in half of the time, and outlines are coarser."""
_POINTS_PER_NODE = 5
"""Points of a voxel at least, on average: with fewer, voxels would part what neighbouring images see."""
_SIZES_PER_HALF = 2
"""Of noisy labels voxels are fewer, by steps of the root of 2: a label more is not to divide the surface anew."""
_STALE = 0.01
"""Share of the voxels with votes whose votes have to change for the classifier of what looks alike to be fitted anew,
which takes longer than all else that follows from a label."""
_LEAST_PROBABILITY = 1e-3
LEAST_SHARE = 1e-3
"""Of the light that a pixel stops, the least that has to have a class for the pixel to have one."""
CLEAN_NOISE_RATE = 0.1
"""Noise rate below which the votes of dense labels stand as they are: the many votes of a Gaussian outvote so little
noise, of which what lies across the outlines of classes is a part."""


class GaussianSurface:
    """Voxels of the surface that the training images show, over which labels spread, and their Gaussians.

    Args:
        seen: what pixels show.
        num_nodes: number of voxels wanted; there are fewer where there are few points.

    Attributes:
        seen: what pixels show.
        num_wanted: number of voxels that were asked for; there are about so many.
        graph: the voxels.
    """

    def __init__(self, seen: SeenSurface, num_nodes: int = NUM_NODES) -> None:
        self.seen = seen
        self.num_wanted = max(1, min(num_nodes, len(seen.points.positions) // _POINTS_PER_NODE))
        self.graph = build_surface_graph(seen.points, self.num_wanted)
        self._kept: dict[int, Int32[ndarray, "_pixels"]] = {}
        self._room = MOST_KEPT
        self._posterior = PosteriorUpdates(self.graph, find_clusters(self.graph))
        self._prior: tuple[ndarray, Float32[ndarray, "voxels classes"], ClassShares | None] | None = None

    def _voxels_of(self, frame: int) -> Int32[ndarray, "_pixels"]:
        """The voxel that each pixel of an image shows, row by row, -1 for none."""
        found = self._kept.get(frame)
        if found is None:
            found = self.seen.voxels_of(frame, self.graph)
            if found.nbytes <= self._room:
                self._kept[frame] = found
                self._room -= found.nbytes
        return found

    @cached_property
    def _shares_of_voxels(self) -> tuple[csr_array, Int[ndarray, "gaussians"]]:
        """For each Gaussian the shares of the voxels that its pixels show, and which Gaussian it has the classes of.

        A Gaussian that no pixel shows, as it lies behind others, is like the nearest one that some pixel shows.
        """
        shape = len(self.seen.gaussians), self.graph.num_nodes
        counts = csr_array(shape, dtype=np.float32)
        for frame in range(len(self.seen.views)):
            middles, voxels = self.seen.pixels(frame).middles.reshape(-1).numpy(), self._voxels_of(frame)
            is_known = (middles >= 0) & (voxels >= 0)
            pairs = middles[is_known], voxels[is_known]
            ones = np.ones(len(pairs[0]), np.float32)
            counts = csr_array(counts + csr_array(coo_array((ones, pairs), shape=shape)))
        totals = counts.sum(axis=1)
        counts.data /= np.repeat(totals, np.diff(counts.indptr))
        like, is_shown = np.arange(shape[0]), totals > 0
        means = self.seen.gaussians.means.numpy()
        is_hidden = ~is_shown & np.isfinite(means).all(axis=1)
        if is_shown.any():
            like[is_hidden] = np.flatnonzero(is_shown)[KDTree(means[is_shown]).query(means[is_hidden])[1]]
        return counts, like

    def prepare(self) -> None:
        """Compute what all labels but the first need, so that none of them waits for it."""
        self._posterior.prepare()
        _ = self._shares_of_voxels

    def votes_of(
        self, labels: Sequence[Int[Tensor, "_height _width"]], num_classes: int
    ) -> Float32[ndarray, "voxels classes"]:
        """How many pixels give each voxel each class.

        Args:
            labels: classes of the pixels of the training images, 0..C-1, void -1.
            num_classes: C.
        """
        votes = np.zeros((self.graph.num_nodes, num_classes), np.float32)
        for frame, image in enumerate(labels):
            is_labelled = (image >= 0).reshape(-1).numpy()
            if is_labelled.any():
                given = image.reshape(-1).numpy().astype(np.int32)[is_labelled]
                votes += count_votes(self._voxels_of(frame)[is_labelled], given, *votes.shape)
        return votes

    def suitable_nodes(self, votes: Float32[ndarray, "voxels classes"]) -> int:
        """Number of voxels that is fine enough for labels as noisy as these, see `share_of_voxels`."""
        halves = np.floor(_SIZES_PER_HALF * np.log2(share_of_voxels(votes)))
        return max(1, int(self.num_wanted * 2 ** (halves / _SIZES_PER_HALF)))

    def class_probabilities(
        self, votes: Float32[ndarray, "voxels classes"], looks_alike: bool
    ) -> Float[Tensor, "gaussians classes"]:
        """Probabilities of classes, all zero where no label reaches; nothing is known of Gaussians far away.

        The mean, over the pixels that a Gaussian is what they show, of the posterior of their voxels, see
        :func:`semantic_ns.propagation.posterior.solve_posterior`.

        Args:
            votes: what `votes_of` gives. Those of before are begun at, see :class:`PosteriorUpdates`.
            looks_alike: whether what looks like labelled voxels is taken for what they are, see `appearance`.
        """
        probabilities = torch.from_numpy(self.posterior(votes, looks_alike))
        shares, like = self._shares_of_voxels
        return shares_of(torch.from_numpy(shares @ without_traces(probabilities).numpy()))[torch.from_numpy(like)]

    def posterior(
        self, votes: Float32[ndarray, "voxels classes"], looks_alike: bool
    ) -> Float32[ndarray, "voxels classes"]:
        """Probabilities of the classes of voxels, see `class_probabilities`."""
        prior, shares = self._looks_by(votes) if looks_alike else (None, None)
        return with_class_shares(self._posterior.solve(votes, prior), shares).probabilities

    def labels_of_pixels(
        self, probabilities: Float32[ndarray, "voxels classes"]
    ) -> list[Int16[Tensor, "_height _width"]]:
        """The likeliest class of the voxels that lie around what each pixel of the images shows, and look like it.

        Args:
            probabilities: what `posterior` gives.

        Returns:
            -1 where none is known.
        """
        found = []
        for frame, view in enumerate(self.seen.views):
            classes = interpolated(self.graph, probabilities, self.seen.points_of(frame))
            labels = np.where(classes.sum(axis=1) > 0, classes.argmax(axis=1), -1).astype(np.int16)
            found.append(torch.from_numpy(labels.reshape(view.camera.height, view.camera.width)))
        return found

    def _looks_by(
        self, votes: Float32[ndarray, "voxels classes"]
    ) -> tuple[Float32[ndarray, "voxels classes"], ClassShares | None]:
        """What voxels look like, and how much of each class there is, by votes of which few have changed since."""
        if self._prior is not None:
            before, prior, shares = self._prior
            if before.shape == votes.shape and (before.any(axis=0) == votes.any(axis=0)).all():
                num_changed = int((before != votes).any(axis=1).sum())
                if num_changed <= _STALE * int(before.any(axis=1).sum()):
                    return prior, shares
        prior = class_prior(self._looks[0], votes, self._looks[1])
        shares = shares_of_classes(votes, prior)
        self._prior = votes.copy(), prior, shares
        return prior, shares

    @cached_property
    def _looks(self) -> tuple[Float32[ndarray, "voxels channels"], Bool[ndarray, "voxels"]]:
        return self.seen.looks(self.graph)


def are_dense_and_clean(votes: Votes) -> bool:
    """Whether votes can stand as they are: those of most pixels, hardly any of which contradict each other."""
    return votes.labelled_share > DENSE_LABELS and noise_rate(votes.counts.round().numpy()) < CLEAN_NOISE_RATE


def outlines_of(
    gaussians: Gaussians,
    cameras: Sequence[PinholeCamera],
    labels: Sequence[Int[Tensor, "_height _width"]],
    num_classes: int,
    is_antialiased: bool = False,
) -> Outlines | None:
    """Outlines that Gaussians are to follow, by their classes before they train; None where labels are few or noisy.

    Args:
        gaussians: the Gaussians to begin with.
        cameras: cameras of the training images.
        labels: classes of their pixels, 0..C-1, void -1.
        num_classes: C.
        is_antialiased: whether the Gaussians train in gsplat's antialiased mode.
    """
    votes = gaussian_votes(gaussians, cameras, labels, num_classes, is_antialiased)
    if not are_dense_and_clean(votes):
        return None
    paints = class_paints(num_classes)
    return Outlines(painted(gaussians, votes.counts, paints), paints, labels)


def shares_of(counts: Float[Tensor, "gaussians classes"]) -> Float[Tensor, "gaussians classes"]:
    """Probabilities of classes from votes that stand as they are; all zero where there are none."""
    return counts / counts.sum(dim=1, keepdim=True).clamp(min=1e-6)


def without_traces(probabilities: Float[Tensor, "nodes classes"]) -> Float[Tensor, "nodes classes"]:
    """Probabilities of which those below 1/1000 are 0, which is quick to draw; the others add up to what all did."""
    kept = probabilities.where(probabilities >= _LEAST_PROBABILITY, 0.0)
    sums = probabilities.sum(dim=1, keepdim=True)
    return kept * (sums / kept.sum(dim=1, keepdim=True).clamp(min=_LEAST_PROBABILITY))


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
