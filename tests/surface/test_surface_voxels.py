"""Voxels of points: in the unit cube and in metres over all space, against dictionaries of cells."""

import numpy as np
import pytest

from semantic_ns.surface.voxels import VoxelGrid, Voxels, fitting_grid, voxelise
from semantic_ns.surface.voxels_numba import LARGEST_RADIUS, neighbours_of_key
from support.voxel_cells import cells_of_keys, cells_of_points, neighbours_of_cells, numbers_of_cells

CUBE, METRIC = VoxelGrid.of_unit_cube(9), VoxelGrid(0.1)


def points_of(grid: VoxelGrid, seed: int = 0, count: int = 600) -> np.ndarray:
    """Random points, some of them together, some just on the faces of voxels; in the cube, or around the origin."""
    g = np.random.default_rng(seed)
    points = g.uniform(*((0.0, 1.0) if grid.resolution else (-0.4, 0.4)), (count, 3))
    points[::5] = np.floor(points[::5] / grid.edge) * grid.edge
    points[1::5] = points[::5] + 1e-4
    return points.astype(np.float32)


@pytest.mark.parametrize("grid", [CUBE, METRIC], ids=["cube", "metric"])
def test_voxels_are_the_cells_that_points_lie_in_sorted_and_each_point_knows_its_own(grid: VoxelGrid) -> None:
    points = points_of(grid)
    is_used = np.random.default_rng(1).random(len(points)) < 0.7
    cells = cells_of_points(points, grid)
    occupied, places = numbers_of_cells([cell if used else None for cell, used in zip(cells, is_used, strict=True)])
    voxels, of_points = voxelise(grid, points, is_used)
    assert cells_of_keys(voxels.keys).tolist() == [list(cell) for cell in occupied]
    assert of_points.tolist() == places
    assert len(voxels) == len(occupied) > 50


@pytest.mark.parametrize("grid", [CUBE, METRIC], ids=["cube", "metric"])
def test_a_point_lies_in_the_occupied_voxel_of_its_cell_or_in_none(grid: VoxelGrid) -> None:
    points, others = points_of(grid), points_of(grid, seed=2)
    voxels, of_points = voxelise(grid, points[:40])
    assert voxels.at(points[:40]).tolist() == of_points.tolist()
    place = {tuple(cell): number for number, cell in enumerate(cells_of_keys(voxels.keys).tolist())}
    expected = [place.get(cell, -1) for cell in cells_of_points(others, grid)]
    assert voxels.at(others).tolist() == expected
    assert -1 in expected
    assert max(expected) >= 0


def test_points_share_a_key_exactly_if_they_share_a_cell() -> None:
    points = np.random.default_rng(0).uniform(-0.3, 0.3, (300, 3)).astype(np.float32)
    cells = [tuple(cell) for cell in np.floor(points.astype(np.float64) / 0.1).astype(int)]
    keys = METRIC.keys_of(points)
    assert len(set(zip(cells, keys.tolist(), strict=True))) == len(set(cells)) == len(set(keys.tolist()))


def test_keys_grow_with_x_then_y_then_z() -> None:
    points = points_of(METRIC)
    keys = METRIC.keys_of(points)
    cells = cells_of_points(points, METRIC)
    by_cell = sorted(range(len(points)), key=lambda i: cells[i])
    assert (np.diff(keys[by_cell]) >= 0).all()
    assert np.array_equal(cells_of_keys(keys), cells)


def test_points_beyond_the_grid_belong_to_its_border() -> None:
    grid = VoxelGrid(0.05)
    keys = grid.keys_of(np.array([[1e9, 0, 0], [1e30, 0, 0], [-1e9, 0, 0]], np.float32))
    assert keys[0] == keys[1]
    assert keys[2] > 0


@pytest.mark.parametrize("far", list(np.ndindex(3, 3, 3)))
def test_voxels_at_the_border_have_no_neighbours_but_their_own(far: tuple[int, ...]) -> None:
    """The numbers of an axis do not run over into the next one, wherever a voxel lies."""
    corner = 1e9 * (np.array(far, np.float32) - 1)
    others = np.array([[-1e9, 1e9, 0], [0, 0, 0], [1e9, -1e9, 1e9]], np.float32) + np.array([[0], [0.3], [0]])
    voxels, of_points = voxelise(METRIC, np.concatenate([corner[None], others]).astype(np.float32))
    around = voxels.neighbours()[of_points[0]]
    near = np.abs(cells_of_keys(voxels.keys) - cells_of_keys(voxels.keys)[of_points[0]]).max(axis=1) <= 1
    assert sorted(around[around >= 0]) == np.flatnonzero(near).tolist()


