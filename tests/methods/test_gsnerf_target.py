"""Depth of the target of `gsnerf` by reprojection, and the samples around it."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from semantic_ns.geometry.views import ViewCameras
from semantic_ns.methods.gsnerf.compat import Compat
from semantic_ns.methods.gsnerf.ray_samples import SampleRule, place_samples
from semantic_ns.methods.gsnerf.target_plane import released_target_depth, target_depth
from semantic_ns.methods.gsnerf.volumes import DepthRange
from support.ring_of_views import cameras_before_a_wall, frames_of_the_wall, pixel_of, world_point

BOUNDS = DepthRange(0.5, 6.0)


def bilateral_by_loops(image: Tensor) -> Tensor:
    height, width = image.shape
    blurred = torch.zeros_like(image)

    def mirror(place: int, length: int) -> int:
        return -place if place < 0 else 2 * (length - 1) - place if place >= length else place

    for row in range(height):
        for column in range(width):
            total = weights = 0.0
            for down in (-1, 0, 1):
                for across in (-1, 0, 1):
                    value = float(image[mirror(row + down, height), mirror(column + across, width)])
                    step = value - float(image[row, column])
                    weight = math.exp(-(step**2) / 2) * math.exp(-(down**2 + across**2) / 8)
                    total, weights = total + weight * value, weights + weight
            blurred[row, column] = total / weights
    return blurred


def last_points(
    depths: Tensor, sources: ViewCameras, target: ViewCameras, size: tuple[int, int]
) -> dict[tuple[int, int], tuple[float, float, float]]:
    """Offset in x and y and depth of the last point of each pixel (row, column)."""
    cells: dict[tuple[int, int], tuple[float, float, float]] = {}
    height, width = size
    shape = (depths.shape[1], depths.shape[2])
    for number, row, column in itertools.product(range(len(sources)), *map(range, shape)):
        depth = float(depths[number, row, column])
        point = world_point(sources[number : number + 1], column, row, depth, shape)
        x, y, z = pixel_of(target, point, size)
        if depth > 0 and 0 <= x <= width - 1 and 0 <= y <= height - 1:
            cells[int(y), int(x)] = (x - round(x), y - round(y), z)
    return cells


def released_by_loops(depths: Tensor, sources: ViewCameras, target: ViewCameras, size: tuple[int, int]) -> Tensor:
    height, width = size
    cells = last_points(depths, sources, target, size)
    filled = torch.zeros(height, width)
    for row, column in itertools.product(range(4, height - 3), range(4, width - 3)):
        total = weights = 0.0
        for i, j in itertools.product(range(7), range(7)):
            across, down, depth = cells.get((row - 4 + i, column - 4 + j), (1e5, 1e5, 0.0))
            weight = 1 / math.hypot(across + i - 4, down + i - 4)
            total, weights = total + weight * depth, weights + weight
        filled[row, column] = total / weights
    for row, column in itertools.product(range(height), range(width)):
        filled[row, column] = filled[min(max(row, 4), height - 4), min(max(column, 4), width - 4)]
    return bilateral_by_loops(filled)


def test_the_released_target_depth_is_a_loop_over_points_and_windows() -> None:
    size = (14, 18)
    cameras = cameras_before_a_wall(3, seed=4, turn=0.1)
    depths = 1.5 + torch.rand(2, 9, 11, generator=torch.Generator().manual_seed(0))
    depths[0, 3, 4] = 0.0
    fast = released_target_depth(depths, cameras[:2], cameras[2:], size)
    slow = released_by_loops(depths, cameras[:2], cameras[2:], size)
    torch.testing.assert_close(fast, slow, atol=2e-3, rtol=1e-3)


def test_without_points_the_released_depth_is_0_and_then_near() -> None:
    cameras = cameras_before_a_wall(2, turn=0.0)
    cameras.c2w[1, 0, 3] += 100.0
    depths = torch.full((1, 12, 16), 2.0)
    assert bool((released_target_depth(depths, cameras[:1], cameras[1:], (12, 16)) == 0).all())
    found = target_depth(depths, cameras[:1], cameras[1:], (12, 16), BOUNDS, Compat(released_target_depth=True))
    assert bool((found.depth == BOUNDS.near).all())


def test_with_exact_source_depth_the_target_depth_of_a_wall_is_exact_to_a_plane_spacing() -> None:
    size = (32, 48)
    frames = frames_of_the_wall(cameras_before_a_wall(4), size)
    assert frames.depths_m is not None
    found = target_depth(frames.depths_m[:3], frames.cameras[:3], frames.cameras[3:], size, BOUNDS)
    assert bool(found.is_supported.all())
    spacing = (BOUNDS.far - BOUNDS.near) / 192
    is_measured = (found.depth - frames.depths_m[3]).abs() < spacing
    assert is_measured.float().mean() > 0.9


def test_the_nearest_point_of_a_pixel_wins_by_default_and_the_last_one_as_released() -> None:
    camera = cameras_before_a_wall(1, turn=0.0)
    same = ViewCameras(camera.c2w.repeat(2, 1, 1), camera.intrinsics.repeat(2, 1))
    depths = torch.stack([torch.full((12, 16), 1.0), torch.full((12, 16), 3.0)])
    ours = target_depth(depths, same, camera, (12, 16), BOUNDS).depth
    released = target_depth(depths, same, camera, (12, 16), BOUNDS, Compat(released_target_depth=True)).depth
    torch.testing.assert_close(ours, torch.ones(12, 16))
    torch.testing.assert_close(released, torch.full((12, 16), 3.0))


def test_pixels_far_from_any_point_are_not_supported() -> None:
    camera = cameras_before_a_wall(1, turn=0.0)
    aside = ViewCameras(camera.c2w.clone(), camera.intrinsics)
    aside.c2w[0, 0, 3] += 2.0  # sees the right half of what the camera sees
    size = (48, 80)
    found = target_depth(torch.full((1, *size), 2.0), aside, camera, size, BOUNDS)
    assert bool(found.is_supported[:, -20:].all())
    assert not bool(found.is_supported[:, :20].any())
    torch.testing.assert_close(found.depth, torch.full(size, 2.0))


def test_target_depth_passes_no_gradients() -> None:
    cameras = cameras_before_a_wall(2)
    depths = torch.full((1, 12, 16), 2.0, requires_grad=True)
    assert not target_depth(depths, cameras[:1], cameras[1:], (12, 16), BOUNDS).depth.requires_grad


def place_one(z: float, count: int, rule: SampleRule, generator: torch.Generator | None = None, supported: bool = True):
    return place_samples(
        torch.tensor([z]),
        torch.tensor([supported]),
        BOUNDS,
        count,
        rule,
        generator,
    )[0]


def test_released_samples_are_96_even_ones_31_around_the_surface_and_the_surface() -> None:
    samples = place_one(3.0, 128, "released")
    even = torch.linspace(0.5, 6.0, 96)
    rest = samples.tolist()
    for depth in even.tolist():
        rest.remove(min(rest, key=lambda value: abs(value - depth)))
    rest.remove(3.0)
    assert len(samples) == 128
    assert len(rest) == 31
    # Quantiles of the normal distribution with a deviation of 0.5 m: its distribution function at them is even.
    shares = sorted(0.5 * (1 + math.erf((depth - 3.0) / 0.5 / 2**0.5)) for depth in rest)
    assert shares == pytest.approx([(i + 0.5) / 31 for i in range(31)], abs=0.02)


def test_samples_of_the_paper_have_a_third_of_the_way_to_the_nearer_bound_as_deviation() -> None:
    generator = torch.Generator().manual_seed(0)
    samples = place_one(4.8, 4096, "paper", generator)
    assert float(samples.std()) == pytest.approx((6.0 - 4.8) / 3, rel=0.05)
    assert float(samples.mean()) == pytest.approx(4.8, abs=0.03)
    assert 4.8 in [pytest.approx(value, abs=1e-6) for value in samples.tolist()]


@pytest.mark.parametrize("rule", ["released", "paper", "uniform"])
def test_samples_ascend_between_the_bounds_and_are_the_same_in_every_call(rule: SampleRule) -> None:
    for z in (0.4, 0.5, 2.0, 6.0, 9.0):
        samples = place_one(z, 16, rule)
        assert len(samples) == 16
        assert bool((samples.diff() >= 0).all())
        assert 0.5 <= float(samples[0]) <= float(samples[-1]) <= 6.0
        assert torch.equal(samples, place_one(z, 16, rule))


def test_drawn_samples_differ_and_a_seed_brings_them_back() -> None:
    first = place_one(3.0, 16, "released", torch.Generator().manual_seed(1))
    assert torch.equal(first, place_one(3.0, 16, "released", torch.Generator().manual_seed(1)))
    assert not torch.equal(first, place_one(3.0, 16, "released", torch.Generator().manual_seed(2)))


@pytest.mark.parametrize("rule", ["released", "paper"])
def test_rays_whose_surface_is_guessed_are_sampled_evenly(rule: SampleRule) -> None:
    assert torch.equal(place_one(3.0, 16, rule, supported=False), place_one(3.0, 16, "uniform"))
