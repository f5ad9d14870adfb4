"""Slow, obvious twins of voxels: cells as triples of whole numbers, found by dictionaries and loops."""

import math
from itertools import product

import numpy as np

from semantic_ns.surface.voxels import VoxelGrid

Cell = tuple[int, ...]
"""Whole numbers along x, y and z; the voxel from 0 on has the number 0."""


def cells_of_keys(keys: np.ndarray) -> np.ndarray:
    """Numbers of voxels along x, y and z, from the digits of their keys: 21 bits each, x first, 2^20 for 0."""
    digits = [[int(bits[i : i + 21], 2) for i in (0, 21, 42)] for bits in (f"{int(key):063b}" for key in keys)]
    return np.array(digits, np.int64).reshape(-1, 3) - 2**20


def cells_of_points(points: np.ndarray, grid: VoxelGrid) -> list[Cell]:
    """The cell of each point, along each axis by the definition; a point on a face rounds as in 64 bits."""

    def number(x: float) -> int:
        return math.floor(x * grid.resolution if grid.resolution else x / grid.edge)

    return [tuple(number(float(x)) for x in point) for point in points]


def numbers_of_cells(cells: list[Cell | None]) -> tuple[list[Cell], list[int]]:
    """The cells that occur, in the order of x, then y, then z; and the place among them of each, -1 for None."""
    occupied = sorted({cell for cell in cells if cell is not None})
    place = {cell: number for number, cell in enumerate(occupied)}
    return occupied, [-1 if cell is None else place[cell] for cell in cells]


def neighbours_of_cells(cells: list[Cell], radius: int) -> list[list[int]]:
    """The places of the cells at all offsets within the radius, in their order, -1 where there is none."""
    place = {cell: number for number, cell in enumerate(cells)}
    offsets = list(product(range(-radius, radius + 1), repeat=3))
    return [[place.get((x + dx, y + dy, z + dz), -1) for dx, dy, dz in offsets] for x, y, z in cells]
