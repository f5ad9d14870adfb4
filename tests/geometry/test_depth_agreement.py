"""Depth of several views is compared as the slow, obvious way does it, and wrong depth does not agree."""

import math

import numpy as np
import pytest

from semantic_ns.geometry.depth_agreement import DepthViews, measure_agreement, pairs_apart, reduced, spread_pairs
from semantic_ns.synthetic_scene import make_trajectory, render

WIDTH, HEIGHT = 48, 36
INTRINSICS = (24.0, 24.0, 24.0, 18.0)


@pytest.fixture(scope="module")
def views() -> DepthViews:
    c2w = make_trajectory(16)[:8]
    depths = np.stack([render(pose, WIDTH, HEIGHT).depth_m for pose in c2w])
    return DepthViews(depths, c2w, np.tile(INTRINSICS, (len(c2w), 1)))


def has_plane(depth: np.ndarray, row: int, column: int) -> bool:
    if not (0 < row < HEIGHT - 1 and 0 < column < WIDTH - 1):
        return False
    cross = [float(depth[row + r, column + c]) for r, c in ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))]
    if min(cross) <= 0:
        return False
    middle, up, down, left, right = (1 / d for d in cross)
    return max(abs(up + down - 2 * middle), abs(left + right - 2 * middle)) <= 0.02 * middle


def slow_counts(views: DepthViews, pair: tuple[int, int], pixels: list[tuple[int, int]]) -> dict[str, int]:
    """Point by point: lifted, moved, projected, and compared with the depth of the plane around the pixel there."""
    (first, second), (fx, fy, cx, cy) = pair, INTRINSICS
    counts = {"agreeing": 0, "contradicting": 0, "hidden": 0}
    for row, column in pixels:
        if not has_plane(views.depth_m[first], row, column):
            continue
        d = float(views.depth_m[first, row, column])
        point = np.array([(column + 0.5 - cx) / fx * d, (row + 0.5 - cy) / fy * d, d, 1.0])
        x, y, z, _ = np.linalg.inv(views.c2w[second]) @ views.c2w[first] @ point
        if z < 0.05:
            continue
        u, v = fx * x / z + cx, fy * y / z + cy
        r, c = math.floor(v), math.floor(u)
        depth = views.depth_m[second]
        if not has_plane(depth, r, c):
            continue
        inverse = 1 / float(depth[r, c])
        inverse += (1 / float(depth[r, c + 1]) - 1 / float(depth[r, c - 1])) / 2 * (u - c - 0.5)
        inverse += (1 / float(depth[r + 1, c]) - 1 / float(depth[r - 1, c])) / 2 * (v - r - 0.5)
        tolerance = max(0.02, 0.015 * z)
        behind = z - 1 / inverse
        kind = "hidden" if behind > tolerance else "contradicting" if behind < -tolerance else "agreeing"
        counts[kind] += 1
    return counts


@pytest.mark.parametrize("factor", [1.0, 0.8])
def test_points_are_counted_as_one_by_one(views: DepthViews, factor: float) -> None:
    scaled = views._replace(depth_m=(views.depth_m * factor).astype(np.float32))
    for pair in ((0, 1), (2, 5)):
        rng = np.random.default_rng(0)
        rows, columns = rng.integers(1, HEIGHT - 1, (1, 300))[0], rng.integers(1, WIDTH - 1, (1, 300))[0]
        slow = slow_counts(scaled, pair, list(zip(rows.tolist(), columns.tolist(), strict=True)))
        found = measure_agreement(views, [pair], factor, num_points=300)
        assert {name: int(getattr(found, name)[pair[0]]) for name in slow} == slow
        assert sum(slow.values()) > 20


def test_true_depth_agrees_and_depth_of_another_scale_or_frame_does_not(views: DepthViews) -> None:
    pairs = spread_pairs(len(views.depth_m), 8, 4)
    assert measure_agreement(views, pairs).share_unhidden > 0.97
    assert measure_agreement(views, pairs).share > 0.75
    for factor in (0.5, 0.8, 1.25, 2.0, 1000.0):
        assert measure_agreement(views, pairs, factor).share < 0.6
    shifted = views._replace(depth_m=np.roll(views.depth_m, 1, axis=0))
    assert measure_agreement(shifted, pairs).share < 0.4


def test_unknown_pixels_are_no_points(views: DepthViews) -> None:
    none = views._replace(depth_m=np.zeros_like(views.depth_m))
    found = measure_agreement(none, [(0, 1)])
    assert found.num_points == 0
    assert math.isnan(found.share)
    assert math.isnan(found.share_unhidden)


def test_cameras_in_one_place_judge_nothing(views: DepthViews) -> None:
    together = views._replace(c2w=np.tile(views.c2w[:1], (8, 1, 1)))
    assert pairs_apart(together, [(0, 1), (1, 2)]) == []
    assert measure_agreement(together, [(0, 1)]).num_points == 0


def test_pairs_are_spread_and_without_a_frame_and_itself() -> None:
    pairs = spread_pairs(20, 4, 3)
    assert {i for i, _ in pairs} == {0, 6, 12, 19}
    assert all(i != j and 0 <= j < 20 for i, j in pairs)
    assert len(pairs) == len(set(pairs)) == 12
    assert spread_pairs(1, 4, 3) == []
    assert set(spread_pairs(2, 4, 3)) == {(0, 1), (1, 0)}


def test_reduced_images_hold_the_median_of_what_is_known_in_each_square() -> None:
    depth = np.array([[1, 2, 0, 0, 9], [3, 50, 0, 7, 9], [0, 0, 5, 5, 9], [0, 0, 5, 0, 9]], np.float32)
    found = reduced(DepthViews(depth[None], np.eye(4)[None], np.array([[4.0, 4.0, 2.0, 2.0]])), 2)
    assert found.depth_m.tolist() == [[[2, 7], [0, 5]]]
    assert found.intrinsics.tolist() == [[2, 2, 1, 1]]


def test_reduced_views_with_half_of_the_pixels_missing_still_agree(views: DepthViews) -> None:
    holes = np.random.default_rng(1).random(views.depth_m.shape) < 0.5
    half = reduced(views._replace(depth_m=np.where(holes, 0, views.depth_m).astype(np.float32)), 3)
    found = measure_agreement(half, spread_pairs(8, 8, 4))
    assert found.num_points > 200
    assert found.share_unhidden > 0.9
