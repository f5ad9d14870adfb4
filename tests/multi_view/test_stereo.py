"""Depth by multi-view stereo: each step against loops, the whole on a wall whose depth is known."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from semantic_ns.geometry.views import ViewCameras, sweep_matrices
from semantic_ns.many_scenes.scene_frames import SceneFrames
from semantic_ns.many_scenes.views import SceneViews
from semantic_ns.multi_view import stereo, stereo_numba
from semantic_ns.multi_view.stereo import StereoSettings
from support.ring_of_views import (
    bilinear,
    cameras_before_a_wall,
    frames_of_the_wall,
    pixel_of,
    world_point,
)
from support.views import cameras_at, pose, scene_views

SIZE = (6, 8)
SETTINGS = StereoSettings(num_planes=7, near=0.5, far=4.0)


def random_maps(count: int, channels: int = 5) -> Tensor:
    return torch.rand(count, channels, *SIZE, generator=torch.Generator().manual_seed(1))


def views_of_the_wall(count: int, size: tuple[int, int] = (36, 48)) -> SceneViews:
    frames = frames_of_the_wall(cameras_before_a_wall(count), size)
    images = (frames.images * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
    return SceneViews(images, frames.cameras, frames.labels.short(), frames.depths_m, 1.0)


def cost_by_hand(maps: Tensor, cameras: ViewCameras, others: list[int], column: int, row: int, depth: float) -> float:
    """The cost of one pixel of frame 0 at one depth."""
    point = world_point(cameras[:1], column, row, depth, SIZE)
    height, width = SIZE
    found = []
    for other in others:
        x, y, z = pixel_of(cameras[other : other + 1], point, SIZE)
        if z <= 1e-3 or not (-0.5 <= x <= width - 0.5 and -0.5 <= y <= height - 0.5):
            continue
        seen = bilinear(maps[other], min(max(x, 0.0), width - 1), min(max(y, 0.0), height - 1))
        difference = (seen - maps[0, :, row, column].double()).abs().mean()
        found.append(min(float(difference), SETTINGS.largest_cost))
    kept = sorted(found)[: (len(found) + 1) // 2]
    return sum(kept) / len(kept) if kept else SETTINGS.largest_cost


def test_matching_costs_are_the_mean_of_the_better_half_of_what_sees_a_point() -> None:
    maps, cameras, others = 0.3 * random_maps(4), cameras_before_a_wall(4, spread=0.4), [1, 2, 3]
    costs = stereo.matching_costs(maps, cameras, 0, torch.tensor(others), SETTINGS)
    depths = SETTINGS.depths().tolist()
    for row in range(SIZE[0]):
        for column in range(SIZE[1]):
            truth = [cost_by_hand(maps, cameras, others, column, row, depth) for depth in depths]
            assert costs[:, row, column].tolist() == pytest.approx(truth, abs=1e-4)


def test_planes_are_equally_spaced_in_inverse_depth_from_near_to_far() -> None:
    inverse = 1 / SETTINGS.depths().double()
    assert float(inverse[0]) == pytest.approx(1 / 0.5)
    assert float(inverse[-1]) == pytest.approx(1 / 4.0)
    torch.testing.assert_close(inverse.diff(), inverse.diff()[:1].expand(6), rtol=1e-4, atol=1e-6)


def test_settings_for_other_depths_have_planes_that_are_no_farther_apart_in_inverse_depth() -> None:
    settings = StereoSettings()
    assert settings.within(settings.near, settings.far) == settings

    def spacing(of: StereoSettings) -> float:
        return float((1 / of.depths().double()).diff().abs().max())

    for near, far in ((0.1, 20.0), (0.35, 20.0), (1.0, 8.0), (0.3, 3.0)):
        found = settings.within(near, far)
        assert float(found.depths()[0]) == pytest.approx(near)
        assert float(found.depths()[-1]) == pytest.approx(far)
        assert found.num_planes >= settings.num_planes
        assert spacing(found) <= spacing(settings) * 1.0001
        assert replace(found, near=0.35, far=8.0, num_planes=64) == settings
    assert settings.within(0.001, 20.0).num_planes == 256


def test_a_wall_beyond_the_usual_depths_is_found_by_stereo_within_those_of_the_run() -> None:
    views = views_of_the_wall(6)
    usual = StereoSettings(width=48, num_planes=32, near=0.4, far=1.2)
    shares = []
    for settings in (usual, usual.within(0.4, 8.0)):
        found = stereo.with_stereo_depth(views, settings).depths_m
        assert found is not None
        shares.append(float((found > 0).float().mean()))
    assert shares[0] < 0.02
    assert shares[1] > 0.5


def test_the_kernel_gives_the_costs_of_the_torch_version() -> None:
    maps, cameras, others = 0.3 * random_maps(5), cameras_before_a_wall(5, spread=0.4), torch.tensor([3, 1, 4])
    expected = stereo.matching_costs(maps, cameras, 2, others, SETTINGS)
    cost = np.empty((*SIZE, SETTINGS.num_planes), np.float32)
    matrices = sweep_matrices(cameras[others], cameras[2:3]).float().numpy()
    by_pixel = maps.permute(0, 2, 3, 1).contiguous().numpy()
    first, numbers = np.zeros(SIZE, np.int64), (np.float32(1e-3), np.float32(SETTINGS.largest_cost))
    stereo_numba.swept(by_pixel, 2, others.numpy(), matrices, SETTINGS.depths().numpy(), first, *numbers, cost)
    torch.testing.assert_close(torch.from_numpy(cost).permute(2, 0, 1), expected, rtol=1e-4, atol=1e-5)


def aggregated_by_hand(cost: Tensor, image: Tensor, settings: StereoSettings) -> Tensor:
    """Sum over four paths of one frame, pixel by pixel and plane by plane (Hirschmueller 2008, equations 12, 13)."""
    planes, height, width = cost.shape
    total = torch.zeros(planes, height, width)
    for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        path = torch.zeros(planes, height, width)
        for row in range(height)[:: -1 if dy < 0 else 1]:
            for column in range(width)[:: -1 if dx < 0 else 1]:
                y, x = row - dy, column - dx
                if not (0 <= y < height and 0 <= x < width):
                    path[:, row, column] = cost[:, row, column]
                    continue
                change = float((image[:, row, column] - image[:, y, x]).abs().mean())
                large = max(settings.large_step / (1 + change / settings.edge), settings.small_step)
                before = path[:, y, x].tolist()
                for k in range(planes):
                    options = [before[k], min(before) + large]
                    options += [before[j] + settings.small_step for j in (k - 1, k + 1) if 0 <= j < planes]
                    path[k, row, column] = cost[k, row, column] + min(options) - min(before)
        total += path
    return total


def test_aggregated_costs_are_the_cheapest_paths_from_four_sides() -> None:
    settings = replace(SETTINGS, small_step=0.05, large_step=0.3)
    cost = torch.rand(2, 7, *SIZE, generator=torch.Generator().manual_seed(2))
    images = random_maps(2, 3)
    found = stereo.aggregated(cost, images, settings)
    for number in range(2):
        truth = aggregated_by_hand(cost[number], images[number], settings)
        torch.testing.assert_close(found[number], truth, rtol=1e-5, atol=1e-5)
        total = np.zeros((*SIZE, 7), np.float32)
        by_pixel = cost[number].permute(1, 2, 0).contiguous().numpy()
        image = images[number].permute(1, 2, 0).contiguous().numpy()
        stereo_numba.aggregate(by_pixel, image, np.float32(0.3), np.float32(0.05), np.float32(settings.edge), total)
        torch.testing.assert_close(torch.from_numpy(total).permute(2, 0, 1), truth, rtol=1e-5, atol=1e-5)


def test_the_best_depth_lies_between_planes_where_a_parabola_has_its_least_value() -> None:
    places = torch.tensor([1.0, 2.3, 3.5, 4.9])
    costs = (torch.arange(7.0)[:, None, None] - places) ** 2
    share = places / 6
    truth = 1 / ((1 - share) / SETTINGS.near + share / SETTINGS.far)
    torch.testing.assert_close(stereo.best_depth(costs, SETTINGS)[0], truth)


def test_true_depth_is_confirmed_by_every_frame_that_sees_the_point() -> None:
    frames = frames_of_the_wall(cameras_before_a_wall(4), (36, 48))
    assert frames.depths_m is not None
    others = torch.tensor([1, 2, 3])
    found = stereo.num_confirming(frames.depths_m, frames.cameras, 0, others, 0.03)
    for row in range(0, 36, 7):
        for column in range(0, 48, 7):
            depth = float(frames.depths_m[0, row, column])
            point = world_point(frames.cameras[:1], column, row, depth, (36, 48))
            places = [pixel_of(frames.cameras[other : other + 1], point, (36, 48)) for other in (1, 2, 3)]
            seeing = sum(-0.5 < x < 47.5 and -0.5 < y < 35.5 for x, y, _ in places)
            assert int(found[row, column]) == seeing


def test_a_wrong_depth_is_confirmed_by_no_frame() -> None:
    frames = frames_of_the_wall(cameras_before_a_wall(4), (36, 48))
    assert frames.depths_m is not None
    wrong = frames.depths_m * torch.tensor([1.2, 1.0, 1.0, 1.0])[:, None, None]
    assert int(stereo.num_confirming(wrong, frames.cameras, 0, torch.tensor([1, 2, 3]), 0.03).max()) == 0


def test_stereo_finds_the_wall_and_leaves_out_what_few_frames_see() -> None:
    views = views_of_the_wall(6)
    found = stereo.with_stereo_depth(views, StereoSettings(width=48, num_planes=48, near=0.7))
    assert found.depths_m is not None
    assert views.depths_m is not None
    is_known = found.depths_m > 0
    assert 0.5 < float(is_known.float().mean()) < 1
    error = ((found.depths_m - views.depths_m).abs() / views.depths_m)[is_known]
    assert float(error.median()) < 0.01
    assert float(error.quantile(0.9)) < 0.04


def test_neither_scale_of_the_images_nor_their_true_depth_changes_what_stereo_sees() -> None:
    views = views_of_the_wall(4)
    one = stereo.with_stereo_depth(views).depths_m
    other = stereo.with_stereo_depth(replace(views, depths_m=None)).depths_m
    assert one is not None
    assert other is not None
    assert one.shape == (4, 36, 48)
    torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_a_wall_beyond_the_last_plane_has_no_depth() -> None:
    views = views_of_the_wall(4)
    found = stereo.with_stereo_depth(views, StereoSettings(width=48, num_planes=24, near=0.4, far=1.5))
    assert found.depths_m is not None
    assert float((found.depths_m > 0).float().mean()) < 0.02


def test_a_frame_is_no_neighbour_of_itself_nor_of_one_that_sees_nothing_of_it() -> None:
    away = pose((0.0, 0.0, 0.0), (0.0, np.pi, 0.0))
    cameras = cameras_at(pose((0.0, 0.0, 0.0)), pose((0.0, 0.0, 0.0)), pose((0.4, 0.0, 0.0)), away)
    assert stereo.neighbours(cameras, SETTINGS)[0].tolist() == [2]


def test_a_scene_of_one_frame_has_no_confirmed_depth() -> None:
    views = views_of_the_wall(1, (12, 16))
    found = stereo.with_stereo_depth(views)
    assert found.depths_m is not None
    assert not bool(found.depths_m.any())


def test_masked_pixels_have_no_depth_and_confirm_none() -> None:
    views = views_of_the_wall(4)
    masks = torch.ones(4, *views.size, dtype=torch.bool)
    masks[:, :, 20:30] = False
    free, masked = (stereo.with_stereo_depth(v).depths_m for v in (views, views.masked(masks)))
    assert free is not None
    assert masked is not None
    assert bool(free[~masks].any())
    is_left = masked > 0
    torch.testing.assert_close(masked[is_left], free[is_left], rtol=0, atol=0)
    assert not bool(is_left[~masks].any())
    assert 0 < int(is_left.sum()) < int((free[masks] > 0).sum())


@pytest.mark.parametrize("has_depth", [True, False])
def test_depth_comes_from_where_the_option_says(has_depth: bool) -> None:
    views = scene_views(cameras_before_a_wall(3), has_depth=has_depth)
    depths, by_stereo = views.depths_m, torch.rand(3, *views.size)
    frames = SceneFrames(
        views.cameras,
        views.size,
        1.0,
        lambda frame: views.images[frame],
        lambda frame: views.labels[frame],
        None if depths is None else lambda frame: depths[frame],
    )

    def depth_from(source: stereo.DepthSource) -> Tensor | None:
        found = stereo.with_depth_from(frames, source, lambda _frames: lambda frame: by_stereo[frame])
        return found.depths_of(torch.arange(3))

    assert depth_from("none") is None
    expected = {"scene": depths, "stereo": by_stereo, "scene-or-stereo": by_stereo if depths is None else depths}
    for source in ("scene", "stereo", "scene-or-stereo"):
        found, truth = depth_from(source), expected[source]
        if truth is None:
            assert found is None
        else:
            assert found is not None
            assert torch.equal(found, truth)
