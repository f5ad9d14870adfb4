"""Numbers of cost curves: where a curve reaches a score, the area under it, and ratios of costs with an interval."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Ratio:
    """How many times the cost of one way another needs.

    Attributes:
        mean: geometric mean over scenes and seeds.
        low, high: ends of the 95 % bootstrap interval.
        count: number of pairs of scene and seed.
    """

    mean: float
    low: float
    high: float
    count: int


def cost_at(costs: Sequence[float], scores: Sequence[float], target: float) -> float | None:
    """The least cost at which a curve has a score, linear in the logarithm of the cost between its points.

    Args:
        costs: ascending, above 0.
        scores: scores at these costs.
        target: the score.

    Returns:
        the first cost where the first point has it, none where no point does.
    """
    if scores[0] >= target:
        return costs[0]
    for (left, low), (right, high) in zip(
        zip(costs[:-1], scores[:-1], strict=True), zip(costs[1:], scores[1:], strict=True), strict=True
    ):
        if high >= target:
            share = (target - low) / (high - low)
            return math.exp((1 - share) * math.log(left) + share * math.log(right))
    return None


def area_under(costs: Sequence[float], scores: Sequence[float]) -> float:
    """Mean score over the logarithm of the cost, by trapezia; of a single point its score."""
    if len(costs) == 1:
        return scores[0]
    x, y = np.log(costs), np.asarray(scores, np.float64)
    return float(((y[1:] + y[:-1]) / 2 * np.diff(x)).sum() / (x[-1] - x[0]))


def cost_ratio(pairs: Sequence[tuple[float, float]], seed: int = 0, num_draws: int = 4000) -> Ratio | None:
    """Geometric mean of other / own over scenes and seeds, and the percentile interval of the bootstrap over these.

    Args:
        pairs: own and other cost; nothing is returned where there is none.
        seed: seed of the bootstrap.
        num_draws: number of bootstrap samples.
    """
    if not pairs:
        return None
    logarithms = np.array([math.log(other / own) for own, other in pairs])
    draws = np.random.default_rng(seed).integers(len(pairs), size=(num_draws, len(pairs)))
    low, high = np.quantile(logarithms[draws].mean(axis=1), (0.025, 0.975))
    return Ratio(math.exp(logarithms.mean()), math.exp(low), math.exp(high), len(pairs))
