"""Plane sweep, cascade and volume features of `gsnerf` against loops over pixels."""

import pytest
import torch
from torch import Tensor

from semantic_ns.geometry.views import SeenAt, ViewCameras, sweep_matrices
from semantic_ns.methods.gsnerf.compat import Compat
from semantic_ns.methods.gsnerf.encoder import EncodedViews
from semantic_ns.methods.gsnerf.point_features import SourceViews, see_points, volume_features
from semantic_ns.methods.gsnerf.volumes import (
    NUM_PLANES,
    PLANES_IN_RANGE,
    CascadedVolumes,
    DepthRange,
    LevelGeometry,
    LinearPlanes,
    correlation_volume,
    level_offset,
    nearest_neighbours,
)
from support.ring_of_views import bilinear, cameras_before_a_wall, pixel_of, world_point

BOUNDS = DepthRange(0.5, 4.5)


def sweep_by_loops(
    reference: Tensor, others: list[Tensor], cameras: ViewCameras, depths: Tensor, level: int, is_released: bool
) -> Tensor:
    """The correlation of the first camera with the others; levels are 2^l times smaller than the full resolution."""
    planes, height, width = depths.shape
    full = (height * 2**level, width * 2**level)

    def to_full(place: float) -> float:
        """Column or row at full resolution; the released code takes the first centres to be the same."""
        return place * 2**level if is_released else (place + 0.5) * 2**level - 0.5

    def to_level(place: float) -> float:
        return place / 2**level if is_released else (place + 0.5) / 2**level - 0.5

    volume = torch.zeros(8, planes, height, width, dtype=torch.float64)
    for plane in range(planes):
        for row in range(height):
            for column in range(width):
                depth = float(depths[plane, row, column])
                point = world_point(cameras[:1], to_full(column), to_full(row), depth, full)
                for number, other in enumerate(others, start=1):
                    x, y, z = pixel_of(cameras[number : number + 1], point, full)
                    if z > 0:
                        product = reference[:, row, column].double() * bilinear(other, to_level(x), to_level(y))
                        volume[:, plane, row, column] += product.unflatten(0, (8, -1)).mean(dim=1)
    return volume


@pytest.mark.parametrize(("level", "is_released"), [(0, False), (2, False), (2, True)])
def test_the_plane_sweep_is_a_loop_over_planes_pixels_and_neighbours(level: int, is_released: bool) -> None:
    generator = torch.Generator().manual_seed(level)
    cameras = cameras_before_a_wall(3, turn=0.2)
    height, width, planes = 4, 6, 3
    features = torch.randn(3, 16, height, width, generator=generator)
    depths = 0.5 + 2 * torch.rand(planes, height, width, generator=generator)
    offset = level_offset(level, width * 2**level, height * 2**level, Compat(level_offsets=is_released))
    fast = correlation_volume(features[0], features[1:], sweep_matrices(cameras[1:], cameras[:1]), depths, offset)
    slow = sweep_by_loops(features[0], list(features[1:]), cameras, depths, level, is_released)
    torch.testing.assert_close(fast.double(), slow, atol=2e-4, rtol=1e-3)
    assert (slow != 0).float().mean() > 0.2


def test_level_offsets_move_coarse_levels_only() -> None:
    assert level_offset(2, 320, 240, Compat()) == (0, 0)
    assert level_offset(0, 320, 240, Compat(level_offsets=True)) == (0, 0)
    assert level_offset(2, 320, 240, Compat(level_offsets=True)) == (1.5 / 320, 1.5 / 240)


def test_a_neighbour_whose_camera_looks_away_adds_nothing() -> None:
    cameras = cameras_before_a_wall(2, turn=0.0)
    cameras.c2w[1, :3, :3] = torch.diag(torch.tensor([-1.0, 1.0, -1.0])).double()
    features, depths = torch.rand(2, 8, 4, 4) + 1, torch.full((2, 4, 4), 2.0)
    volume = correlation_volume(features[0], features[1:], sweep_matrices(cameras[1:], cameras[:1]), depths)
    assert bool((volume == 0).all())


def test_published_planes_have_the_published_spacing() -> None:
    spacings = [9.9 / number for number in PLANES_IN_RANGE]
    assert spacings == pytest.approx([0.0516, 0.103, 0.206], abs=6e-4)
    assert NUM_PLANES == (8, 32, 48)


def test_planes_around_a_depth_start_half_their_number_before_it_and_never_behind_the_camera() -> None:
    planes = LinearPlanes.around(torch.tensor([[[2.0, 0.1]]]), 0.25, 8)
    assert planes.depths()[0, :, 0, 0].tolist() == [1.0, 1.25, 1.5, 1.75, 2.0, 2.25, 2.5, 2.75]
    assert float(planes.depths()[0, 0, 0, 1]) == pytest.approx(1e-3)
    assert planes.extent == pytest.approx(1.75)


