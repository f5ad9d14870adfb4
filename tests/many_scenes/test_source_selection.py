"""Which frames serve as sources of a target."""

import itertools
import math

import numpy as np
import pytest
import torch

from semantic_ns.errors import SceneError
from semantic_ns.geometry.views import ViewCameras, stack_views
from semantic_ns.many_scenes.source_selection import (
    Selection,
    are_same_image,
    draw_published_sources,
    pose_distances,
    seen_probes,
    select_sources,
    shown_probes,
)
from support.views import cameras_at, lifted, pose, projected, random_cameras

NEAR, FAR = 0.3, 8.0
BOTH: tuple[Selection, ...] = ("coverage", "nearest")
ALL: tuple[Selection, ...] = (*BOTH, "published", "inverted-poses")


def seen_slowly(target: ViewCameras, sources: ViewCameras) -> list[list[bool]]:
    """For each source whether it sees the points at 9x12 pixels and three depths whose logarithms are evenly spaced."""
    step = (math.log(FAR) - math.log(NEAR)) / 4
    found = []
    for source in range(len(sources)):
        seen = []
        for number in (1, 2, 3):
            for row, column in itertools.product(range(9), range(12)):
                xy = np.array([(column + 0.5) / 12, (row + 0.5) / 9])
                world = lifted(target, 0, xy, math.exp(math.log(NEAR) + number * step))
                x, y, z = projected(sources, source, world)
                seen.append(bool(z > 1e-3 and 0 <= x <= 1 and 0 <= y <= 1))
        found.append(seen)
    return found


def shown_slowly(target: ViewCameras, sources: ViewCameras) -> list[list[float]]:
    """For each source the cosine of the angle under which it and the target see each of the points that it sees."""
    step = (math.log(FAR) - math.log(NEAR)) / 4
    found = []
    for source, seen in enumerate(seen_slowly(target, sources)):
        shown = []
        for probe, is_seen in enumerate(seen):
            number, row, column = probe // 108 + 1, probe % 108 // 12, probe % 12
            xy = np.array([(column + 0.5) / 12, (row + 0.5) / 9])
            world = lifted(target, 0, xy, math.exp(math.log(NEAR) + number * step))
            a, b = world - target.c2w[0, :3, 3].numpy(), world - sources.c2w[source, :3, 3].numpy()
            cosine = float(a @ b) / float(np.linalg.norm(a) * np.linalg.norm(b))
            shown.append(max(cosine, 0.0) if is_seen else 0.0)
        found.append(shown)
    return found


def distance_slowly(target: ViewCameras, sources: ViewCameras, index: int) -> float:
    """Metres between the centres plus the angle of the turn, from the eigenvalues of the relative rotation."""
    a, b = target.c2w[0].numpy(), sources.c2w[index].numpy()
    angle = np.abs(np.angle(np.linalg.eigvals(b[:3, :3].T @ a[:3, :3]))).max()
    return float(np.linalg.norm(a[:3, 3] - b[:3, 3]) + angle)


def chosen_slowly(target: ViewCameras, sources: ViewCameras, count: int) -> list[int]:
    """One source after the other: the one with which points are shown best, less a tenth of its distance."""
    shown = shown_slowly(target, sources)

    def covered(members: list[int]) -> float:
        best = [sorted([shown[member][probe] for member in members], reverse=True) for probe in range(len(shown[0]))]
        return sum(sum(weight / 2**place for place, weight in enumerate(of[:2])) for of in best) / len(best)

    chosen: list[int] = []
    for _ in range(count):
        left = [index for index in range(len(sources)) if index not in chosen]
        chosen.append(
            max(left, key=lambda i: covered([*chosen, i]) - covered(chosen) - 0.1 * distance_slowly(target, sources, i))
        )
    return chosen


def test_seen_probes_equal_a_loop_over_points() -> None:
    target, sources = random_cameras(1, seed=1), random_cameras(5, seed=2)
    seen = seen_probes(target, sources, NEAR, FAR)
    assert seen.tolist() == seen_slowly(target, sources)
    assert 0.1 < seen.double().mean().item() < 0.99


def test_how_well_probes_are_shown_equals_a_loop_over_points() -> None:
    target, sources = random_cameras(1, seed=1), random_cameras(5, seed=2)
    shown = shown_probes(target, sources, NEAR, FAR)
    np.testing.assert_allclose(shown.numpy(), shown_slowly(target, sources), atol=1e-5)
    assert 0.05 < shown.mean().item() < 0.9