def test_points_that_are_not_finite_or_outside_the_cube_have_no_voxel() -> None:
    strange = np.array([[np.nan, 0, 0], [0, np.inf, 0], [0, 0, -np.inf]], np.float32)
    outside = np.array([[-1e-6, 0, 0], [0, 1, 0], [0, 0, 9]], np.float32)
    assert (METRIC.keys_of(strange) == -1).all()
    assert (METRIC.keys_of(outside) >= 0).all()
    assert (CUBE.keys_of(np.concatenate([strange, outside])) == -1).all()
    last = np.nextafter(np.float32(1), np.float32(0))
    voxels, of_points = voxelise(CUBE, np.array([[last] * 3, [0] * 3, *strange, *outside], np.float32))
    assert of_points.tolist() == [1, 0] + 6 * [-1]
    assert cells_of_keys(voxels.keys).tolist() == [[0, 0, 0], [8, 8, 8]]


@pytest.mark.parametrize("radius", [1, 2])
@pytest.mark.parametrize("grid", [CUBE, METRIC], ids=["cube", "metric"])
def test_neighbours_are_all_occupied_cells_within_the_radius(grid: VoxelGrid, radius: int) -> None:
    assert radius <= LARGEST_RADIUS
    voxels, _ = voxelise(grid, points_of(grid, seed=3, count=250))
    cells = [tuple(cell) for cell in cells_of_keys(voxels.keys).tolist()]
    expected = neighbours_of_cells(cells, radius)
    found = np.empty((2 * radius + 1) ** 3, np.int64)
    for number, key in enumerate(voxels.keys):
        neighbours_of_key(voxels.keys, key, radius, found)
        assert found.tolist() == expected[number]
        near = np.abs(np.array(cells) - cells[number]).max(axis=1) <= radius
        assert sorted(found[found >= 0]) == np.flatnonzero(near).tolist()
    if radius == 1:
        assert voxels.neighbours().tolist() == expected
    assert sum(place >= 0 for row in expected for place in row) > 2 * len(cells)


def test_a_neighbour_has_its_neighbour_at_the_opposite_offset() -> None:
    neighbours = voxelise(METRIC, points_of(METRIC))[0].neighbours()
    assert neighbours[:, 13].tolist() == list(range(len(neighbours)))
    for number, entry in np.argwhere(neighbours >= 0):
        assert neighbours[neighbours[number, entry], 26 - entry] == number


def test_creases_are_voxels_that_touch_one_with_another_normal_up_to_sign() -> None:
    g = np.random.default_rng(5)
    voxels, _ = voxelise(METRIC, points_of(METRIC, count=200))
    normals = g.normal(size=(len(voxels), 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    normals[g.random(len(voxels)) < 0.9] = [0, 0.6, -0.8]
    normals *= g.choice([-1, 1], (len(voxels), 1))
    around = voxels.neighbours()
    expected = [min(abs(n @ normals[j]) for j in row if j >= 0) < 0.8 for n, row in zip(normals, around, strict=True)]
    assert voxels.is_crease(normals, 0.8).tolist() == expected
    assert 0 < sum(expected) < len(expected)


def test_without_a_point_there_is_no_voxel() -> None:
    voxels, of_points = voxelise(METRIC, np.zeros((2, 3), np.float32), np.zeros(2, bool))
    assert len(voxels) == 0
    assert of_points.tolist() == [-1, -1]
    assert voxels.neighbours().shape == (0, 27)
    assert voxels.at(np.zeros((1, 3), np.float32)).tolist() == [-1]


@pytest.mark.parametrize("wanted", [60, 400, 3000])
def test_points_occupy_about_as_many_voxels_of_a_fitting_grid_as_asked_for(wanted: int) -> None:
    g = np.random.default_rng(7)
    points = 0.1 + 0.8 * g.random((40_000, 3))
    points[:, 2] = 0.5 + 0.1 * np.sin(6 * points[:, 0])  # a surface
    grid = fitting_grid(points.astype(np.float32), wanted)
    voxels, _ = voxelise(grid, points.astype(np.float32))
    assert isinstance(voxels, Voxels)
    assert 0.7 * wanted < len(voxels) < 1.4 * wanted