def test_expected_depth_is_the_mean_over_the_soft_max_and_has_its_gradient() -> None:
    planes = LinearPlanes(torch.full((1, 1, 1), 1.0), 0.5, 3)
    scores = torch.tensor([0.0, 1.0, -1.0], dtype=torch.float64).view(1, 3, 1, 1).requires_grad_()
    weights = [2.718281828**score for score in (0.0, 1.0, -1.0)]
    by_hand = sum(w * z for w, z in zip(weights, (1.0, 1.5, 2.0), strict=True)) / sum(weights)
    assert float(planes.expected(scores.detach())) == pytest.approx(by_hand, rel=1e-6)
    assert torch.autograd.gradcheck(planes.expected, (scores,), eps=1e-3, atol=1e-4)


def test_neighbours_are_the_three_nearest_others() -> None:
    cameras = cameras_before_a_wall(6, seed=3, turn=0.5)
    for number, found in enumerate(nearest_neighbours(cameras)):
        distances = {o: float((cameras.centres[o] - cameras.centres[number]).norm()) for o in range(6) if o != number}
        assert found.tolist() == sorted(distances, key=lambda other: distances[other])[:3]
    assert [len(found) for found in nearest_neighbours(cameras[:2])] == [1, 1]


def test_neighbours_of_inverted_poses_are_those_of_the_inverse_of_each_pose() -> None:
    cameras = cameras_before_a_wall(6, seed=3, turn=1.0, spread=1.0)
    inverse = ViewCameras(torch.linalg.inv(cameras.c2w), cameras.intrinsics)
    wrong = [found.tolist() for found in nearest_neighbours(cameras, Compat(inverted_poses=True))]
    assert wrong == [found.tolist() for found in nearest_neighbours(inverse)]
    assert wrong != [found.tolist() for found in nearest_neighbours(cameras)]


