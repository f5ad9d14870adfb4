"""What a training step sees of a scene."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from semantic_ns.errors import SceneError
from semantic_ns.geometry.views import ViewCameras, pixel_centres, reproject, stack_views, sweep_matrices
from semantic_ns.many_scenes.samples import Augmentation, Frames, TargetSample, draw_sample
from semantic_ns.many_scenes.source_selection import Selection, SelectionRule, select_sources
from semantic_ns.many_scenes.views import SceneViews
from support.scene_managers import tensors
from support.views import lifted, projected, random_cameras, scene_views

NO_CHANGE = Augmentation(mirror=0.0, scale=1.0, color=0.0)
MIRROR = replace(NO_CHANGE, mirror=1.0)


@pytest.fixture
def views() -> SceneViews:
    return scene_views(random_cameras(12))


def numbers_of(frames: Frames, views: SceneViews) -> list[int]:
    """Which frames of the scene these are, by their depth, which is different in every pixel of every frame."""
    assert frames.depths_m is not None
    assert views.depths_m is not None
    firsts = views.depths_m[:, 0, 0].tolist()
    return [firsts.index(value) for value in frames.depths_m[:, 0, 0].tolist()]


def test_a_sample_depends_on_its_arguments_alone(views: SceneViews) -> None:
    first = draw_sample(views, 3, 5, 2, (2, 5), Augmentation())
    torch.manual_seed(99)
    again = draw_sample(scene_views(random_cameras(12)), 3, 5, 2, (2, 5), Augmentation())
    assert all(torch.equal(a, b) for a, b in zip(tensors(first), tensors(again), strict=True))


def test_drawing_leaves_the_global_random_state_and_the_scene_alone(views: SceneViews) -> None:
    state, before = torch.get_rng_state(), views.images.clone()
    draw_sample(views, 3, 5, 2, (2, 5), Augmentation())
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(views.images, before)
    assert torch.equal(views.cameras.c2w, random_cameras(12).c2w)


def test_other_seeds_draw_other_sources_and_numbers_of_them(views: SceneViews) -> None:
    drawn = [tuple(numbers_of(draw_sample(views, 3, seed, 1, (2, 5)).sources, views)) for seed in range(40)]
    assert len(set(drawn)) > 10
    assert {len(numbers) for numbers in drawn} == {2, 3, 4, 5}


SOURCES_AND_TARGETS = [
    ([5, 8], [3, 11]),
    ([0, 11, 6], [3, 5]),
    ([10, 5], [3, 11]),
    ([0, 11, 9, 6], [3, 7]),
    ([0, 5, 2, 1], [3, 10]),
    ([10, 11, 2, 9, 6], [3, 7]),
]
"""Of the seeds 0, 1, ... for target 3 of `views`, as all trainings so far have drawn them."""


@pytest.mark.parametrize("rule", [None, SelectionRule(), SelectionRule("coverage", 0.3, 8.0)])
def test_without_other_depths_samples_are_those_that_trainings_have_always_drawn(
    rule: SelectionRule | None, views: SceneViews
) -> None:
    for seed, expected in enumerate(SOURCES_AND_TARGETS):
        sample = draw_sample(views, 3, seed, 2, (2, 5), rule=rule)
        assert (numbers_of(sample.sources, views), numbers_of(sample.targets, views)) == expected


def test_sources_are_chosen_for_the_depths_of_the_rule_from_the_same_half_of_the_frames(views: SceneViews) -> None:
    cameras, others, changed = views.cameras, torch.tensor([n for n in range(12) if n != 3]), 0
    for seed in range(12):
        generator = torch.Generator().manual_seed(seed)
        count = int(torch.randint(2, 6, (), generator=generator))
        pool = others[torch.randperm(11, generator=generator)[: max(count, 5)]]
        found = {}
        for near, far in ((0.3, 8.0), (0.05, 0.4), (5.0, 100.0)):
            sample = draw_sample(views, 3, seed, 2, (2, 5), rule=SelectionRule("coverage", near, far))
            chosen = pool[select_sources(cameras[torch.tensor([3])], cameras[pool], count, near, far)]
            assert numbers_of(sample.sources, views) == chosen.tolist()
            found[near] = chosen.tolist()
        changed += len({tuple(numbers) for numbers in found.values()}) > 1
    assert changed > 3


def test_samples_by_inverted_poses_have_sources_whose_inverse_pose_has_one_of_the_nearest_centres(
    views: SceneViews,
) -> None:
    centres = torch.linalg.inv(views.cameras.c2w)[:, :3, 3]
    order = (centres - centres[3]).norm(dim=-1).argsort().tolist()[1:]
    found = set()
    for seed in range(60):
        found |= set(
            numbers_of(draw_sample(views, 3, seed, 1, (4, 4), rule=SelectionRule("inverted-poses")).sources, views)
        )
    assert found == set(order[:6])


def test_frames_of_a_sample_are_those_of_the_scene(views: SceneViews) -> None:
    sample = draw_sample(views, 3, 5, 3, (3, 3))
    for frames in (sample.sources, sample.targets):
        assert len(frames.cameras) == 3
        assert frames.depths_m is not None
        for place, number in enumerate(numbers_of(frames, views)):
            expected = views.images[number].permute(2, 0, 1).float() / 255
            torch.testing.assert_close(frames.images[place], expected)
            assert torch.equal(frames.labels[place], views.labels[number].long())
            assert torch.equal(frames.cameras.c2w[place], views.cameras.c2w[number])


@pytest.mark.parametrize("seed", range(20))
def test_no_target_is_among_the_sources_and_each_frame_comes_once(seed: int, views: SceneViews) -> None:
    target = seed % 12
    sample = draw_sample(views, target, seed, 3, (2, 6), NO_CHANGE)
    sources, targets = numbers_of(sample.sources, views), numbers_of(sample.targets, views)
    assert targets[0] == target
    assert len({*sources, *targets}) == len(sources) + 3


def test_a_copy_of_a_target_under_another_number_is_no_source_either() -> None:
    cameras = random_cameras(6)
    views = scene_views(stack_views([cameras, cameras]))  # frame n + 6 stands where frame n stands
    for seed in range(20):
        sample = draw_sample(views, seed % 12, seed, 2, (2, 4), NO_CHANGE)
        places = [{n % 6 for n in numbers_of(frames, views)} for frames in (sample.sources, sample.targets)]
        assert places[0].isdisjoint(places[1])


def test_a_copy_of_the_target_takes_no_place_among_the_frames_to_choose_from() -> None:
    cameras = random_cameras(3)
    views = scene_views(stack_views([cameras, cameras]))
    for seed in range(10):
        assert len(draw_sample(views, 1, seed, 1, (4, 4), NO_CHANGE).sources.cameras) == 4


def test_further_targets_are_among_the_frames_nearest_to_the_first_that_are_no_source(views: SceneViews) -> None:
    first = views.cameras.centres[3]
    for seed in range(20):
        sample = draw_sample(views, 3, seed, 2, (2, 2), rule=SelectionRule("nearest"))
        free = set(range(12)) - {3, *numbers_of(sample.sources, views)}
        second = numbers_of(sample.targets, views)[1]
        turns = views.cameras.c2w[:, :3, :3].mT @ views.cameras.c2w[3, :3, :3]
        angles = torch.arccos((turns.diagonal(dim1=1, dim2=2).sum(-1) - 1) / 2)
        distance = (views.cameras.centres - first).norm(dim=-1) + angles
        assert second in sorted(free, key=lambda n: float(distance[n]))[:4]


def test_a_small_scene_gives_as_many_sources_and_targets_as_it_has() -> None:
    views = scene_views(random_cameras(4))
    sizes = set()
    for seed in range(20):
        sample = draw_sample(views, 0, seed, 3, (2, 5))
        sizes.add((len(sample.sources.cameras), len(sample.targets.cameras)))
    assert sizes == {(2, 2), (3, 1)}


@pytest.mark.parametrize("selection", ["coverage", "nearest", "published"])
@pytest.mark.parametrize(("num_frames", "counts"), [(2, (2, 5)), (3, (3, 3)), (3, (20, 40)), (4, (1, 8))])
def test_no_more_sources_are_asked_for_than_a_scene_has_other_frames(
    num_frames: int, counts: tuple[int, int], selection: Selection
) -> None:
    views = scene_views(random_cameras(num_frames))
    sizes = set()
    for seed in range(12):
        sample = draw_sample(views, seed % num_frames, seed, 2, counts, NO_CHANGE, SelectionRule(selection))
        sizes.add(len(sample.sources.cameras))
        assert sample.least_sources == counts[0]
        assert set(numbers_of(sample.sources, views)) <= set(range(num_frames)) - {seed % num_frames}
    assert max(sizes) == num_frames - 1
    assert min(sizes) == min(counts[0], num_frames - 1)


def test_a_scene_of_one_frame_is_told() -> None:
    message = r"Expected at least 1 source frame beside the target, found 0 in its scene; give the scene more frames\."
    with pytest.raises(SceneError, match=message):
        draw_sample(scene_views(random_cameras(1)), 0, 0, 1, (3, 5))


def test_frames_given_twice_are_the_same_frames_again() -> None:
    frames = draw_sample(scene_views(random_cameras(5)), 0, 3, 1, (2, 2)).sources
    twice = frames.twice()
    assert twice.depths_m is not None
    assert frames.depths_m is not None
    for whole, part in (
        (twice.images, frames.images),
        (twice.labels, frames.labels),
        (twice.depths_m, frames.depths_m),
        (twice.cameras.c2w, frames.cameras.c2w),
    ):
        assert torch.equal(whole, torch.cat([part, part]))


def test_a_scene_without_depth_gives_samples_without_depth() -> None:
    views = scene_views(random_cameras(6), has_depth=False)
    sample = draw_sample(views, 0, 0, 2, (2, 3), replace(MIRROR, scale=1.2))
    assert sample.targets.depths_m is None
    assert sample.sources.depths_m is None


def mirrored_in_x(points: np.ndarray) -> np.ndarray:
    return points * [-1, 1, 1]


def test_a_mirrored_frame_sees_the_mirrored_point_at_the_mirrored_place() -> None:
    cameras = random_cameras(4)
    mirrored = Frames.of(scene_views(cameras), torch.arange(4)).mirrored().cameras
    for index, point in enumerate(np.random.default_rng(0).uniform([-1, -1, 2], [1, 1, 3], (4, 3))):
        x, y, z = projected(cameras, index, point)
        np.testing.assert_allclose(projected(mirrored, index, mirrored_in_x(point)), [1 - x, y, z], atol=1e-12)
        np.testing.assert_allclose(np.linalg.det(mirrored.c2w[index].numpy()), 1)


def test_mirrored_images_labels_and_depth_run_from_right_to_left(views: SceneViews) -> None:
    frames = Frames.of(views, torch.tensor([4, 7]))
    mirrored = frames.mirrored()
    assert frames.depths_m is not None
    assert mirrored.depths_m is not None
    height, width = frames.size
    for row, column in np.ndindex(height, width):
        other = width - 1 - column
        assert torch.equal(mirrored.images[:, :, row, column], frames.images[:, :, row, other])
        assert torch.equal(mirrored.labels[:, row, column], frames.labels[:, row, other])
        assert torch.equal(mirrored.depths_m[:, row, column], frames.depths_m[:, row, other])


def test_twice_mirrored_is_the_same(views: SceneViews) -> None:
    frames = Frames.of(views, torch.tensor([4, 7]))
    again = frames.mirrored().mirrored()
    torch.testing.assert_close(again.cameras.c2w, frames.cameras.c2w)
    torch.testing.assert_close(again.cameras.intrinsics, frames.cameras.intrinsics)
    assert torch.equal(again.images, frames.images)


def test_the_mirror_changes_neither_which_frames_are_drawn_nor_how_they_see_each_other(views: SceneViews) -> None:
    plain, mirrored = (draw_sample(views, 2, 8, 2, (3, 3), change) for change in (NO_CHANGE, MIRROR))
    assert torch.equal(mirrored.sources.images, plain.sources.images.flip(-1))
    assert torch.equal(mirrored.targets.labels, plain.targets.labels.flip(-1))
    xy = pixel_centres(6, 8).double()
    depth = 2 + xy[..., 0]
    at, flipped_at = (
        reproject(sweep_matrices(s.sources.cameras, s.targets.cameras[:1]), place, d)
        for s, place, d in [
            (plain, xy, depth),
            (mirrored, xy * torch.tensor([-1.0, 1.0]) + torch.tensor([1.0, 0]), depth),
        ]
    )
    torch.testing.assert_close(flipped_at.xy[..., 0], 1 - at.xy[..., 0])
    torch.testing.assert_close(flipped_at.xy[..., 1], at.xy[..., 1])
    torch.testing.assert_close(flipped_at.depth, at.depth)


def seen_from(sample: TargetSample, depth: Tensor) -> Tensor:
    matrices = sweep_matrices(sample.sources.cameras, sample.targets.cameras[:1])
    return reproject(matrices, pixel_centres(6, 8).double(), depth.double()).xy


def test_a_scaled_scene_reprojects_its_scaled_depth_to_the_same_places(views: SceneViews) -> None:
    factors = set()
    for seed in range(8):
        plain, scaled = (draw_sample(views, 2, seed, 2, (3, 3), replace(NO_CHANGE, scale=s)) for s in (1.0, 1.3))
        assert plain.targets.depths_m is not None
        assert scaled.targets.depths_m is not None
        ratio = scaled.targets.depths_m / plain.targets.depths_m
        torch.testing.assert_close(ratio, ratio[0, 0, 0].expand_as(ratio))
        factors.add(round(float(ratio[0, 0, 0]), 6))
        torch.testing.assert_close(
            seen_from(scaled, scaled.targets.depths_m[0]),
            seen_from(plain, plain.targets.depths_m[0]),
            atol=1e-6,
            rtol=0,
        )
        torch.testing.assert_close(scaled.sources.cameras.intrinsics, plain.sources.cameras.intrinsics)
    assert len(factors) == 8
    assert 1 / 1.3 <= min(factors) < 1 < max(factors) <= 1.3


def test_colours_change_alike_in_sources_and_targets_and_stay_in_range() -> None:
    camera = random_cameras(1).c2w[0]
    shifts = torch.arange(6)[:, None] * torch.tensor([0.1, 0, 0])
    c2w = camera.repeat(6, 1, 1)
    c2w[:, :3, 3] += shifts
    views = scene_views(ViewCameras(c2w, random_cameras(6).intrinsics))
    views = replace(views, images=views.images[:1].repeat(6, 1, 1, 1))
    changed = draw_sample(views, 0, 3, 2, (3, 3), replace(NO_CHANGE, color=0.3))
    assert torch.equal(changed.sources.images[0], changed.targets.images[1])
    assert 0 <= float(changed.sources.images.min()) < float(changed.sources.images.max()) <= 1
    assert not torch.allclose(changed.targets.images[0], views.colors(torch.tensor([0]))[0], atol=1e-2)
    assert torch.equal(changed.targets.labels, draw_sample(views, 0, 3, 2, (3, 3), NO_CHANGE).targets.labels)


def test_colours_keep_their_order_in_each_channel(views: SceneViews) -> None:
    plain, changed = (draw_sample(views, 0, 3, 1, (2, 2), replace(NO_CHANGE, color=c)) for c in (0.0, 0.3))
    for channel in range(3):
        order = plain.targets.images[0, channel].flatten().argsort()
        assert bool((changed.targets.images[0, channel].flatten()[order].diff() >= 0).all())


def test_no_augmentation_is_the_same_as_one_that_changes_nothing(views: SceneViews) -> None:
    plain, unchanged = (draw_sample(views, 2, 8, 2, (2, 5), change) for change in (None, NO_CHANGE))
    for a, b in zip(tensors(plain), tensors(unchanged), strict=True):
        torch.testing.assert_close(a.double(), b.double(), atol=2e-4, rtol=0)


def test_a_scene_point_lies_where_the_depth_of_a_drawn_frame_says(views: SceneViews) -> None:
    """From depth, camera and pixel of a mirrored and scaled frame to the world and back into another one."""
    sample = draw_sample(views, 2, 8, 2, (3, 3), replace(MIRROR, scale=1.3))
    targets, sources = sample.targets.cameras, sample.sources.cameras
    assert sample.targets.depths_m is not None
    depth = sample.targets.depths_m[0]
    at = reproject(sweep_matrices(sources, targets[:1]), pixel_centres(6, 8).double(), depth.double())
    for source, row, column in [(0, 1, 2), (1, 5, 0), (2, 3, 7)]:
        xy = np.array([(column + 0.5) / 8, (row + 0.5) / 6])
        x, y, z = projected(sources, source, lifted(targets, 0, xy, float(depth[row, column])))
        assert at.depth[source, row, column].item() == pytest.approx(z, abs=1e-6)
        if z > 0:
            np.testing.assert_allclose(at.xy[source, row, column].numpy(), [x, y], atol=1e-6)
