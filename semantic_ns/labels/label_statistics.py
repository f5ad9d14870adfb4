"""Whether labels are many and consistent enough to trust every one of them."""

from collections.abc import Iterable
from typing import NamedTuple

from jaxtyping import Int16
from numpy import ndarray

from semantic_ns.labels.taxonomy import VOID

_LEAST_SHARE = 0.5
_LEAST_AGREEMENT = 0.9
_LEAST_PAIRS = 100
"""Labelled neighbours below which nothing is known of what labels are worth."""


def are_complete(labels: Iterable[Int16[ndarray, "_height _width"]]) -> bool:
    """Whether half of all pixels have a label, and nine in ten neighbours with labels have the same one.

    Args:
        labels: classes of each image, -1 for void.
    """
    counts = _counts(labels)
    return counts.num_labelled >= _LEAST_SHARE * max(1, counts.num_pixels) and counts.agree


def are_consistent(labels: Iterable[Int16[ndarray, "_height _width"]]) -> bool:
    """Whether there are neighbours with labels, and nine in ten have the same one; single pixels have none.

    Drawn or rendered labels change along outlines alone (agreement .97 and up); labels that noise hits pixel by pixel
    change everywhere. Whole regions with a wrong class are not noticed.

    Args:
        labels: classes of each image, -1 for void.
    """
    counts = _counts(labels)
    return counts.num_pairs >= _LEAST_PAIRS and counts.agree


class _Counts(NamedTuple):
    num_pixels: int
    num_labelled: int
    num_pairs: int
    """Neighbours along rows and columns that both have a label."""
    num_agreeing: int

    @property
    def agree(self) -> bool:
        return self.num_agreeing >= _LEAST_AGREEMENT * self.num_pairs


def _counts(labels: Iterable[Int16[ndarray, "_height _width"]]) -> _Counts:
    num_pixels = num_labelled = num_pairs = num_agreeing = 0
    for image in labels:
        num_pixels += image.size
        num_labelled += int((image != VOID).sum())
        for axis in (0, 1):
            first, second = (image.take(range(start, image.shape[axis] - 1 + start), axis) for start in (0, 1))
            both = (first != VOID) & (second != VOID)
            num_pairs += int(both.sum())
            num_agreeing += int((both & (first == second)).sum())
    return _Counts(num_pixels, num_labelled, num_pairs, num_agreeing)
