"""Instances from parts and from masks: every step against sets of voxels, and the theorems that it rests on."""

import numpy as np
import pytest
from numpy import ndarray

from semantic_ns.instances.association import average_linkage, compare_masks, complete, join_masks, vote
from semantic_ns.instances.baselines import assigned_frame_by_frame, trusted_ids, voted
from semantic_ns.instances.masks import FrameMasks, MaskSets
from semantic_ns.instances.parts import connected_parts, without_specks
from semantic_ns.surface.voxels import VoxelGrid, Voxels, voxelise

IS_THING = (True, False, True)


def random_voxels(rng: np.random.Generator) -> tuple[Voxels, ndarray, ndarray]:
    """Voxels of edge 1 in a cube of 6, a third of them occupied; the cells and classes of these."""
    cells = np.argwhere(rng.random((6, 6, 6)) < 0.35)
    voxels, _ = voxelise(VoxelGrid(1.0), (cells + 0.5).astype(np.float32))
    return voxels, cells, rng.integers(-1, 3, len(cells)).astype(np.int16)


def slow_parts(cells: ndarray, classes: ndarray) -> list[set[int]]:
    """Parts by walking from voxel to voxel."""
    left = {i for i in range(len(cells)) if classes[i] >= 0 and IS_THING[classes[i]]}
    parts = []
    while left:
        part, edge = set[int](), {min(left)}
        while edge:
            part |= edge
            edge = {
                j
                for i in edge
                for j in left - part
                if classes[i] == classes[j] and np.abs(cells[i] - cells[j]).max() <= 1
            }
        parts.append(part)
        left -= part
    return parts


def groups_of(ids: ndarray) -> set[frozenset[int]]:
    return {frozenset(np.flatnonzero(ids == number).tolist()) for number in np.unique(ids[ids > 0])}


@pytest.mark.parametrize("seed", range(4))
def test_parts_are_what_walking_over_touching_voxels_of_a_class_reaches(seed: int) -> None:
    voxels, cells, classes = random_voxels(np.random.default_rng(seed))
    found = connected_parts(voxels, classes, IS_THING)
    assert groups_of(found) == set(map(frozenset, slow_parts(cells, classes)))
    assert len(np.unique(found)) > 4
    assert (found[(classes < 0) | (classes == 1)] == 0).all()


def test_a_speck_belongs_to_the_nearest_larger_part_of_its_class_and_stays_where_there_is_none() -> None:
    x = np.array([*range(10), 12, *range(20, 30), 13, 40])
    centres = np.stack([x, np.zeros(23), np.zeros(23)], axis=1).astype(float)
    parts = np.array([1] * 10 + [2] + [3] * 10 + [4, 5], np.int32)
    classes = np.array([0] * 21 + [2, 0], np.int16)
    found = without_specks(parts, classes, centres)
    assert groups_of(found) == {frozenset(range(11)), frozenset([*range(11, 21), 22]), frozenset([21])}
    assert found[0] == 1  # the largest first


# Masks


def random_masks(rng: np.random.Generator) -> tuple[MaskSets, list[FrameMasks], ndarray]:
    """Frames that see parts of 90 voxels in a line of six things, under ids of their own, sometimes cut or missing."""
    things = np.arange(90) // 15
    classes = np.where(things < 4, 0, 2).astype(np.int16)
    classes[::17] = 1
    frames = []
    for _ in range(9):
        start, end = sorted(rng.integers(0, 91, 2).tolist())
        seen = np.arange(start, end)
        masks = rng.permutation(20)[things[seen]] + 1
        masks[rng.random(len(seen)) < 0.1] = 0
        cut = rng.integers(0, 90)
        masks[(seen >= cut) & (things[seen] == things[cut])] += 50
        masks[things[seen] == rng.integers(0, 6)] = 99
        frames.append(FrameMasks(seen.astype(np.int32), masks.astype(np.int32)))
    return MaskSets.of(frames, classes, IS_THING), frames, classes


def sets_of(masks: MaskSets) -> list[set[int]]:
    return [set(masks.voxel_of_entry[masks.mask_of_entry == number].tolist()) for number in range(len(masks))]


@pytest.mark.parametrize("seed", range(3))
def test_masks_are_the_sets_of_voxels_of_their_class_which_is_that_of_most(seed: int) -> None:
    masks, frames, classes = random_masks(np.random.default_rng(seed))
    expected = {}
    for number, frame in enumerate(frames):
        for mask in set(frame.masks.tolist()) - {0}:
            own = set(frame.voxels[frame.masks == mask].tolist())
            of_class = {c: {v for v in own if classes[v] == c} for c in range(3)}
            most = max(of_class, key=lambda c: len(of_class[c]))
            if IS_THING[most]:
                expected[number, mask, most] = of_class[most]
    keys = zip(masks.frames.tolist(), masks.ids.tolist(), masks.classes.tolist(), strict=True)
    assert dict(zip(keys, sets_of(masks), strict=True)) == expected
    assert sum(map(len, expected.values())) < sum((frame.masks > 0).sum() for frame in frames)


