"""The nearest of known places of the same class."""

from typing import Any

import numpy as np
from jaxtyping import Float64, Int64, Integer
from numpy import ndarray


class NearestOfClass:
    """Finds, for places with a class, the nearest of known places of that class.

    Args:
        positions: The known places.
        classes: The class of each; those of -1 are never found.
    """

    def __init__(self, positions: Float64[ndarray, "known 3"], classes: Integer[ndarray, "known"]) -> None:
        from scipy.spatial import KDTree

        self._trees: dict[int, tuple[Any, Int64[ndarray, "_own"]]] = {}
        for number in np.unique(classes[classes >= 0]).tolist():
            own = np.flatnonzero(classes == number)
            self._trees[number] = KDTree(positions[own]), own

    def find(
        self, points: Float64[ndarray, "points 3"], classes: Integer[ndarray, "points"]
    ) -> Int64[ndarray, "points"]:
        """The number of the nearest known place of the class of each point; -1 where its class has none.

        Args:
            points: Places.
            classes: The class of each, void -1.
        """
        found = np.full(len(points), -1)
        for number, (tree, own) in self._trees.items():
            chosen = np.flatnonzero(classes == number)
            if len(chosen):
                found[chosen] = own[tree.query(points[chosen])[1]]
        return found