def encoded_views(count: int, size: tuple[int, int] = (16, 24)) -> EncodedViews:
    generator = torch.Generator().manual_seed(1)
    height, width = size

    def random(channels: int, step: int) -> Tensor:
        return torch.randn(count, channels, height // step, width // step, generator=generator)

    levels = random(8, 1), random(16, 2), random(32, 4)
    return EncodedViews(torch.rand(count, 3, height, width), levels, random(5, 1), random(5, 1))


def test_each_level_starts_from_the_depth_of_the_coarser_one() -> None:
    torch.manual_seed(0)
    geometry = CascadedVolumes()(encoded_views(3), cameras_before_a_wall(3), BOUNDS)
    fine, middle, coarse = geometry
    assert [one.planes.count for one in geometry] == [8, 32, 48]
    assert [one.volume.shape for one in geometry] == [(3, 8, 8, 16, 24), (3, 8, 32, 8, 12), (3, 8, 48, 4, 6)]
    assert [one.planes.spacing for one in geometry] == pytest.approx([4 / 192, 4 / 96, 4 / 48])
    assert bool((coarse.planes.first == 0.5).all())
    for finer, coarser in ((middle, coarse), (fine, middle)):
        centre = finer.planes.first + finer.planes.count / 2 * finer.planes.spacing
        blocks = torch.nn.functional.avg_pool2d(centre[:, None], 2)[:, 0]
        # Where depth is linear, bilinear interpolation keeps the mean of a block.
        slack = float((coarser.depth[:, 1:] - coarser.depth[:, :-1]).abs().max())
        torch.testing.assert_close(blocks, coarser.depth, atol=slack + 1e-5, rtol=0)


def test_a_source_is_regularised_alike_in_every_batch() -> None:
    """Stacking the sources into the batch is a matter of speed only."""
    torch.manual_seed(0)
    volumes = CascadedVolumes()
    for regularizer in volumes.regularizers:
        together = torch.randn(3, 8, 8, 8, 8)
        alone = torch.cat([regularizer(one)[1] for one in together.split(1)])
        torch.testing.assert_close(regularizer(together)[1], alone, atol=1e-4, rtol=1e-4)


def test_the_divisor_of_the_correlation_is_taken_out_by_the_norm() -> None:
    torch.manual_seed(0)
    encoded, cameras = encoded_views(6), cameras_before_a_wall(6)
    ours, released = CascadedVolumes(), CascadedVolumes(Compat(correlation_over_all_views=True))
    released.load_state_dict(ours.state_dict())
    for one, other in zip(ours(encoded, cameras, BOUNDS), released(encoded, cameras, BOUNDS), strict=True):
        torch.testing.assert_close(one.depth, other.depth, atol=2e-2, rtol=0)
        torch.testing.assert_close(one.volume, other.volume, atol=5e-2, rtol=0)


def sources_with(geometry: tuple[LevelGeometry, ...], count: int, size: tuple[int, int]) -> SourceViews:
    return SourceViews(cameras_before_a_wall(count), encoded_views(count, size), geometry, BOUNDS)


def random_geometry(count: int, size: tuple[int, int]) -> tuple[LevelGeometry, ...]:
    generator = torch.Generator().manual_seed(2)
    found = []
    for level in range(3):
        height, width, planes = size[0] >> level, size[1] >> level, (4, 5, 6)[level]
        first = 1 + torch.rand(count, height, width, generator=generator)
        volume = torch.randn(count, 8, planes, height, width, generator=generator)
        depth = 1.5 + torch.rand(count, height, width, generator=generator)
        found.append(LevelGeometry(LinearPlanes(first, 0.2 * 2**level, planes), depth, volume))
    return tuple(found)


def clamped(image: Tensor, column: float, row: float) -> Tensor:
    """Bilinear, where the border goes on outside."""
    return bilinear(image, min(max(column, 0), image.shape[-1] - 1), min(max(row, 0), image.shape[-2] - 1))


@pytest.mark.parametrize("is_released", [False, True])
def test_volume_features_are_trilinear(is_released: bool) -> None:
    size, count = (8, 12), 2
    sources = sources_with(random_geometry(count, size), count, size)
    generator = torch.Generator().manual_seed(5)
    xy = torch.rand(count, 7, 2, generator=generator) * 1.2 - 0.1
    depth = 0.8 + 2 * torch.rand(count, 7, generator=generator)
    at = SeenAt(xy, depth, torch.ones(count, 7, dtype=torch.bool))
    found = volume_features(sources, at, Compat(level_offsets=is_released))
    for view in range(count):
        for point in range(7):
            x, y = xy[view, point].tolist()
            for level, geometry in enumerate(sources.geometry):
                height, width = geometry.depth.shape[1:]
                column, row = x * width - 0.5, y * height - 0.5
                first = float(clamped(geometry.planes.first[view, None], column, row))
                if is_released:
                    column = (x * size[1] - 0.5) / (size[1] - 1) * (width - 1)
                    row = (y * size[0] - 0.5) / (size[0] - 1) * (height - 1)
                count_of_planes = geometry.planes.count
                place = (float(depth[view, point]) - first) / geometry.planes.extent * (count_of_planes - 1)
                place = min(max(place, 0), count_of_planes - 1)
                below = min(int(place), count_of_planes - 2)
                slices = [clamped(geometry.volume[view, :, plane], column, row) for plane in (below, below + 1)]
                slow = (below + 1 - place) * slices[0] + (place - below) * slices[1]
                fast = found[view, 8 * level : 8 * level + 8, point].double()
                torch.testing.assert_close(fast, slow, atol=1e-4, rtol=1e-3)


def test_a_point_is_occluded_behind_the_depth_of_a_source_by_a_fifth_of_the_finest_planes() -> None:
    size = (8, 12)
    geometry = random_geometry(2, size)
    flat = LevelGeometry(geometry[0].planes, torch.full_like(geometry[0].depth, 2.0), geometry[0].volume)
    sources = sources_with((flat, *geometry[1:]), 2, size)
    sources.cameras.c2w[:] = torch.eye(4)  # both where the target is
    target = sources.cameras[:1]
    limit = 2.0 + 0.2 * 0.6  # of 3 spacings of 0.2 m
    depth = torch.tensor([1.0, limit - 1e-3, limit + 1e-3, 3.0])
    points = see_points(sources, target, torch.full((4, 2), 0.5), depth)
    assert points.is_seen.tolist() == [[True, True, False, False]] * 2
    assert points.is_visible.tolist() == [[True] * 4] * 2  # nobody sees the last two, and then all count
    assert bool(points.is_inside.all())


def test_a_point_outside_one_image_is_left_to_the_other_views() -> None:
    size = (8, 12)
    sources = sources_with(random_geometry(2, size), 2, size)
    sources.cameras.c2w[:] = torch.eye(4)
    sources.cameras.c2w[1, 0, 3] = 5.0
    target = sources.cameras[:1]
    points = see_points(sources, target, torch.tensor([[0.5, 0.5]]), torch.tensor([1.0]))
    assert points.is_inside.tolist() == [[True], [False]]
    assert points.is_visible.tolist() == [[True], [False]]
