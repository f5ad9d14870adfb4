"""Depth by stereo as the mean of what frames say that agree: against loops, and on a wall whose depth is known."""

import pytest
import torch
from torch import Tensor

from semantic_ns.geometry.views import ViewCameras
from semantic_ns.multi_view.fused_stereo import fused_depth, mean_with_others
from semantic_ns.multi_view.stereo import num_confirming
from support.ring_of_views import cameras_before_a_wall, frames_of_the_wall, pixel_of, world_point

SIZE = (9, 12)
TOLERANCE = 0.06


def noisy_wall(count: int, noise: float, seed: int = 0) -> tuple[Tensor, Tensor, ViewCameras]:
    """True depth of the wall, the same with noise and some unknown pixels, and the cameras."""
    cameras = cameras_before_a_wall(count)
    truth = frames_of_the_wall(cameras, SIZE).depths_m
    assert truth is not None
    generator = torch.Generator().manual_seed(seed)
    noisy = truth * (1 + noise * torch.randn(truth.shape, generator=generator))
    return truth, noisy.where(torch.rand(truth.shape, generator=generator) > 0.1, 0.0), cameras


def all_others(count: int) -> list[Tensor]:
    return [
        torch.tensor([other for other in range(count) if other != number], dtype=torch.int64) for number in range(count)
    ]


def mean_by_hand(depths: Tensor, cameras: ViewCameras, number: int, row: int, column: int) -> float:
    """Of one pixel, each other frame by itself."""
    depth = float(depths[number, row, column])
    if depth == 0:
        return 0.0
    said = [depth]
    point = world_point(cameras[number : number + 1], column, row, depth, SIZE)
    for other in range(len(depths)):
        x, y, z = pixel_of(cameras[other : other + 1], point, SIZE)
        is_inside = -0.5 <= x <= SIZE[1] - 0.5 and -0.5 <= y <= SIZE[0] - 0.5
        if other == number or z <= 1e-3 or not is_inside:
            continue
        found = float(depths[other, min(max(round(y), 0), SIZE[0] - 1), min(max(round(x), 0), SIZE[1] - 1)])
        if found > 0 and abs(found - z) <= TOLERANCE * z:
            said.append(depth * found / z)
    return sum(said) / len(said)


def test_the_mean_is_that_of_a_loop_over_pixels_and_frames() -> None:
    _, depths, cameras = noisy_wall(4, 0.03)
    found = mean_with_others(depths, cameras, all_others(4), TOLERANCE)
    for number in range(4):
        for row in range(SIZE[0]):
            for column in range(SIZE[1]):
                expected = mean_by_hand(depths, cameras, number, row, column)
                assert float(found[number, row, column]) == pytest.approx(expected, rel=1e-4)


def test_true_depth_stays() -> None:
    truth, _, cameras = noisy_wall(8, 0.0)
    found = mean_with_others(truth, cameras, all_others(8), TOLERANCE)
    # Of a wall at a slant the nearest pixel of another frame shows another point, up to half a pixel away.
    assert float((found / truth - 1).abs().max()) < 0.01


def test_errors_of_single_frames_shrink_by_the_root_of_the_number_that_agrees() -> None:
    cameras, noise = cameras_before_a_wall(12, turn=0.0, spread=0.1), 0.01
    truth = frames_of_the_wall(cameras, (18, 24)).depths_m
    assert truth is not None
    noisy = truth * (1 + noise * torch.randn(truth.shape, generator=torch.Generator().manual_seed(0)))
    around = all_others(12)
    found = mean_with_others(noisy, cameras, around, TOLERANCE)
    counts = torch.stack([num_confirming(noisy, cameras, n, others, TOLERANCE) for n, others in enumerate(around)])
    expected = noise * float((1 / (1 + counts)).mean().sqrt())
    assert expected < 0.4 * noise
    assert float((found / truth - 1).square().mean().sqrt()) == pytest.approx(expected, rel=0.1)


def test_more_is_confirmed_of_means_and_what_is_unknown_stays_so() -> None:
    truth, noisy, cameras = noisy_wall(6, 0.04)
    around = all_others(6)
    counts = torch.stack([num_confirming(noisy, cameras, n, others, 0.08) for n, others in enumerate(around)])
    found = fused_depth(noisy, cameras, around)
    assert float((found > 0).float().mean()) > float(((counts >= 2) & (noisy > 0)).float().mean())
    assert not bool(found[noisy == 0].any())
    assert float((found / truth - 1)[found > 0].abs().median()) < 0.025


def test_a_depth_that_no_other_frame_has_is_unknown() -> None:
    _, noisy, cameras = noisy_wall(6, 0.0)
    noisy[2, 3:5, 4:8] = 0.5
    found = fused_depth(noisy, cameras, all_others(6))
    assert not bool(found[2, 3:5, 4:8].any())
    assert float((found[2] > 0).float().mean()) > 0.5


def test_one_frame_alone_has_no_depth() -> None:
    _, noisy, cameras = noisy_wall(1, 0.0)
    assert not bool(fused_depth(noisy, cameras, all_others(1)).any())
