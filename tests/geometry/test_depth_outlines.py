"""Outlines in depth images are those that one pixel after another gives."""

import numpy as np
import pytest

from semantic_ns.geometry.depth_outlines import are_outlines, lie_behind_outlines
from semantic_ns.synthetic_scene import make_trajectory, render

FOCAL = 20.0


def is_outline(depth: np.ndarray, row: int, column: int) -> bool:
    height, width = depth.shape
    for down, right in ((0, 1), (1, 0)):
        ends = [(row + sign * down, column + sign * right) for sign in (1, -1)]
        if not all(0 <= r < height and 0 <= c < width for r, c in ends):
            continue
        here, one, other = (float(depth[place]) for place in ((row, column), *ends))
        if min(here, one, other) <= 0:
            continue
        bend = abs(1 / one + 1 / other - 2 / here)
        if max(one, other) > 1.05 * here and bend > 0.05 / here:
            return True
    return False


def lies_behind(depth: np.ndarray, row: int, column: int, radius: int) -> bool:
    height, width = depth.shape
    return any(
        is_outline(depth, r, c) and depth[row, column] > 1.05 * depth[r, c]
        for r in range(max(0, row - radius), min(height, row + radius + 1))
        for c in range(max(0, column - radius), min(width, column + radius + 1))
    )


@pytest.fixture
def depth() -> np.ndarray:
    rendered = render(make_trajectory(8)[2], 32, 24).depth_m.astype(np.float64)
    rendered[3:9, 20:22] *= 0.6
    rendered[np.random.default_rng(0).random(rendered.shape) < 0.05] = 0
    return rendered


@pytest.mark.parametrize("radius", [0, 1, 3])
def test_outlines_and_what_lies_behind_them_are_those_of_each_pixel(depth: np.ndarray, radius: int) -> None:
    places = [(row, column) for row in range(depth.shape[0]) for column in range(depth.shape[1])]
    outlines = np.array([is_outline(depth, row, column) for row, column in places]).reshape(depth.shape)
    behind = np.array([lies_behind(depth, row, column, radius) for row, column in places]).reshape(depth.shape)
    np.testing.assert_array_equal(are_outlines(depth), outlines)
    np.testing.assert_array_equal(lie_behind_outlines(depth, radius), behind)
    assert 0 < outlines.sum() < depth.size / 2
    assert behind.any() == (radius > 0)


def test_a_plane_has_no_outline_however_steep() -> None:
    rows, columns = np.mgrid[0:24, 0:32] + 0.5
    inverse = 0.05 + 0.9 * (rows - 12) / FOCAL + 0.2 * (columns - 16) / FOCAL
    plane = np.where(inverse > 0.02, 1 / np.maximum(inverse, 0.02), 0)
    assert (plane[1:] > 1.05 * plane[:-1]).any() or (plane[:-1] > 1.05 * plane[1:]).any()
    assert not are_outlines(plane).any()


def test_a_pole_of_one_pixel_is_an_outline_and_the_wall_beside_it_lies_behind() -> None:
    depth = np.full((10, 20), 3.0)
    depth[2:8, 10] = 2.0
    pole = depth == 2.0
    np.testing.assert_array_equal(are_outlines(depth), pole)
    expected = np.zeros(depth.shape, bool)
    expected[:, 7:14] = True  # three rows above and below are all there are
    expected[:, 7:14][depth[:, 7:14] == 2.0] = False
    np.testing.assert_array_equal(lie_behind_outlines(depth, 3), expected)
