"""Multi-view fusion of 2D predictions: what all views of a surface point say about it, in each view.

For a pixel u of a target view, V(u) is the set of views that see the same surface point. The fused distribution is the
mean of their distributions p_j (``average``), or proportional to the product (``bayes``, independent views). Both are
the baselines of Zhi et al. 2021, section 4.6, which leave the association open. Here a view j belongs to V(u) if the
point of u, from its planar depth, lies before camera j at a depth z > 0, in a pixel u_j of its image, and
|z - D_j(u_j)| < max(0.05 m, 0.02 z) with a known depth D_j. The target view always belongs to V(u).

All views count alike, as in Zhi et al., unless they are weighted by distance. Then a view counts by how finely it
shows the point: a pixel covers a piece of surface whose side grows with depth, and the outlines that a network finds
are off by pixels. The weight of view j is d / z, where d is the depth of the point in the target view, whose own weight
is 1. The mean and the exponents of the product are weighted so.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Float32, Int16, Int32, Integer
from numpy import ndarray

from semantic_ns.fusion.label_fusion_numba import add_votes
from semantic_ns.labels.taxonomy import VOID

Rule = Literal["bayes", "average"]

TOLERANCE_M = 0.05
RELATIVE_TOLERANCE = 0.02
SMALLEST_PROBABILITY = 1e-6
"""Of a factor of the product: one view cannot rule a class out."""
NEAREST_M = 0.3
"""Depth from which on a nearer view does not count more."""
_BLOCK_BYTES = 2**28
_OPENGL_TO_OPENCV = np.diag([1.0, -1.0, -1.0, 1.0])


@dataclass(frozen=True)
class View:
    """Where a view was taken, and how far away is what it shows.

    Attributes:
        depth_m: depth along the optical axis in metres, 0 where unknown.
        c2w: OpenGL camera (nerfstudio's) to world, metres.
        intrinsics: fx, fy, cx, cy in pixels, pixel centres at +0.5.
    """

    depth_m: Float32[ndarray, "height width"]
    c2w: Float[ndarray, "4 4"]
    intrinsics: Float[ndarray, "4"]


@dataclass(frozen=True)
class PixelDistributions:
    """The class distribution of each pixel of a view.

    Attributes:
        choice: row of the table that holds the distribution of a pixel; negative where it abstains.
        table: distributions, each of sum 1.
    """

    choice: Int32[ndarray, "height width"]
    table: Float[ndarray, "rows classes"]


def label_votes(labels: Integer[ndarray, "height width"], num_classes: int, confidence: float) -> PixelDistributions:
    """Labels as distributions: `confidence` on the label and the rest evenly on the other classes.

    Args:
        labels: -1..C-1; void (-1) abstains.
        num_classes: C.
        confidence: probability of the label in (1 / C, 1], so that it is the likeliest class.

    Raises:
        ValueError: the confidence is outside that range.
    """
    if not (1 / num_classes < confidence <= 1 or num_classes == 1):
        raise ValueError(f"confidence must be above 1 / {num_classes} and at most 1, got {confidence}")
    table = np.full((num_classes, num_classes), (1 - confidence) / max(num_classes - 1, 1), np.float32)
    np.fill_diagonal(table, confidence if num_classes > 1 else 1.0)
    return PixelDistributions(labels.astype(np.int32), table)


def soft_votes(probabilities: Float[ndarray, "height width classes"]) -> PixelDistributions:
    """Distributions as they are; a pixel whose probabilities are all 0 abstains."""
    height, width, num_classes = probabilities.shape
    choice = np.arange(height * width, dtype=np.int32).reshape(height, width)
    return PixelDistributions(
        np.where(probabilities.any(axis=-1), choice, np.int32(VOID)), probabilities.reshape(height * width, num_classes)
    )


def fuse(
    views: Sequence[View],
    read_votes: Callable[[int], PixelDistributions],
    num_classes: int,
    rule: Rule,
    by_distance: bool = False,
) -> Iterator[Float32[ndarray, "height width classes"]]:
    """The fused distribution of each view in turn, all 0 where no view votes.

    Votes are read view by view, once for each block of targets whose sums fit into 256 MiB.

    Args:
        views: all views, each of which is target and source.
        read_votes: the votes of a view by its index.
        num_classes: C.
        rule: ``bayes`` (in the log domain, probabilities of at least 1e-6) or ``average``.
        by_distance: weight views by how near they are, instead of equally.
    """
    nearest_m = NEAREST_M if by_distance else 0.0
    largest = max((view.depth_m.size for view in views), default=1)
    num_targets = max(1, _BLOCK_BYTES // (largest * num_classes * 4))
    for start in range(0, len(views), num_targets):
        block = range(start, min(start + num_targets, len(views)))
        shapes = [views[target].depth_m.shape for target in block]
        sums = [np.zeros((*shape, num_classes), np.float32) for shape in shapes]
        totals = [np.zeros(shape, np.float32) for shape in shapes]
        for source in range(len(views)):
            votes = read_votes(source)
            scores = _scores(votes.table, rule)
            for place, target in enumerate(block):
                if target == source:
                    is_voting = votes.choice >= 0
                    sums[place][is_voting] += scores[votes.choice[is_voting]]
                    totals[place] += is_voting
                else:
                    sums_of_target = sums[place], totals[place]
                    _add(views[target], views[source], votes.choice, scores, nearest_m, sums_of_target)
        for place in range(len(block)):
            yield _normalised(sums[place], totals[place], rule)


def most_likely(probabilities: Float[ndarray, "height width classes"]) -> Int16[ndarray, "height width"]:
    """Most likely class (the first of equals); void (-1) where all probabilities are 0."""
    return np.where(probabilities.any(axis=-1), probabilities.argmax(axis=-1), VOID).astype(np.int16)


def _scores(table: Float[ndarray, "rows classes"], rule: Rule) -> Float32[ndarray, "rows classes"]:
    """What is summed over views: probabilities or their logarithms."""
    scores = np.ascontiguousarray(table, np.float32)
    return scores if rule == "average" else np.log(np.maximum(scores, np.float32(SMALLEST_PROBABILITY)))


def _add(
    target: View,
    source: View,
    choice: Int32[ndarray, "rows columns"],
    scores: Float32[ndarray, "entries classes"],
    nearest_m: float,
    sums: tuple[Float32[ndarray, "height width classes"], Float32[ndarray, "height width"]],
) -> None:
    """Add the votes of `source` for the pixels of `target` to the weighted sums of scores and the sums of weights."""
    to_source = _OPENGL_TO_OPENCV @ np.linalg.inv(source.c2w) @ target.c2w @ _OPENGL_TO_OPENCV
    add_votes(
        target.depth_m,
        target.intrinsics.astype(np.float64),
        to_source[:3].astype(np.float64),
        np.array([TOLERANCE_M, RELATIVE_TOLERANCE]),
        nearest_m,
        source.depth_m,
        source.intrinsics.astype(np.float64),
        choice,
        scores,
        *sums,
    )


def _normalised(
    sums: Float32[ndarray, "height width classes"], totals: Float32[ndarray, "height width"], rule: Rule
) -> Float32[ndarray, "height width classes"]:
    """Weighted sums of scores as distributions, in place."""
    if rule == "average":
        sums /= np.where(totals > 0, totals, 1)[..., np.newaxis]
        return sums
    sums -= sums.max(axis=-1, keepdims=True)
    np.exp(sums, out=sums)
    sums *= (totals > 0)[..., np.newaxis] / sums.sum(axis=-1, keepdims=True)
    return sums
