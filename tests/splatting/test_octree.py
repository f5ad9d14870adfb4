"""Gaussians of points: leaves of an octree."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy import ndarray

from semantic_ns.errors import SceneError
from semantic_ns.splatting.octree import OctreeConfig, gaussians_of_points, quaternions

CONFIG = OctreeConfig(finest=0.1, coarsest=0.8)


def random_points(count: int = 4000) -> tuple[ndarray, ndarray, ndarray]:
    """Points of a bent surface with two colours."""
    generator = np.random.default_rng(0)
    points = generator.random((count, 3)).astype(np.float32) * 3
    points[:, 2] = 0.2 * np.sin(points[:, 0] * 2)
    colors = np.where(points[:, :1] > 1.3, 0.9, 0.2).astype(np.float32).repeat(3, axis=1)
    return points, colors, np.full(count, 0.02, np.float32)


def leaves_by_recursion(
    points: ndarray, colors: ndarray, config: OctreeConfig, classes: ndarray | None = None
) -> list[ndarray]:
    """Indices of the points of each leaf: a cube is divided in eight until its points are one surface of one colour."""
    classes = np.full(len(points), -1) if classes is None else classes
    origin = points.min(axis=0).astype(np.float64)
    found = []

    def divide(corner: ndarray, side: float, chosen: ndarray) -> None:
        own = points[chosen].astype(np.float64)
        spread = np.linalg.eigvalsh(np.cov(own.T, bias=True)) if len(own) > 1 else np.zeros(3)
        thickness = math.sqrt(max(spread[0], 0))
        deviation = math.sqrt(colors[chosen].astype(np.float64).var(axis=0).mean())
        is_one = deviation <= config.color_tolerance and thickness <= config.thickness * side
        is_one = is_one and len({int(n) for n in classes[chosen] if n >= 0}) <= 1
        if is_one or side <= config.finest * 1.01:
            found.append(chosen)
            return
        half = side / 2
        place = np.floor((own - origin - corner) / half).clip(0, 1)
        for x in (0, 1):
            for y in (0, 1):
                for z in (0, 1):
                    inside = (place == (x, y, z)).all(axis=1)
                    if inside.any():
                        divide(corner + half * np.array([x, y, z]), half, chosen[inside])

    cells = np.floor((points - origin) / config.coarsest).astype(int)
    for cell in np.unique(cells, axis=0):
        divide(cell * config.coarsest, config.coarsest, np.flatnonzero((cells == cell).all(axis=1)))
    return found


@pytest.mark.parametrize("has_classes", [False, True])
def test_leaves_are_those_of_a_recursion(has_classes: bool) -> None:
    points, colors, sides = random_points()
    classes = np.where(points[:, 0] > 2, 1, np.where(points[:, 1] > 1.7, -1, 0)).astype(np.int32)
    given = classes if has_classes else None
    gaussians, found_colors = gaussians_of_points(points, colors, sides, CONFIG, given)
    leaves = leaves_by_recursion(points, colors, CONFIG, given)
    assert 50 < len(leaves) == len(gaussians) < 2000
    expected = np.stack([points[leaf].mean(axis=0) for leaf in leaves])
    order, twin = (np.lexsort(means.round(4).T) for means in (gaussians.means.numpy(), expected))
    np.testing.assert_allclose(gaussians.means.numpy()[order], expected[twin], atol=1e-4)
    means_of_color = np.stack([colors[leaf].mean(axis=0) for leaf in leaves])
    np.testing.assert_allclose(found_colors.numpy()[order], means_of_color[twin], atol=1e-5)


def test_covariances_are_those_of_the_points_with_their_pixels_and_overlap() -> None:
    points, colors, sides = random_points()
    gaussians, _ = gaussians_of_points(points, colors, sides, CONFIG)
    leaves = leaves_by_recursion(points, colors, CONFIG)
    largest = max(leaves, key=len)
    nearest = int((gaussians.means - torch.from_numpy(points[largest].mean(axis=0))).norm(dim=1).argmin())
    w, x, y, z = gaussians.quats[nearest].double()
    rotation = torch.stack(
        [
            torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)]),
            torch.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)]),
            torch.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)]),
        ]
    )
    found = rotation @ torch.diag(gaussians.scales[nearest].double() ** 2) @ rotation.T
    own = np.cov(points[largest].T.astype(np.float64), bias=True) + 0.02**2 / 12 * np.eye(3)
    np.testing.assert_allclose(found.numpy(), CONFIG.overlap**2 * own, rtol=1e-3, atol=1e-6)


def test_a_plane_of_one_color_is_as_coarse_as_it_may_be_and_its_normal_is_its_own() -> None:
    generator = np.random.default_rng(1)
    points = generator.random((5000, 3)).astype(np.float32)
    points[:, 1] = 0.3
    gaussians, colors = gaussians_of_points(
        points, np.full((5000, 3), 0.5, np.float32), np.full(5000, 0.01, np.float32), CONFIG
    )
    assert len(gaussians) == 4  # 2 x 2 cubes of 0.8
    for quaternion, scales in zip(gaussians.quats, gaussians.scales, strict=True):
        w, x, y, z = torch.nn.functional.normalize(quaternion, dim=0)
        up = torch.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)])  # y of each axis
        expected = torch.zeros(3)
        expected[scales.argmin()] = 1
        torch.testing.assert_close(up.abs(), expected, atol=1e-3, rtol=0)
    torch.testing.assert_close(colors, torch.full((4, 3), 0.5))


def test_quaternions_turn_as_their_matrices() -> None:
    generator = torch.Generator().manual_seed(0)
    quats = torch.nn.functional.normalize(torch.randn((50, 4), generator=generator, dtype=torch.float64), dim=1)
    quats = quats * quats[:, :1].sign()
    w, x, y, z = quats.unbind(1)
    rows = [
        torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)], 1),
        torch.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)], 1),
        torch.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], 1),
    ]
    np.testing.assert_allclose(quaternions(torch.stack(rows, 1).numpy()), quats.numpy(), atol=1e-9)


def test_points_that_are_no_numbers_are_left_out_and_none_is_an_error() -> None:
    points, colors, sides = random_points(500)
    clean, _ = gaussians_of_points(points, colors, sides, CONFIG)
    with_nan = np.concatenate([points, np.full((3, 3), np.nan, np.float32)])
    found, _ = gaussians_of_points(with_nan, np.pad(colors, ((0, 3), (0, 0))), np.pad(sides, (0, 3)), CONFIG)
    torch.testing.assert_close(found.means, clean.means)
    with pytest.raises(SceneError, match="found none"):
        gaussians_of_points(points[:0], colors[:0], sides[:0], CONFIG)


def test_points_too_far_apart_for_the_finest_leaves_are_an_error() -> None:
    points, colors, sides = random_points(10)
    points[0] = 1e6
    with pytest.raises(SceneError, match="stray points"):
        gaussians_of_points(points, colors, sides, replace(CONFIG, finest=0.01))
