"""Gaussians that end where the classes of images do: those of one class are painted in one colour of their own."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from scipy.spatial import KDTree
from torch import Tensor

from semantic_ns.splatting.project import Gaussians

_CHANNELS = 3
_DRAWS, _MOST_DISTANCES = 500, 10_000_000


@dataclass(frozen=True, eq=False)
class Outlines:
    """What Gaussians are painted in by their classes, and what images would look like then.

    Colours alone let a Gaussian reach across the outline of an object that looks like what lies behind it. Colours of
    classes stay as they are while Gaussians train, so that means, sizes, directions and opacities follow the outlines.

    Attributes:
        of_gaussians: the colour of the class of each Gaussian.
        of_classes: that of each class.
        labels: classes of the pixels of the training images, 0..C-1, void -1.
    """

    of_gaussians: Float[Tensor, "gaussians 3"]
    of_classes: Float[Tensor, "classes 3"]
    labels: Sequence[Int[Tensor, "_height _width"]]


def class_paints(num_classes: int) -> Float[Tensor, "classes 3"]:
    """Colours in 0..1 far from each other: of 500 draws, or fewer, the one whose nearest two are farthest apart."""
    generator = torch.Generator().manual_seed(0)
    count = min(_DRAWS, max(1, _MOST_DISTANCES // num_classes**2))
    draws = torch.rand((count, num_classes, _CHANNELS), generator=generator)
    apart = torch.cdist(draws, draws) + 2 * torch.eye(num_classes)  # no two are farther apart than the root of 3
    return draws[int(apart.flatten(1).amin(dim=1).argmax())]


def painted(
    gaussians: Gaussians, votes: Float[Tensor, "gaussians classes"], paints: Float[Tensor, "classes 3"]
) -> Float[Tensor, "gaussians 3"]:
    """The colour of the class that has most votes; of a Gaussian without votes, that of the nearest one with some."""
    found, has_votes = paints[votes.argmax(dim=1)], votes.sum(dim=1) > 0
    if bool(has_votes.any()) and not bool(has_votes.all()):
        means = gaussians.means.detach().numpy()
        nearest = KDTree(means[has_votes.numpy()]).query(means[~has_votes.numpy()])[1]
        found[~has_votes] = found[has_votes][torch.from_numpy(nearest)]
    return found


def outline_loss(
    summed: Float[Tensor, "height width 3"],
    opacity: Float[Tensor, "height width"],
    labels: Int[Tensor, "height width"],
    of_classes: Float[Tensor, "classes 3"],
) -> Float[Tensor, ""]:
    """|s - A p|² of labelled pixels over the number of all, with the mean over channels in |.|².

    Args:
        summed: s, paints of Gaussians summed by rendering weight.
        opacity: A.
        labels: classes 0..C-1, void -1.
        of_classes: p of each class.
    """
    is_known = labels >= 0
    expected = opacity[..., None] * of_classes[labels.clamp(min=0).long()]
    return ((summed - expected).square().mean(dim=-1) * is_known).mean()
