"""Labels by whose outlines Gaussians are divided and shaped: where few or noisy ones are given, those that spread."""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float, Int, Int16
from torch import Tensor

from semantic_ns.propagation.posterior import DENSE_LABELS, noise_rate
from semantic_ns.splatting.classes import CLEAN_NOISE_RATE, GaussianSurface, outlines_of
from semantic_ns.splatting.first_gaussians import OF_IMAGES, Leaves, first_gaussians
from semantic_ns.splatting.fit import View
from semantic_ns.splatting.outlines import Outlines
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


@dataclass(frozen=True, eq=False)
class OutlinedStart:
    """Gaussians at the surface that depth shows, made along the outlines of labels.

    Attributes:
        gaussians: the Gaussians, before any training.
        colors: their colours in 0..1.
        labels: dense clean labels as they are given, or what others become as they spread: 0..C-1, void -1.
        outlines: what training follows; None where labels are few or noisy all the same.
    """

    gaussians: Gaussians
    colors: Float[Tensor, "gaussians 3"]
    labels: Sequence[Int[Tensor, "_height _width"]]
    outlines: Outlines | None


def outlined_start(
    views: Sequence[View],
    labels: Sequence[Int[Tensor, "_height _width"]],
    num_classes: int,
    most: int | None = None,
    leaves: Leaves = OF_IMAGES,
) -> OutlinedStart:
    """The Gaussians to begin with, and the outlines that they follow.

    Args:
        views: images with depth.
        labels: classes of their pixels, 0..C-1, void -1; where no pixel has one, there are no outlines.
        num_classes: C.
        most: see `first_gaussians`.
        leaves: how large leaves are.

    Raises:
        SceneError: no depth is known.
    """

    def along(chosen: Sequence[Int[Tensor, "_height _width"]]) -> OutlinedStart:
        begin = first_gaussians(views, chosen if are_outlined(chosen) else None, most, leaves)
        return OutlinedStart(*begin, chosen, outlines_of(begin[0], [v.camera for v in views], chosen, num_classes))

    share = _labelled_share(labels)
    if share == 0 or (share > DENSE_LABELS and are_outlined(labels)):
        given = along(labels)
        # Labels that are wrong in whole regions have outlines, too, but images contradict each other.
        if share == 0 or given.outlines is not None:
            return given
    plain, _ = first_gaussians(views, None, most, leaves)
    return along(spread_labels(plain, views, labels, num_classes))


def spread_labels(
    gaussians: Gaussians, views: Sequence[View], labels: Sequence[Int[Tensor, "_height _width"]], num_classes: int
) -> list[Int16[Tensor, "_height _width"]]:
    """The likeliest classes of all pixels, by labels that spread over the surface that these show, -1 where unknown.

    Few labels that hardly contradict each other stay as they are.

    Args:
        gaussians: Gaussians at that surface, before any training.
        views: the images.
        labels: classes of their pixels, 0..C-1, void -1.
        num_classes: C.
    """
    seen = SeenSurface(gaussians, views)
    if not len(seen.points.positions):  # no image shows any of them
        return [image.short() for image in labels]
    surface = GaussianSurface(seen)
    votes = surface.votes_of(labels, num_classes)
    are_few = _labelled_share(labels) <= DENSE_LABELS
    are_trusted = are_few and noise_rate(votes) < CLEAN_NOISE_RATE
    suitable = surface.suitable_nodes(votes)
    if suitable < surface.num_wanted:
        surface = GaussianSurface(seen, suitable)
        votes = surface.votes_of(labels, num_classes)
    found = surface.labels_of_pixels(surface.posterior(votes, are_few))
    if not are_trusted:
        return found
    return [own.where(given < 0, given.short()) for own, given in zip(found, labels, strict=True)]


def _labelled_share(labels: Sequence[Int[Tensor, "_height _width"]]) -> float:
    return sum(int((image >= 0).sum()) for image in labels) / max(1, sum(image.numel() for image in labels))