@pytest.mark.parametrize("seed", range(3))
def test_what_frames_say_of_masks_is_what_their_sets_say(seed: int) -> None:
    masks, _, _ = random_masks(np.random.default_rng(seed))
    views, sets = compare_masks(masks), sets_of(masks)
    contains = np.asarray(views.contains.todense())
    torn = []
    for a, own in enumerate(sets):
        num_observed = num_torn = 0
        for frame in range(int(masks.frames.max()) + 1):
            others = [b for b in range(len(sets)) if masks.frames[b] == frame]
            covered = own & set[int]().union(*(sets[b] for b in others))
            is_observed = len(covered) >= max(1, 0.3 * len(own))
            assert views.observed[a, frame] == is_observed
            inside = [b for b in others if is_observed and len(own & sets[b]) >= 0.8 * len(covered)]
            assert [b for b in others if contains[a, b]] == inside
            num_observed += is_observed
            num_torn += is_observed and not inside
        torn.append(num_torn > num_observed / 2)
    np.testing.assert_array_equal(views.is_torn, torn)
    assert views.observed.mean() < 0.9
    assert contains.sum() > len(sets)


def slow_linkage(together: ndarray, both: ndarray) -> set[frozenset[int]]:
    """All pairs of groups are looked at before each step."""
    groups = [[i] for i in range(len(both))]
    while True:
        best = None
        for i, first in enumerate(groups):
            for second in groups[i + 1 :]:
                seen, shared = both[np.ix_(first, second)].sum(), together[np.ix_(first, second)].sum()
                if seen > 0 and shared >= seen / 2:
                    rank = (-shared / seen, -seen, first[0], second[0])
                    best = min(best or (rank, first, second), (rank, first, second))
        if best is None:
            return set(map(frozenset, groups))
        groups = sorted([sorted(best[1] + best[2]), *(g for g in groups if g not in best[1:])])


@pytest.mark.parametrize("seed", range(6))
def test_linkage_joins_the_best_pair_of_groups_until_the_majority_is_against_it(seed: int) -> None:
    rng = np.random.default_rng(seed)
    near = np.abs(np.subtract.outer(np.arange(24), np.arange(24)))
    both = np.where(near < 6, rng.integers(0, 9, (24, 24)), 0)
    both = np.maximum(both, both.T)
    together = np.minimum(both, rng.integers(0, 9, (24, 24)))
    together = np.minimum(together, together.T)
    found = average_linkage(together.astype(np.float32), both.astype(np.float32))
    groups = {frozenset(np.flatnonzero(found == number).tolist()) for number in np.unique(found)}
    assert groups == slow_linkage(together, both)
    assert 1 < len(groups) < 24


@pytest.mark.parametrize("seed", range(3))
def test_voxels_vote_by_counting_masks_and_groups_that_lose_most_voxels_are_left_out(seed: int) -> None:
    rng = np.random.default_rng(seed)
    masks, frames, _ = random_masks(rng)
    sets, groups = sets_of(masks), rng.integers(0, 7, len(masks))
    used = set(np.flatnonzero(rng.random(len(masks)) < 0.9).tolist())
    is_used = np.isin(np.arange(len(masks)), list(used))
    over = [sum((f.voxels == voxel)[f.masks > 0].sum() for f in frames) for voxel in range(90)]
    foreign = [int(over[voxel]) - sum(voxel in own for own in sets) for voxel in range(90)]
    assert max(foreign) > 0
    dropped = 0
    while True:
        winners = np.zeros(90, int)
        for voxel in range(90):
            counts = [sum(voxel in sets[m] for m in used if groups[m] == g) for g in range(7)]
            winners[voxel] = 1 + int(np.argmax(counts)) if max(counts) and max(counts) >= foreign[voxel] else 0
        losers = set()
        for group in range(7):
            area = set[int]().union(*(sets[m] for m in used if groups[m] == group))
            if sum(winners[voxel] == group + 1 for voxel in area) < len(area) / 2:
                losers.add(group)
        if not losers:
            break
        dropped += len(losers)
        used = {m for m in used if groups[m] not in losers}
    np.testing.assert_array_equal(vote(masks, groups, is_used), winners)
    assert dropped > 0


CLASSES = np.zeros(20, np.int16)
"""Of two things of ten voxels each."""


