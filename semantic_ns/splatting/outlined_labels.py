"""Labels by whose outlines Gaussians are divided and shaped: where few or noisy ones are given, those that spread."""

from collections.abc import Sequence

from jaxtyping import Int
from torch import Tensor

from semantic_ns.propagation.posterior import DENSE_LABELS
from semantic_ns.splatting.classes import GaussianSurface
from semantic_ns.splatting.first_gaussians import OF_IMAGES, Leaves, first_gaussians
from semantic_ns.splatting.fit import View
from semantic_ns.splatting.project import Gaussians
from semantic_ns.splatting.seen_surface import SeenSurface

_OUTLINED = 0.9
"""Share of equal neighbours from which on labels have outlines; a tenth of the pixels wrong leaves .81 of them."""


def are_outlined(labels: Sequence[Int[Tensor, "_height _width"]]) -> bool:
    """Whether labels have outlines rather than noise: at least nine in ten labelled neighbours in a row agree.

    Labels none of which are neighbours have no outlines.
    """
    num_pairs = num_equal = 0
    for image in labels:
        left, right = image[:, :-1], image[:, 1:]
        is_pair = (left >= 0) & (right >= 0)
        num_pairs, num_equal = num_pairs + int(is_pair.sum()), num_equal + int((is_pair & (left == right)).sum())
    return num_pairs > 0 and num_equal >= _OUTLINED * num_pairs


def outlined_labels(
    views: Sequence[View],
    labels: Sequence[Int[Tensor, "_height _width"]],
    num_classes: int,
    most: int | None = None,
    leaves: Leaves = OF_IMAGES,
) -> Sequence[Int[Tensor, "_height _width"]]:
    """Labels along whose outlines Gaussians are made: dense clean ones as they are, others as they spread.

    Where no pixel has a label, or no depth is known, they stay as they are, too.

    Args:
        views: images with depth.
        labels: classes of their pixels, 0..C-1, void -1.
        num_classes: C.
        most: see `first_gaussians`.
        leaves: how large leaves are.
    """
    share = _labelled_share(labels)
    has_depth = any(view.depth is not None and bool((view.depth > 0).any()) for view in views)
    if share == 0 or not has_depth or (share > DENSE_LABELS and are_outlined(labels)):
        return labels
    return spread_labels(first_gaussians(views, None, most, leaves)[0], views, labels, num_classes)


def spread_labels(
    gaussians: Gaussians, views: Sequence[View], labels: Sequence[Int[Tensor, "_height _width"]], num_classes: int
) -> list[Int[Tensor, "_height _width"]]:
    """The likeliest classes of all pixels, by labels that spread over the surface that these show, -1 where unknown.

    Few labels stay as they are. Where most pixels have one, they spread because many are wrong.

    Args:
        gaussians: Gaussians at that surface, before any training.
        views: the images.
        labels: classes of their pixels, 0..C-1, void -1.
        num_classes: C.
    """
    seen = SeenSurface(gaussians, views)
    if not len(seen.points.positions):  # no image shows any of them
        return list(labels)
    surface = GaussianSurface(seen)
    votes = surface.votes_of(labels, num_classes)
    suitable = surface.suitable_nodes(votes)
    if suitable < surface.num_wanted:
        surface = GaussianSurface(seen, suitable)
        votes = surface.votes_of(labels, num_classes)
    are_few = _labelled_share(labels) <= DENSE_LABELS
    found = surface.labels_of_pixels(surface.posterior(votes, are_few))
    return [given.where(given >= 0, own) if are_few else own for given, own in zip(labels, found, strict=True)]


def _labelled_share(labels: Sequence[Int[Tensor, "_height _width"]]) -> float:
    return sum(int((image >= 0).sum()) for image in labels) / max(1, sum(image.numel() for image in labels))
