"""The hash grid in double precision, one level and one part of the points at a time: slow, obvious, on any device."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float32, Float64, Int64
from torch import Tensor

_PRIMES = (1, 2654435761, 805459861)
_POINTS_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class Grid:
    """A hash grid's parameters."""

    table: Float[Tensor, "rows features"]
    scalings: Float32[Tensor, "levels"]
    table_size: int


@dataclass
class Twin:
    """What the kernels should give, and the sums of the magnitudes of the terms of both gradients."""

    encoded: Float64[Tensor, "points channels"]
    position_gradient: Float64[Tensor, "points 3"]
    table_gradient: Float64[Tensor, "rows features"]
    position_magnitude: Float64[Tensor, "points 3"]
    table_magnitude: Float64[Tensor, "rows features"]


def corners(
    position: Float64[Tensor, "points 3"], table_size: int
) -> Iterator[tuple[Int64[Tensor, "points"], Float64[Tensor, "points 3"], tuple[int, ...]]]:
    """Row in the level's table, weight along each axis and side of the eight corners (Mueller et al. 2022, (2) to (4)).

    Args:
        position: in cells.
        table_size: rows of a level.
    """
    low, high = position.floor(), position.ceil()
    share = position - low
    for number in range(8):
        side = tuple((number >> axis) & 1 for axis in range(3))
        vertex = torch.stack([(high if side[axis] else low)[:, axis] for axis in range(3)], dim=-1).long()
        hashed = vertex[:, 0] * _PRIMES[0] ^ vertex[:, 1] * _PRIMES[1] ^ vertex[:, 2] * _PRIMES[2]
        weights = torch.stack([share[:, axis] if side[axis] else 1 - share[:, axis] for axis in range(3)], dim=-1)
        yield hashed % table_size, weights, side


def twin_of(grid: Grid, x: Float32[Tensor, "points 3"], cotangent: Float[Tensor, "points channels"]) -> Twin:
    """Values and gradients of all levels. Cells are those of the product in single precision, as in the kernels."""
    levels, features = grid.scalings.shape[0], grid.table.shape[1]
    table = grid.table.double()
    encoded = torch.empty(len(x), levels * features, dtype=torch.float64, device=x.device)
    position_gradient = torch.zeros(len(x), 3, dtype=torch.float64, device=x.device)
    position_magnitude = torch.zeros_like(position_gradient)
    table_gradient, table_magnitude = torch.zeros_like(table), torch.zeros_like(table)
    for start in range(0, len(x), _POINTS_AT_ONCE):
        part = slice(start, start + _POINTS_AT_ONCE)
        for level in range(levels):
            columns = slice(level * features, (level + 1) * features)
            position = (x[part] * grid.scalings[level]).double()
            gradient = cotangent[part, columns].double()
            value = torch.zeros_like(gradient)
            for row, weights, side in corners(position, grid.table_size):
                place = row + level * grid.table_size
                weight = weights.prod(dim=-1, keepdim=True)
                value += weight * table[place]
                table_gradient.index_add_(0, place, weight * gradient)
                table_magnitude.index_add_(0, place, (weight * gradient).abs())
                along = (table[place] * gradient).sum(dim=-1) * grid.scalings[level].double()
                for axis in range(3):
                    others = weights[:, [other for other in range(3) if other != axis]].prod(dim=-1)
                    term = along * others * (1 if side[axis] else -1)
                    position_gradient[part, axis] += term
                    position_magnitude[part, axis] += term.abs()
            encoded[part, columns] = value
    return Twin(encoded, position_gradient, table_gradient, position_magnitude, table_magnitude)
