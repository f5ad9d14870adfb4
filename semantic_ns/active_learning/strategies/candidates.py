"""Units to choose from, and the choice."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numpy import ndarray


@dataclass(frozen=True, eq=False)
class Candidates:
    """Units to choose from, and those that have labels.

    Attributes:
        of_pixels: candidate 0..K-1 of each pixel of the pool.
        is_open: candidates that may be chosen; the others have labels.
        costs: cost of each candidate.
        ranks: order in which those that are equally good are taken.
        budget: sum of costs that may be spent.
    """

    of_pixels: Int64[ndarray, "pixels"]
    is_open: Bool[ndarray, "candidates"]
    costs: Float64[ndarray, "candidates"]
    ranks: Int64[ndarray, "candidates"]
    budget: float

    def __len__(self) -> int:
        return len(self.costs)

    def best(self, scores: Float64[ndarray, "candidates"]) -> "Choice":
        """The open candidates in descending order of their scores, as far as the budget reaches; NaN comes last."""
        order = np.lexsort((self.ranks, np.where(np.isnan(scores), np.inf, -scores)))
        return self.affordable(order[self.is_open[order]], scores)

    def affordable(self, order: Int64[ndarray, "ordered"], scores: Float64[ndarray, "candidates"]) -> "Choice":
        """The first of the ordered candidates, as many as the budget reaches for."""
        spent = np.cumsum(self.costs[order])
        chosen = order[: np.searchsorted(spent, with_rounding(self.budget), side="right")]
        return Choice(chosen, scores[chosen])


@dataclass(frozen=True, eq=False)
class Choice:
    """What was chosen, in order.

    Attributes:
        chosen: numbers of candidates, or of units.
        scores: what each was chosen for; NaN where nothing spoke for it.
    """

    chosen: Int64[ndarray, "chosen"]
    scores: Float64[ndarray, "chosen"]


def with_rounding(budget: float) -> float:
    """A budget that sums of fractions reach, whatever their last digits are."""
    return budget * (1 + 1e-9)