def seen_as(*masks: int) -> FrameMasks:
    """A frame that sees twenty voxels in equally many parts under these masks."""
    return FrameMasks(np.arange(20, dtype=np.int32), np.repeat(np.array(masks, np.int32), 20 // len(masks)))


def of_two_things(*frames: FrameMasks) -> MaskSets:
    return MaskSets.of(frames, CLASSES, IS_THING)


def test_instances_do_not_depend_on_the_ids_of_masks_or_the_order_of_frames() -> None:
    rng = np.random.default_rng(0)
    masks, frames, classes = random_masks(rng)
    renamed = [
        FrameMasks(frame.voxels, np.where(frame.masks > 0, rng.permutation(200)[frame.masks] + 1, 0).astype(np.int32))
        for frame in frames
    ]
    expected = groups_of(join_masks(masks, classes))
    assert groups_of(join_masks(MaskSets.of(renamed, classes, IS_THING), classes)) == expected
    turned = MaskSets.of(frames[::-1], classes, IS_THING)
    shared = {a & b for a in expected for b in groups_of(join_masks(turned, classes)) if len(a & b) > len(a | b) / 2}
    assert len(shared) >= len(expected) - 1  # but for ties
    assert len(expected) > 3


def test_things_that_a_minority_of_frames_cuts_loses_or_takes_for_one_are_found() -> None:
    whole = [seen_as(4, 9), seen_as(2, 1), seen_as(5, 3), seen_as(8, 7), seen_as(6, 2)]
    swallowed, missing = [seen_as(3, 3), seen_as(5, 5)], [seen_as(0, 4), seen_as(6, 0)]
    cut = [seen_as(1, 1, 2, 2, 2, 3, 3, 3, 4, 4), seen_as(1, 2, 2, 2, 2, 3, 3, 3, 3, 4)]
    found = join_masks(of_two_things(*whole, *swallowed, *missing, *cut), CLASSES)
    assert groups_of(found) == {frozenset(range(10)), frozenset(range(10, 20))}


def test_a_mask_over_two_classes_is_one_of_the_class_of_most_of_its_voxels() -> None:
    classes = np.repeat([0, 2, 1], [4, 5, 3]).astype(np.int16)
    one = FrameMasks(np.arange(12, dtype=np.int32), np.ones(12, np.int32))
    masks = MaskSets.of([one], classes, IS_THING)
    assert sets_of(masks) == [{4, 5, 6, 7, 8}]
    assert groups_of(join_masks(masks, classes)) == {frozenset(range(4, 9))}
    stuff = MaskSets.of([FrameMasks(one.voxels[8:], one.masks[8:])], classes, IS_THING)
    assert len(stuff) == 0


def test_without_masks_there_are_no_instances_until_parts_complete_them() -> None:
    classes = np.array([0, 0, 0, 2, 2, 1], np.int16)
    parts, centres = np.array([1, 1, 2, 3, 3, 0], np.int32), np.arange(18.0).reshape(6, 3)
    nothing = join_masks(MaskSets.of([], classes, IS_THING), classes)
    assert not nothing.any()
    assert groups_of(complete(nothing, parts, classes, centres)) == {
        frozenset([0, 1]),
        frozenset([2]),
        frozenset([3, 4]),
    }
    some = np.array([0, 1, 0, 0, 0, 0], np.int32)
    assert groups_of(complete(some, parts, classes, centres)) == {frozenset([0, 1, 2]), frozenset([3, 4])}


def test_a_speck_is_an_instance_only_if_most_of_its_views_show_a_mask_of_its_class() -> None:
    far = np.array([30, 31, 32])
    x = np.array([*range(10), *far])
    classes, centres = np.zeros(13, np.int16), np.stack([x, np.zeros(13), np.zeros(13)], axis=1).astype(float)
    parts = np.ones(13, np.int32)  # the three voxels far away are a speck of the class, and belong to what is nearest
    body = FrameMasks(np.arange(10, dtype=np.int32), np.full(10, 7, np.int32))

    def instances(num_with_mask: int, num_without: int) -> set[frozenset[int]]:
        speck = np.arange(10, 13, dtype=np.int32)
        frames = [body, body, body]
        frames += [FrameMasks(speck, np.full(3, 5 + number, np.int32)) for number in range(num_with_mask)]
        frames += [FrameMasks(speck, np.zeros(3, np.int32))] * num_without
        masks = MaskSets.of(frames, classes, IS_THING)
        return groups_of(complete(join_masks(masks, classes), parts, classes, centres, masks))

    apart = {frozenset(range(10)), frozenset(range(10, 13))}
    assert instances(3, 0) == instances(3, 2) == instances(2, 2) == apart
    assert instances(1, 2) == instances(2, 5) == {frozenset(range(13))}


# Baselines


def test_ids_taken_as_they_are_hold_only_where_frames_agree_about_them() -> None:
    same = of_two_things(seen_as(1, 2), seen_as(1, 2), seen_as(1, 2))
    assert groups_of(voted(same, trusted_ids(same))) == {frozenset(range(10)), frozenset(range(10, 20))}
    turned = of_two_things(seen_as(1, 2), seen_as(2, 1), seen_as(1, 2), seen_as(2, 1))
    assert len(groups_of(voted(turned, trusted_ids(turned)))) == 1


def test_assignment_frame_by_frame_finds_whole_things_under_any_ids_and_makes_surplus_ones_of_pieces() -> None:
    clean = of_two_things(seen_as(1, 2), seen_as(2, 1), seen_as(7, 3))
    assert len(np.unique(assigned_frame_by_frame(clean))) == 2
    pieces = of_two_things(seen_as(1, *[2] * 9), seen_as(1))
    assert len(np.unique(assigned_frame_by_frame(pieces))) == 2
    assert len(groups_of(join_masks(pieces, CLASSES))) == 1
