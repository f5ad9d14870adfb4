"""Multi-view fusion of 2D predictions: what all views of a surface point say about it, in each view.

For a pixel u of a target view, V(u) is the set of views that see the same surface point. The fused distribution is the
mean of their distributions p_j (``average``), or proportional to the product (``bayes``, independent views). Both are
the baselines of Zhi et al. 2021, section 4.6, which leave the association open. Here a view j belongs to V(u) if the
point of u, from its planar depth, lies before camera j at a depth z > 0, in a pixel u_j of its image, and
|z - D_j(u_j)| < max(0.05 m, 0.02 z) with a known depth D_j. The target view always belongs to V(u).

What a network that was trained on all pixels alike says of one is a posterior, in which the prior is contained already:
how frequent each class is. A product of N of them counts the prior N times, so that classes of large surfaces win
against the others. The rule ``evidence`` counts it once. With the prior pi, the mean of all predictions, the fused
distribution is proportional to

    pi prod_j (p_j / pi)^(1 / (1 + (N - 1) rho)),

in which the views' errors repeat with the correlation rho, so that N views say as much as N / (1 + (N - 1) rho)
independent ones (Kish 1965, the design effect). It is wrong where the prior is not contained: for networks that were
trained with balanced classes, and for labels that are wrong at random.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Float32, Int16, Int32, Integer
from numpy import ndarray

from semantic_ns.fusion.label_fusion_numba import add_votes
from semantic_ns.labels.taxonomy import VOID

Rule = Literal["bayes", "average", "evidence"]

TOLERANCE_M = 0.05
RELATIVE_TOLERANCE = 0.02
SMALLEST_PROBABILITY = 1e-6
"""Of a factor of the product: one view cannot rule a class out."""
CORRELATION = 0.3
"""rho of the rule ``evidence``."""
LEAST_SHARE = 0.01
"""A class that is rarer in the predictions is taken for this frequent: how rare it is, they say with a large error."""
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
    views: Sequence[View], read_votes: Callable[[int], PixelDistributions], num_classes: int, rule: Rule
) -> Iterator[Float32[ndarray, "height width classes"]]:
    """The fused distribution of each view in turn, all 0 where no view votes.

    Votes are read view by view, once for each block of targets whose sums fit into 256 MiB.

    Args:
        views: all views, each of which is target and source.
        read_votes: the votes of a view by its index.
        num_classes: C.
        rule: ``evidence`` or ``bayes`` (in the log domain, probabilities of at least 1e-6), or ``average``.
    """
    total = np.zeros(num_classes)
    largest = max((view.depth_m.size for view in views), default=1)
    num_targets = max(1, _BLOCK_BYTES // (largest * num_classes * 4))
    for start in range(0, len(views), num_targets):
        block = range(start, min(start + num_targets, len(views)))
        shapes = [views[target].depth_m.shape for target in block]
        sums = [np.zeros((*shape, num_classes), np.float32) for shape in shapes]
        num_votes = [np.zeros(shape, np.int32) for shape in shapes]
        for source in range(len(views)):
            votes = read_votes(source)
            scores = _scores(votes.table, rule)
            if start == 0:  # each block reads all votes
                total += _total(votes)
            for place, target in enumerate(block):
                if target == source:
                    is_voting = votes.choice >= 0
                    sums[place][is_voting] += scores[votes.choice[is_voting]]
                    num_votes[place] += is_voting
                else:
                    _add(views[target], views[source], votes.choice, scores, (sums[place], num_votes[place]))
        for place in range(len(block)):
            if rule == "evidence":
                _count_prior_once(sums[place], num_votes[place], total / max(total.sum(), 1.0))
            yield _normalised(sums[place], num_votes[place], rule)


def most_likely(probabilities: Float[ndarray, "height width classes"]) -> Int16[ndarray, "height width"]:
    """Most likely class (the first of equals); void (-1) where all probabilities are 0."""
    return np.where(probabilities.any(axis=-1), probabilities.argmax(axis=-1), VOID).astype(np.int16)


def _scores(table: Float[ndarray, "rows classes"], rule: Rule) -> Float32[ndarray, "rows classes"]:
    """What is summed over views: probabilities or their logarithms."""
    scores = np.ascontiguousarray(table, np.float32)
    return scores if rule == "average" else np.log(np.maximum(scores, np.float32(SMALLEST_PROBABILITY)))


def _total(votes: PixelDistributions) -> Float[ndarray, "classes"]:
    """The sum of the distributions of all pixels that do not abstain."""
    num_pixels = np.bincount(votes.choice[votes.choice >= 0], minlength=len(votes.table))
    return num_pixels @ votes.table.astype(np.float64)


def _count_prior_once(
    sums: Float32[ndarray, "height width classes"],
    num_votes: Int32[ndarray, "height width"],
    prior: Float[ndarray, "classes"],
) -> None:
    """From sums of log p_j to log pi + sum_j (log p_j - log pi) / (1 + (N - 1) rho), in place."""
    exponent = (1 / (1 + np.maximum(num_votes - 1, 0) * CORRELATION)).astype(np.float32)[..., np.newaxis]
    log_prior = np.log(np.maximum(prior, LEAST_SHARE)).astype(np.float32)
    sums *= exponent
    sums += (1 - num_votes[..., np.newaxis] * exponent) * log_prior


def _add(
    target: View,
    source: View,
    choice: Int32[ndarray, "rows columns"],
    scores: Float32[ndarray, "entries classes"],
    sums: tuple[Float32[ndarray, "height width classes"], Int32[ndarray, "height width"]],
) -> None:
    """Add the votes of `source` for the pixels of `target` to the sums of scores and the numbers of votes."""
    to_source = _OPENGL_TO_OPENCV @ np.linalg.inv(source.c2w) @ target.c2w @ _OPENGL_TO_OPENCV
    add_votes(
        target.depth_m,
        target.intrinsics.astype(np.float64),
        to_source[:3].astype(np.float64),
        np.array([TOLERANCE_M, RELATIVE_TOLERANCE]),
        source.depth_m,
        source.intrinsics.astype(np.float64),
        choice,
        scores,
        *sums,
    )


def _normalised(
    sums: Float32[ndarray, "height width classes"], num_votes: Int32[ndarray, "height width"], rule: Rule
) -> Float32[ndarray, "height width classes"]:
    """Sums of scores as distributions, in place."""
    if rule == "average":
        sums /= np.maximum(num_votes, 1)[..., np.newaxis]
        return sums
    sums -= sums.max(axis=-1, keepdims=True)
    np.exp(sums, out=sums)
    sums *= (num_votes > 0)[..., np.newaxis] / sums.sum(axis=-1, keepdims=True)
    return sums