def test_a_camera_in_the_place_of_the_target_shows_all_that_it_sees_perfectly() -> None:
    target, turned = cameras_at(pose((0, 0, 0))), cameras_at(pose((0, 0, 0), (0, 0.4, 0)))
    shown = shown_probes(target, turned, NEAR, FAR)
    np.testing.assert_allclose(shown.numpy(), seen_probes(target, turned, NEAR, FAR).double().numpy(), atol=1e-6)


def test_a_source_that_faces_the_target_shows_nothing_and_comes_after_one_at_the_side() -> None:
    # Both see as many points; of the walls between them the facing one sees the backs.
    target = cameras_at(pose((0, 0, 0)))
    sources = cameras_at(pose((0, 0, 4), (0, math.pi, 0)), pose((0.5, 0, 0), (0, 0.2, 0)))
    seen, shown = seen_probes(target, sources, NEAR, FAR), shown_probes(target, sources, NEAR, FAR)
    assert seen[0].any()
    assert shown[0].max() == 0
    assert shown[1][seen[1]].min() > 0
    assert select_sources(target, sources, 1).tolist() == [1]


def test_pose_distances_equal_metres_plus_radians_of_each_pair() -> None:
    target, sources = random_cameras(1, seed=1), random_cameras(6, seed=2)
    expected = [distance_slowly(target, sources, index) for index in range(6)]
    np.testing.assert_allclose(pose_distances(target, sources).numpy(), expected, atol=1e-9)


def test_the_distance_of_a_turn_by_half_a_circle_is_pi_and_of_no_turn_zero() -> None:
    target = cameras_at(pose((0, 0, 0)))
    sources = cameras_at(pose((0, 0, 0)), pose((0, 0, 0), (0, math.pi, 0)), pose((0, 3, 4)))
    np.testing.assert_allclose(pose_distances(target, sources).numpy(), [0, math.pi, 5], atol=1e-7)


@pytest.mark.parametrize("seed", range(4))
def test_coverage_equals_a_search_over_sets_of_seen_points(seed: int) -> None:
    target, sources = random_cameras(1, seed=10 + seed), random_cameras(7, seed=20 + seed)
    assert select_sources(target, sources, 4, NEAR, FAR).tolist() == chosen_slowly(target, sources, 4)


def test_nearest_takes_those_with_the_smallest_distance_in_order() -> None:
    target, sources = random_cameras(1, seed=1), random_cameras(9, seed=2)
    expected = sorted(range(9), key=lambda index: distance_slowly(target, sources, index))[:4]
    assert select_sources(target, sources, 4, selection="nearest").tolist() == expected


def test_coverage_prefers_a_source_that_shows_the_rest_to_a_nearer_one_that_shows_the_same() -> None:
    target = cameras_at(pose((0, 0, 0)))
    left, also_left, right = ((0.0, angle, 0.0) for angle in (-0.5, -0.52, 0.6))
    sources = cameras_at(*(pose((0, 0.01, 0), angles) for angles in (left, also_left, right)))
    assert select_sources(target, sources, 2).tolist() == [0, 2]
    assert select_sources(target, sources, 2, selection="nearest").tolist() == [0, 1]


@pytest.mark.parametrize("selection", ALL)
def test_the_target_is_no_source_under_whatever_number_it_is_among_them(selection: Selection) -> None:
    cameras = random_cameras(5)
    for target in range(5):
        twice = stack_views([cameras, cameras[torch.tensor([target])]])
        chosen = select_sources(cameras[torch.tensor([target])], twice, 4, selection=selection)
        assert sorted(chosen.tolist()) == sorted(set(range(5)) - {target})


def test_a_camera_is_the_same_image_within_a_millionth_only() -> None:
    target = cameras_at(pose((1, 2, 3), (0.1, 0.2, 0.3)))
    moved = cameras_at(*(pose((1 + shift, 2, 3), (0.1, 0.2 + turn, 0.3)) for shift, turn in
                         [(0, 0), (5e-7, 0), (1e-5, 0), (0, 1e-5)]))  # fmt: skip
    assert are_same_image(target, moved).tolist() == [True, True, False, False]


@pytest.mark.parametrize("selection", ALL)
def test_the_order_of_the_frames_does_not_matter(selection: Selection) -> None:
    target, sources = random_cameras(1, seed=1), random_cameras(8, seed=2)
    expected = select_sources(target, sources, 4, selection=selection)
    for seed in range(5):
        order = torch.randperm(8, generator=torch.Generator().manual_seed(seed))
        assert torch.equal(order[select_sources(target, sources[order], 4, selection=selection)], expected)


