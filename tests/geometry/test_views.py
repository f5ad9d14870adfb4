"""Views of several cameras against homogeneous matrices written out for one point after another."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from semantic_ns.geometry.views import (
    NEAREST_M,
    ViewCameras,
    pixel_centres,
    reproject,
    sample_images,
    stack_views,
    sweep_matrices,
)
from support.views import cameras_at, lifted, pose, projected, random_cameras


def points(*shape: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Image coordinates, also some outside, and depths, as doubles."""
    generator = torch.Generator().manual_seed(seed)
    xy = 1.6 * torch.rand((*shape, 2), generator=generator, dtype=torch.float64) - 0.3
    return xy, 0.3 + 3 * torch.rand(shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("shape", [(), (7,), (2, 3), (2, 1, 3)])
def test_reprojection_of_points_of_any_shape_equals_a_loop_over_points_and_sources(shape: tuple[int, ...]) -> None:
    target, sources = random_cameras(1, seed=1), random_cameras(4, seed=2)
    xy, depth = points(*shape)
    at = reproject(sweep_matrices(sources, target), xy, depth)
    assert at.xy.shape == (4, *shape, 2)
    assert at.depth.shape == at.is_seen.shape == (4, *shape)
    for place in np.ndindex(shape):
        world = lifted(target, 0, xy[place].numpy(), float(depth[place]))
        for source in range(4):
            x, y, z = projected(sources, source, world)
            assert at.depth[source][place].item() == pytest.approx(z, abs=1e-12)
            is_inside = z > NEAREST_M and 0 <= x <= 1 and 0 <= y <= 1
            assert at.is_seen[source][place].item() == is_inside
            if z > NEAREST_M:
                np.testing.assert_allclose(at.xy[source][place].numpy(), [x, y], atol=1e-9)


def test_some_points_are_seen_and_some_are_not() -> None:
    at = reproject(sweep_matrices(random_cameras(4, seed=2), random_cameras(1, seed=1)), *points(200))
    assert 0.1 < at.is_seen.double().mean().item() < 0.9


def test_a_camera_sees_its_own_points_where_they_are() -> None:
    camera = random_cameras(1)
    xy, depth = points(50)
    at = reproject(sweep_matrices(camera, camera), xy, depth)
    torch.testing.assert_close(at.xy[0], xy)
    torch.testing.assert_close(at.depth[0], depth)
    assert torch.equal(at.is_seen[0], ((xy >= 0) & (xy <= 1)).all(dim=-1))


def test_points_behind_a_camera_are_not_seen_even_where_their_mirrored_projection_is_in_the_image() -> None:
    target = cameras_at(pose((0, 0, 0)))
    behind = cameras_at(pose((0, 0, 5)))  # looks the same way from beyond the point
    at = reproject(sweep_matrices(behind, target), torch.tensor([[0.5, 0.5]]), torch.tensor([2.0]))
    assert at.depth.item() == pytest.approx(-3)
    assert bool(at.xy.isfinite().all())
    assert not at.is_seen.any()


def test_a_point_in_the_plane_of_a_camera_is_not_seen_and_has_finite_values_and_gradients() -> None:
    target, source = cameras_at(pose((0, 0, 0))), cameras_at(pose((0, 0, 2)))
    depth = torch.tensor([2.0, 2.0 + NEAREST_M / 2], requires_grad=True)
    at = reproject(sweep_matrices(source, target), torch.tensor([[0.3, 0.4], [0.5, 0.5]]), depth)
    assert not at.is_seen.any()
    (at.xy.sum() + at.depth.sum()).backward()
    assert depth.grad is not None
    assert bool(depth.grad.isfinite().all())


@pytest.mark.parametrize("level", [1, 2, 4, 8])
def test_the_same_point_of_a_pattern_is_read_at_every_level_of_a_pyramid(level: int) -> None:
    """Averages over blocks of a linear ramp lie at the centres of the blocks, without an offset of half a pixel."""
    height, width = 16, 24
    full = pixel_centres(height, width).permute(2, 0, 1)[None]
    reduced = torch.nn.functional.avg_pool2d(full, level)
    torch.testing.assert_close(reduced[0].permute(1, 2, 0), pixel_centres(height // level, width // level))
    inner = 0.25 + 0.5 * torch.rand(1, 30, 2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(sample_images(reduced, inner)[0].mT, inner[0])


def test_pixel_centres_are_half_a_pixel_from_the_border() -> None:
    centres = pixel_centres(2, 4)
    assert centres[:, 0, 0].tolist() == [0.125, 0.125]
    assert centres[1].tolist() == [[0.125, 0.75], [0.375, 0.75], [0.625, 0.75], [0.875, 0.75]]


def test_directions_times_planar_depth_lead_from_the_centre_to_the_points() -> None:
    cameras = random_cameras(3)
    xy, depth = points(3, 2, 5)
    ends = cameras.centres[:, None, None] + cameras.ray_directions(xy) * depth[..., None]
    for view, row, column in np.ndindex(3, 2, 5):
        expected = lifted(cameras, view, xy[view, row, column].numpy(), float(depth[view, row, column]))
        np.testing.assert_allclose(ends[view, row, column].numpy(), expected, atol=1e-12)


def test_directions_are_one_long_along_the_optical_axis() -> None:
    cameras = random_cameras(2)
    directions = cameras.ray_directions(points(2, 9)[0])
    along = (directions @ cameras.c2w[:, :3, 2:3])[..., 0]
    torch.testing.assert_close(along, torch.ones_like(along))


def test_chosen_and_stacked_cameras_are_those_of_a_list() -> None:
    cameras = random_cameras(5)
    again = stack_views([cameras[torch.tensor([3, 0])], cameras[1:2]])
    assert len(again) == 3
    assert torch.equal(again.c2w, cameras.c2w[[3, 0, 1]])
    assert torch.equal(again.intrinsics, cameras.intrinsics[[3, 0, 1]])


def test_the_matrix_of_a_camera_projects_points_of_its_own_axes() -> None:
    camera = ViewCameras(torch.eye(4, dtype=torch.float64)[None], torch.tensor([[0.5, 0.7, 0.4, 0.6]]).double())
    x, y, z = (camera.matrices()[0] @ torch.tensor([1.0, 2.0, 4.0]).double()).tolist()
    assert (x / z, y / z, z) == pytest.approx((0.5 / 4 + 0.4, 0.7 * 2 / 4 + 0.6, 4))


def looked_up(image: Tensor, xy: Tensor, padding: str) -> list[float]:
    """All channels at one image coordinate, from its four neighbours."""
    _, height, width = image.shape
    column, row = float(xy[0]) * width - 0.5, float(xy[1]) * height - 0.5
    if padding == "border":
        column, row = min(max(column, 0), width - 1), min(max(row, 0), height - 1)
    left, top = math.floor(column), math.floor(row)
    total = [0.0] * len(image)
    for r, c in [(top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)]:
        weight = (1 - abs(row - r)) * (1 - abs(column - c))
        if 0 <= r < height and 0 <= c < width:
            total = [value + weight * float(channel[r, c]) for value, channel in zip(total, image, strict=True)]
    return total


@pytest.mark.parametrize("padding", ["border", "zeros"])
def test_sampling_equals_a_loop_over_four_neighbours_also_beyond_the_border(padding: str) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, 3, 4, 6, generator=generator, dtype=torch.float64)
    xy = 2 * torch.rand(2, 5, 8, 2, generator=generator, dtype=torch.float64) - 0.5
    xy[0, 0, 0], xy[1, 0, 0], xy[1, 0, 1] = torch.tensor([0.0, 1.0]), torch.tensor([0.5, 0.5]), torch.tensor([9.0, 0.5])
    sampled = sample_images(images, xy, padding=padding)
    assert sampled.shape == (2, 3, 5, 8)
    for source, row, column in np.ndindex(2, 5, 8):
        expected = looked_up(images[source], xy[source, row, column], padding)
        assert sampled[source, :, row, column].tolist() == pytest.approx(expected, abs=1e-12)


def test_points_that_a_camera_nearly_has_in_its_plane_take_the_border_without_overflow() -> None:
    images = torch.arange(12.0).reshape(1, 1, 3, 4)
    far = torch.tensor([[[-1e30, 0.5], [1e30, 0.5], [0.5, torch.inf], [-torch.inf, -1e9]]])
    assert sample_images(images, far)[0, 0].tolist() == [4.0, 7.0, 9.5, 0.0]


def test_nearest_sampling_reads_whole_pixels() -> None:
    images = torch.arange(24.0).reshape(1, 1, 4, 6)
    xy = pixel_centres(4, 6)[None] + torch.tensor([0.4 / 6, -0.4 / 4])
    assert torch.equal(sample_images(images, xy, mode="nearest"), images)


def test_gradients_of_reprojection_with_respect_to_depth_equal_differences() -> None:
    target, sources = random_cameras(1, seed=1), random_cameras(3, seed=2)
    matrices = sweep_matrices(sources, target)
    xy, depth = points(6)
    depth.requires_grad_()
    assert torch.autograd.gradcheck(lambda d: reproject(matrices, xy, d + 1).xy, depth)


def test_gradients_of_sampling_with_respect_to_images_and_places_equal_differences() -> None:
    generator = torch.Generator().manual_seed(3)
    images = torch.rand(2, 2, 3, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    # Away from pixel centres and the border, where the slope jumps.
    cells = torch.tensor([[[0, 0], [1, 1]], [[2, 0], [1, 0]]])
    within = 0.2 + 0.6 * torch.rand(2, 2, 2, generator=generator, dtype=torch.float64)
    xy = ((cells + within + 0.5) / torch.tensor([4.0, 3.0], dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(sample_images, (images, xy))
