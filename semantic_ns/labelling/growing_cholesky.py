"""The Cholesky factor of a symmetric positive definite matrix to which rows and columns are added at its end."""

from collections.abc import Callable, Hashable, Sequence

import numpy as np
from jaxtyping import Float64
from numpy import ndarray
from scipy.linalg import solve_triangular

_BLOCK = 64
"""Rows that are factored together. What is kept ends with a whole block, so that the bits of the factor follow from the
matrix alone and not from how it grew."""


class GrowingCholesky:
    """Factors L of matrices L L^T, each of which begins like the one before.

    Attributes:
        num_factored: Number of rows that have been factored so far, over all matrices.
    """

    def __init__(self) -> None:
        self.num_factored = 0
        self._keys: list[Hashable] = []
        self._size = 0
        self._factor = np.empty((0, 0))

    def factor(self, keys: Sequence[Hashable], rows: Callable[[int, int], Float64[ndarray, "some columns"]]) -> None:
        """Factor a matrix.

        Args:
            keys: What tells each row from others: two matrices whose first keys are the same begin alike.
            rows: Gives the rows from one on up to another, as far as the diagonal block that ends with them.

        Raises:
            numpy.linalg.LinAlgError: if it is not positive definite.
        """
        kept = 0
        for own, other in zip(self._keys, keys, strict=False):
            if own != other:
                break
            kept += 1
        kept -= kept % _BLOCK
        self._keys, self._size = list(keys[:kept]), kept
        self._grow_to(len(keys))
        for first in range(kept, len(keys), _BLOCK):
            last = min(first + _BLOCK, len(keys))
            block = rows(first, last)
            self._size = first
            left = self.forward(np.ascontiguousarray(block[:, :first].T)).T
            self._factor[first:last, :first] = left
            self._factor[first:last, first:last] = np.linalg.cholesky(block[:, first:] - left @ left.T)
            self.num_factored += last - first
        self._keys, self._size = list(keys), len(keys)

    def forward(self, right: Float64[ndarray, "rows columns"]) -> Float64[ndarray, "rows columns"]:
        """L^-1 of some columns."""
        found = np.array(right)
        for first in range(0, self._size, _BLOCK):
            last = min(first + _BLOCK, self._size)
            found[first:last] -= self._factor[first:last, :first] @ found[:first]
            found[first:last] = solve_triangular(self._factor[first:last, first:last], found[first:last], lower=True)
        return found

    def backward(self, right: Float64[ndarray, "rows columns"]) -> Float64[ndarray, "rows columns"]:
        """L^-T of some columns."""
        found = np.array(right)
        for first in reversed(range(0, self._size, _BLOCK)):
            last = min(first + _BLOCK, self._size)
            found[first:last] -= self._factor[last : self._size, first:last].T @ found[last:]
            diagonal = self._factor[first:last, first:last]
            found[first:last] = solve_triangular(diagonal, found[first:last], lower=True, trans=1)
        return found

    def _grow_to(self, size: int) -> None:
        if size > len(self._factor):
            capacity = max(_BLOCK, size, len(self._factor) * 3 // 2)
            grown = np.empty((capacity, capacity))
            grown[: self._size, : self._size] = self._factor[: self._size, : self._size]
            self._factor = grown