@pytest.mark.parametrize("selection", BOTH)
def test_sources_that_see_nothing_of_the_target_come_last_the_nearest_first(selection: Selection) -> None:
    target = cameras_at(pose((0, 0, 0)))
    away = ((0, math.pi, 0.0), (0, math.pi, 0.0))
    sources = cameras_at(pose((0, 0, -0.2), away[0]), pose((0, 0, -0.1), away[1]), pose((0.1, 0, 0)))
    assert not seen_probes(target, sources, NEAR, FAR)[:2].any()
    assert select_sources(target, sources, 3, selection=selection).tolist() == [2, 1, 0]


@pytest.mark.parametrize("selection", ALL)
def test_too_few_frames_beside_the_target_are_told_with_the_options(selection: Selection) -> None:
    cameras = random_cameras(4)
    message = r"Expected at least 4 source frames beside the target, found 3 .* --pipeline\.model\.num-source-views"
    with pytest.raises(SceneError, match=message):
        select_sources(cameras[:1], cameras, 4, selection=selection)
    assert len(select_sources(cameras[:1], cameras, 3, selection=selection)) == 3


def centre_distance(target: ViewCameras, sources: ViewCameras, index: int) -> float:
    return float(np.linalg.norm(target.c2w[0, :3, 3].numpy() - sources.c2w[index, :3, 3].numpy()))


def test_published_takes_those_with_the_nearest_centres_wherever_they_look() -> None:
    target, sources = random_cameras(1, seed=1), random_cameras(9, seed=2)
    expected = sorted(range(9), key=lambda index: centre_distance(target, sources, index))[:4]
    assert select_sources(target, sources, 4, selection="published").tolist() == expected
    turned = cameras_at(*(pose((x, 0, 0), (0, math.pi * x, 0)) for x in (1.0, 0.5, 2.0)))
    assert select_sources(cameras_at(pose((0, 0, 0))), turned, 2, selection="published").tolist() == [1, 0]


def wrong_distance(target: ViewCameras, sources: ViewCameras, index: int) -> float:
    """Between the centres that the inverses of both poses have."""
    first, second = (np.linalg.inv(c2w.numpy())[:3, 3] for c2w in (target.c2w[0], sources.c2w[index]))
    return float(np.linalg.norm(first - second))


def test_inverted_poses_take_those_whose_inverse_pose_has_the_nearest_centre() -> None:
    target, sources, differs = random_cameras(1, seed=1), random_cameras(9, seed=2), 0
    expected = sorted(range(9), key=lambda index: wrong_distance(target, sources, index))
    for count in (1, 3, 4, 9):
        chosen = select_sources(target, sources, count, selection="inverted-poses").tolist()
        assert chosen == expected[:count]
        differs += chosen != select_sources(target, sources, count, selection="published").tolist()
    assert differs > 1
    generator = torch.Generator().manual_seed(0)
    drawn = [draw_published_sources(target, sources, 4, generator, "inverted-poses").tolist() for _ in range(100)]
    assert {number for numbers in drawn for number in numbers} == set(expected[:6])


def test_published_training_draws_random_sources_of_the_nearest_ones_or_of_half_as_many_again() -> None:
    target, sources = random_cameras(1, seed=1), random_cameras(20, seed=2)
    order = sorted(range(20), key=lambda index: centre_distance(target, sources, index))
    generator, times, wide = torch.Generator().manual_seed(0), torch.zeros(20), 0
    for _ in range(600):
        drawn = draw_published_sources(target, sources, 8, generator)
        assert len(set(drawn.tolist())) == 8
        times[drawn] += 1
        wide += set(drawn.tolist()) != set(order[:8])
    assert set(times.nonzero()[:, 0].tolist()) == set(order[:12])
    # Half of the steps draw 8 of 12: a frame of the nearest 8 then comes in 2 of 3 of them, as do the other four.
    np.testing.assert_allclose(times[order[:8]].numpy() / 600, 0.5 + 0.5 * 8 / 12, atol=0.06)
    np.testing.assert_allclose(times[order[8:12]].numpy() / 600, 0.5 * 8 / 12, atol=0.08)
    assert 0.4 < wide / 600 < 0.6


def test_published_training_never_draws_the_target_and_does_with_as_many_frames_as_there_are() -> None:
    cameras, generator = random_cameras(5), torch.Generator().manual_seed(0)
    for target in range(5):
        drawn = draw_published_sources(cameras[torch.tensor([target])], cameras, 4, generator)
        assert sorted(drawn.tolist()) == sorted(set(range(5)) - {target})
    with pytest.raises(SceneError, match="Expected at least 5 source frames beside the target, found 4"):
        draw_published_sources(cameras[torch.tensor([0])], cameras, 5, generator)
