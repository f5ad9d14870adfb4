"""Classes of Gaussians whenever labels change: what follows from the Gaussians alone is kept while they stay."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from semantic_ns.splatting.classes import GaussianSurface, are_dense_and_clean, class_probabilities
from semantic_ns.splatting.likelihood import most_likely_classes
from semantic_ns.splatting.project import Gaussians, PinholeCamera
from semantic_ns.splatting.votes import VoteCounter


@dataclass
class _Scene:
    """What classes follow from beside the labels, and what is kept of it.

    Attributes:
        tensors: copies of the Gaussians, their colours and cameras.
        others: numbers that classes depend on.
        counter: counts votes.
        surface: the voxels, where they were asked for.
    """

    tensors: list[Tensor]
    others: tuple[object, ...]
    counter: VoteCounter
    surface: GaussianSurface | None = field(default=None)

    def is_of(self, tensors: Sequence[Tensor], others: tuple[object, ...]) -> bool:
        """Whether it is what is kept of these, each number of which has to be the same."""
        return (
            self.others == others
            and len(self.tensors) == len(tensors)
            and all(torch.equal(own, given) for own, given in zip(self.tensors, tensors, strict=True))
        )


class ClassUpdates:
    """Classes of one model's Gaussians, as often as they are asked for.

    The first result is to the bit that of :func:`class_probabilities` of :func:`gaussian_votes`, and where these votes
    are dense and clean, what :func:`most_likely_classes` makes of it. Of Gaussians that are those of before, the voxels
    are found once, and votes are counted only in images whose labels changed. Where votes are spread, the posterior of
    further labels begins at the one of before, see :class:`PosteriorUpdates`: it agrees with the one that is computed
    anew as far as that is exact. Votes that are not spread are to the bit those of before.
    """

    def __init__(self) -> None:
        self._scene: _Scene | None = None

    def update(
        self,
        gaussians: Gaussians,
        colors: Float[Tensor, "gaussians 3"],
        cameras: Sequence[PinholeCamera],
        labels: Sequence[Int[Tensor, "_height _width"]],
        num_classes: int,
        is_antialiased: bool = False,
        spreads: bool = True,
    ) -> Float[Tensor, "gaussians classes"]:
        """Probabilities of classes, all zero where no label reaches.

        Args:
            gaussians: the Gaussians.
            colors: their colours.
            cameras: cameras of the images.
            labels: classes of their pixels, 0..C-1, void -1.
            num_classes: C.
            is_antialiased: whether the Gaussians were trained in gsplat's antialiased mode.
            spreads: whether any votes are spread; without it all stand as they are.
        """
        parts = [gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities, colors]
        tensors = [*parts, *(part for camera in cameras for part in (camera.w2c, camera.lens))]
        others = num_classes, is_antialiased, *((camera.height, camera.width) for camera in cameras)
        scene = self._scene
        if scene is None or not scene.is_of(tensors, others):
            self._scene = None  # before there is memory for another one
            # Copies, for those of a model go on training in place.
            own = Gaussians(*(part.detach().clone() for part in parts[:4]))
            copies = [own.means, own.quats, own.scales, own.opacities, *(part.clone() for part in tensors[4:])]
            counter = VoteCounter(own, cameras, num_classes, is_antialiased)
            scene = self._scene = _Scene(copies, others, counter)

        def surface_of(of: Gaussians, of_colors: Tensor) -> GaussianSurface:
            if scene.surface is None:
                scene.surface = GaussianSurface.of(of, of_colors)
                scene.surface.posterior.prepare()
            return scene.surface

        votes = scene.counter.count(labels)
        found = class_probabilities(gaussians, colors, votes, spreads, surface_of)
        if not spreads or not are_dense_and_clean(votes):
            return found
        return most_likely_classes(gaussians, cameras, labels, found, is_antialiased)
