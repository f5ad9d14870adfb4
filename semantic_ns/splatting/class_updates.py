"""Classes of Gaussians whenever labels change: what follows from the Gaussians alone is kept while they stay."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from semantic_ns.propagation.posterior import DENSE_LABELS
from semantic_ns.splatting.classes import NUM_NODES, GaussianSurface, are_dense_and_clean, shares_of
from semantic_ns.splatting.fit import View
from semantic_ns.splatting.likelihood import most_likely_classes
from semantic_ns.splatting.project import Gaussians
from semantic_ns.splatting.seen_surface import SeenSurface
from semantic_ns.splatting.votes import VoteCounter, Votes


@dataclass
class _Scene:
    """What classes follow from beside the labels, and what is kept of it.

    Attributes:
        gaussians: copies of the Gaussians.
        tensors: the same, and copies of what the cameras are.
        others: what else classes depend on.
        views: the training images.
        counter: counts votes.
        is_antialiased: whether the Gaussians were trained in gsplat's antialiased mode.
        num_nodes: number of its finest voxels that is wanted.
        coarse: the voxels of noisy labels, where they were asked for, and how many were wanted.
    """

    gaussians: Gaussians
    tensors: list[Tensor]
    others: tuple[object, ...]
    views: Sequence[View]
    counter: VoteCounter
    is_antialiased: bool
    num_nodes: int
    coarse: tuple[int, GaussianSurface] | None = field(default=None)

    @cached_property
    def seen(self) -> SeenSurface:
        """What the pixels of the training images show."""
        return SeenSurface(self.gaussians, self.views, self.is_antialiased)

    @cached_property
    def surface(self) -> GaussianSurface:
        """Its finest voxels."""
        surface = GaussianSurface(self.seen, self.num_nodes)
        surface.prepare()
        return surface

    def is_of(self, tensors: Sequence[Tensor], others: tuple[object, ...]) -> bool:
        """Whether it is what is kept of these, each number of which has to be the same."""
        return (
            self.others == others
            and len(self.tensors) == len(tensors)
            and all(torch.equal(own, given) for own, given in zip(self.tensors, tensors, strict=True))
        )

    def spread(
        self, labels: Sequence[Int[Tensor, "_height _width"]], votes: Votes
    ) -> Float[Tensor, "gaussians classes"]:
        """Classes of few or noisy labels; those of Gaussians far away from the others by their own votes."""
        if not len(self.seen.points.positions):  # no image shows any of them
            return shares_of(votes.counts)
        surface, num_classes = self.surface, votes.counts.shape[1]
        of_voxels = surface.votes_of(labels, num_classes)
        suitable = surface.suitable_nodes(of_voxels)
        if suitable < surface.num_wanted:
            if self.coarse is None or self.coarse[0] != suitable:
                self.coarse = suitable, GaussianSurface(self.seen, suitable)
            surface = self.coarse[1]
            of_voxels = surface.votes_of(labels, num_classes)
        found = surface.class_probabilities(of_voxels, votes.labelled_share <= DENSE_LABELS)
        return torch.where(self.seen.is_near[:, None], found, shares_of(votes.counts))


class ClassUpdates:
    """Classes of one model's Gaussians, as often as they are asked for.

    Dense clean votes stand as they are, and :func:`most_likely_classes` follow. Few or noisy labels are added up over
    voxels of the surface that pixels show, and spread over those that touch, see :class:`GaussianSurface`.

    Of Gaussians that are those of before, the voxels are found once, and votes are counted only in images whose labels
    changed. Where labels spread, the posterior of further ones begins at the one of before, see
    :class:`PosteriorUpdates`: it agrees with the one that is computed anew as far as that is exact, and as far as the
    classifier of what looks alike does, which is fitted anew only where more than a hundredth of the voxels with labels
    have others. Votes that are not spread are to the bit those of before.

    Args:
        num_nodes: number of voxels that is wanted, see `GaussianSurface`.
    """

    def __init__(self, num_nodes: int = NUM_NODES) -> None:
        self._num_nodes = num_nodes
        self._scene: _Scene | None = None

    def update(
        self,
        gaussians: Gaussians,
        views: Sequence[View],
        labels: Sequence[Int[Tensor, "_height _width"]],
        num_classes: int,
        is_antialiased: bool = False,
        spreads: bool = True,
    ) -> Float[Tensor, "gaussians classes"]:
        """Probabilities of classes, all zero where no label reaches.

        Args:
            gaussians: the Gaussians.
            views: the training images. Their pixels stay the same from one call to the next.
            labels: classes of their pixels, 0..C-1, void -1.
            num_classes: C.
            is_antialiased: whether the Gaussians were trained in gsplat's antialiased mode.
            spreads: whether any votes are spread; without it all stand as they are.
        """
        scene = self._scene_of(gaussians, views, num_classes, is_antialiased)
        votes = scene.counter.count(labels)
        if not spreads:
            return shares_of(votes.counts)
        # Of single Gaussians: voxels lie across the outlines of classes, where labels differ without being wrong.
        if not are_dense_and_clean(votes):
            return scene.spread(labels, votes)
        cameras = [view.camera for view in views]
        return most_likely_classes(gaussians, cameras, labels, shares_of(votes.counts), is_antialiased)

    def _scene_of(self, gaussians: Gaussians, views: Sequence[View], num_classes: int, is_antialiased: bool) -> _Scene:
        """What is kept of these Gaussians and images, or a new one."""
        cameras = [view.camera for view in views]
        tensors = [*gaussians.parts, *(part for camera in cameras for part in (camera.w2c, camera.lens))]
        others = num_classes, is_antialiased, gaussians.blur, *((camera.height, camera.width) for camera in cameras)
        if self._scene is None or not self._scene.is_of(tensors, others):
            self._scene = None  # before there is memory for another one
            # Copies, for those of a model go on training in place.
            copies = [tensor.detach().clone() for tensor in tensors]
            own = Gaussians(*copies[: len(gaussians.parts)], blur=gaussians.blur)
            counter = VoteCounter(own, cameras, num_classes, is_antialiased)
            self._scene = _Scene(own, copies, others, views, counter, is_antialiased, self._num_nodes)
        return self._scene
