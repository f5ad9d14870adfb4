"""Polygons, rectangles and circles become the pixels whose centre they hold."""

import numpy as np
import pytest
from pycocotools import mask as mask_functions

from semantic_ns.annotations.regions import circle_mask, polygon_mask, rectangle_mask

WIDTH, HEIGHT = 23, 17
SIZE = (WIDTH, HEIGHT)


def is_inside(x: float, y: float, points: np.ndarray) -> bool:
    """Whether a ray to the left from (x, y) crosses the outline an odd number of times."""
    count = 0
    for i in range(len(points)):
        (x0, y0), (x1, y1) = points[i - 1], points[i]
        if (y0 <= y) != (y1 <= y) and x0 + (y - y0) / (y1 - y0) * (x1 - x0) <= x:
            count += 1
    return count % 2 == 1


def slow_mask(points: np.ndarray) -> np.ndarray:
    rows, columns = range(HEIGHT), range(WIDTH)
    return np.array([[is_inside(column + 0.5, row + 0.5, points) for column in columns] for row in rows])


def random_points(seed: int, count: int) -> np.ndarray:
    """Corners of a polygon that may cross itself and leave the image."""
    return np.random.default_rng(seed).uniform([-6, -6], [WIDTH + 6, HEIGHT + 6], (count, 2))


@pytest.mark.parametrize("count", [3, 4, 9])
@pytest.mark.parametrize("seed", range(4))
def test_a_pixel_is_in_a_polygon_if_its_centre_is(seed, count):
    points = random_points(seed, count)
    np.testing.assert_array_equal(polygon_mask(points, SIZE), slow_mask(points))


def test_a_polygon_with_whole_corners_has_exactly_the_pixels_between_them():
    l_shape = np.array([[2, 3], [12, 3], [12, 7], [6, 7], [6, 15], [2, 15]], float)
    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[3:7, 2:12] = True
    expected[7:15, 2:6] = True
    for points in (l_shape, l_shape[::-1], np.roll(l_shape, 2, axis=0)):
        np.testing.assert_array_equal(polygon_mask(points, SIZE), expected)


@pytest.mark.parametrize("centre", [(9.3, 6.1), (7.5, 4.5), (8.0, 9.0)])
def test_polygons_that_share_sides_neither_overlap_nor_leave_a_gap(centre):
    corners = np.array([[0, 0], [11.5, 0], [WIDTH, 0], [WIDTH, HEIGHT], [4.5, HEIGHT], [0, HEIGHT], [0, 4.5]], float)
    fan = [np.array([centre, corners[i - 1], corners[i]]) for i in range(len(corners))]
    np.testing.assert_array_equal(sum(polygon_mask(part, SIZE).astype(int) for part in fan), 1)


@pytest.mark.parametrize("seed", range(3))
def test_polygons_differ_from_those_of_pycocotools_only_at_the_outline(seed):
    angles = np.arange(7) * (2 * np.pi / 7)
    radii = np.random.default_rng(seed).uniform(3, 8, (7, 1))
    points = np.array([WIDTH / 2, HEIGHT / 2]) + radii * np.stack([np.cos(angles), np.sin(angles)], -1)
    theirs = mask_functions.decode(mask_functions.frPyObjects([points.ravel().tolist()], HEIGHT, WIDTH)[0]) > 0
    ours = polygon_mask(points, SIZE)
    assert theirs.sum() > 30
    rows, columns = np.nonzero(ours != theirs)
    for x, y in zip(columns + 0.5, rows + 0.5, strict=True):
        ends = np.roll(points, -1, axis=0)
        along = ((np.array([x, y]) - points) * (ends - points)).sum(-1) / ((ends - points) ** 2).sum(-1)
        nearest = points + along.clip(0, 1)[:, None] * (ends - points)
        assert np.linalg.norm(nearest - [x, y], axis=-1).min() <= 1


@pytest.mark.parametrize("corners", [[[2, 3], [9, 7]], [[9, 7], [2, 3]], [[9, 3], [2, 7]]])
def test_a_rectangle_has_two_opposite_corners(corners):
    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[3:7, 2:9] = True
    np.testing.assert_array_equal(rectangle_mask(np.array(corners, float), SIZE), expected)


def test_a_pixel_is_in_a_circle_if_its_centre_is_within_the_radius():
    mask = circle_mask(np.array([[9.5, 6.0], [13.5, 9.0]]), SIZE)
    for row in range(HEIGHT):
        for column in range(WIDTH):
            assert mask[row, column] == (np.hypot(column + 0.5 - 9.5, row + 0.5 - 6.0) <= 5)


def test_a_region_outside_the_image_is_empty():
    outside = np.array([[30, 3], [40, 3], [40, 9]], float)
    assert not polygon_mask(outside, SIZE).any()
    assert not polygon_mask(outside - [60, 0], SIZE).any()
    assert not polygon_mask(outside - [25, 40], SIZE).any()
