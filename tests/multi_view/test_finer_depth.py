"""Depth by stereo made finer: paths over bands of planes against loops, the whole on a wall whose depth is known."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy import ndarray
from torch import Tensor

from semantic_ns.geometry.views import ViewCameras, sweep_matrices
from semantic_ns.multi_view import finer_depth_numba, stereo, stereo_numba
from semantic_ns.multi_view.finer_depth import FinerPlanes, finer_depth, first_planes
from semantic_ns.multi_view.stereo import StereoSettings
from support.ring_of_views import cameras_before_a_wall, frames_of_the_wall

SIZE = (5, 7)
NUM_PLANES = 6
SETTINGS = StereoSettings(num_planes=24, near=0.7, far=6.0)


def random_band(largest_first: int) -> tuple[ndarray, ndarray, ndarray]:
    draw = np.random.default_rng(3)
    cost = draw.random((*SIZE, NUM_PLANES), np.float32)
    first = draw.integers(0, largest_first + 1, SIZE)
    return cost, first, draw.random((*SIZE, 3), np.float32)


def aggregated_by_hand(
    cost: ndarray, first: ndarray, image: ndarray, large_step: float, small: float, edge: float
) -> ndarray:
    """Sum over four paths, pixel by pixel and from each plane to each: min(small |difference|, large) a step."""
    height, width, planes = cost.shape
    total = np.zeros(cost.shape)
    for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        path = np.zeros(cost.shape)
        for row in range(height)[:: -1 if dy < 0 else 1]:
            for column in range(width)[:: -1 if dx < 0 else 1]:
                y, x = row - dy, column - dx
                if not (0 <= y < height and 0 <= x < width):
                    path[row, column] = cost[row, column]
                    continue
                change = float(np.abs(image[row, column] - image[y, x]).mean())
                large = max(large_step / (1 + change / edge), small)
                for k in range(planes):
                    crossed = [abs(int(first[row, column]) + k - int(first[y, x]) - j) for j in range(planes)]
                    steps = [path[y, x, j] + min(small * crossed[j], large) for j in range(planes)]
                    path[row, column, k] = cost[row, column, k] + min(steps) - path[y, x].min()
        total += path
    return total


@pytest.mark.parametrize("largest_first", [0, 4, 40])
def test_paths_over_bands_cost_what_all_steps_between_their_planes_cost_at_least(largest_first: int) -> None:
    cost, first, image = random_band(largest_first)
    found = np.zeros_like(cost)
    large, small, edge = np.float32(0.3), np.float32(0.06), np.float32(0.4)
    finer_depth_numba.aggregate_bands(cost, first, image, large, small, edge, found)
    truth = aggregated_by_hand(cost, first, image, 0.3, 0.06, 0.4)
    np.testing.assert_allclose(found, truth, rtol=1e-5, atol=1e-5)


def test_costs_of_a_band_are_those_of_its_planes_among_all() -> None:
    cameras = cameras_before_a_wall(4, spread=0.4)
    maps = torch.rand(4, *SIZE, 5, generator=torch.Generator().manual_seed(1)).numpy()
    others, depths = torch.tensor([1, 2, 3]), SETTINGS.depths().numpy()
    matrices = sweep_matrices(cameras[others], cameras[:1]).float().numpy()
    numbers = (np.float32(1e-3), np.float32(SETTINGS.largest_cost))
    every = np.empty((*SIZE, len(depths)), np.float32)
    stereo_numba.swept(maps, 0, others.numpy(), matrices, depths, np.zeros(SIZE, np.int64), *numbers, every)
    first = np.random.default_rng(2).integers(0, len(depths) - NUM_PLANES + 1, SIZE)
    found = np.empty((*SIZE, NUM_PLANES), np.float32)
    stereo_numba.swept(maps, 0, others.numpy(), matrices, depths, first, *numbers, found)
    for row, column in np.ndindex(SIZE):
        begin = first[row, column]
        np.testing.assert_array_equal(found[row, column], every[row, column, begin : begin + NUM_PLANES])


def test_finer_planes_hold_those_of_the_search_and_lie_around_a_depth() -> None:
    finer = FinerPlanes(factor=4)
    fine = finer.of(SETTINGS)
    torch.testing.assert_close(fine.depths()[::4], SETTINGS.depths())
    depths = SETTINGS.depths()[[0, 7, 12, 23]].reshape(2, 2).numpy()
    first = first_planes(depths, fine, finer.num_planes)
    last = fine.num_planes - finer.num_planes
    assert first.tolist() == [[0, 7 * 4 - 4], [12 * 4 - 4, last]]
    assert first_planes(np.zeros((1, 1), np.float32), fine, finer.num_planes).tolist() == [[0]]


def of_the_wall(size: tuple[int, int]) -> tuple[Tensor, ViewCameras, Tensor]:
    frames = frames_of_the_wall(cameras_before_a_wall(6), size)
    assert frames.depths_m is not None
    return frames.images, frames.cameras, frames.depths_m


def errors(found: Tensor, truth: Tensor) -> Tensor:
    is_known = found > 0
    assert float(is_known.float().mean()) > 0.5
    return ((found - truth).abs() / truth)[is_known]


def test_a_wall_found_on_few_planes_at_few_pixels_is_found_more_exactly() -> None:
    images, cameras, truth = of_the_wall((72, 96))
    small, _, small_truth = of_the_wall((36, 48))
    around = stereo.neighbours(cameras, SETTINGS)
    searched, _ = stereo.stereo_depth(small, cameras, SETTINGS)
    found = finer_depth(searched, images, cameras, around, SETTINGS)
    assert found.shape == truth.shape
    before, after = errors(searched, small_truth), errors(found, truth)
    assert float(after.median()) < 0.6 * float(before.median())
    assert float(after.quantile(0.9)) < 0.6 * float(before.quantile(0.9))


def test_what_is_unknown_stays_unknown_and_a_frame_without_others_has_no_depth() -> None:
    images, cameras, truth = of_the_wall((36, 48))
    begun = truth.clone()
    begun[:, :10] = 0
    around = [*stereo.neighbours(cameras, SETTINGS)[:-1], torch.zeros(0, dtype=torch.int64)]
    found = finer_depth(begun, images, cameras, around, SETTINGS)
    assert not bool(found[:, :10].any())
    assert not bool(found[-1].any())
    assert bool((found[:-1, 10:] > 0).any())


def test_depth_stays_within_the_planes_that_are_looked_at() -> None:
    images, cameras, truth = of_the_wall((36, 48))
    wrong, finer = 1.5 * truth, FinerPlanes(factor=4)
    found = finer_depth(wrong, images, cameras, stereo.neighbours(cameras, SETTINGS), SETTINGS, finer)
    spacing = (1 / SETTINGS.near - 1 / SETTINGS.far) / (SETTINGS.num_planes - 1)
    is_known = found > 0
    away = (1 / found - 1 / wrong).abs()[is_known]
    assert float(away.max()) < 1.2 * spacing
    right = finer_depth(truth, images, cameras, stereo.neighbours(cameras, SETTINGS), SETTINGS, finer)
    assert int(is_known.sum()) < 0.6 * int((right > 0).sum())


def test_the_settings_of_finer_planes_only_change_their_number_and_the_step() -> None:
    fine = FinerPlanes(factor=8, small_step=0.5).of(SETTINGS)
    assert fine.num_planes == 23 * 8 + 1
    assert fine.small_step == pytest.approx(SETTINGS.small_step / 2)
    assert replace(fine, num_planes=24, small_step=SETTINGS.small_step) == SETTINGS
