"""The simulated person of `benchmarks/label_marks.py`."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.label_marks import STRIDE, Person, ScoredPoses, View, ceiling, dab, label_by
from semantic_ns.labelling.marks import Mark
from semantic_ns.labelling.region_ranking import RegionRank
from semantic_ns.labelling.session import LabelSession
from semantic_ns.labelling.surface import LabelSurface
from support.label_actions import click
from support.label_surfaces import make_label_surface, truth

FRAMES = 3
IDS = (3, 7, 9)


@pytest.fixture(scope="module")
def surface(tmp_path_factory: pytest.TempPathFactory) -> LabelSurface:
    from dataclasses import replace

    from semantic_ns.labels.class_table import ClassEntry

    surface = make_label_surface(tmp_path_factory.mktemp("images"), FRAMES)
    return replace(surface, classes=(*surface.classes, ClassEntry(9, "door", (1, 2, 3), True)))


def true_ids() -> np.ndarray:
    return np.array(IDS, np.int16)[truth(FRAMES)[:, ::STRIDE, ::STRIDE]]


@pytest.fixture
def poses(surface: LabelSurface) -> ScoredPoses:
    classes = np.abs(surface.graph.colors[:, None] - np.eye(3)).sum(axis=-1).argmin(axis=1)
    return ScoredPoses(surface.positions.astype(np.float64), classes.astype(np.int32), IDS)


def test_a_dab_lies_in_the_middle_of_its_region_and_stays_inside_it() -> None:
    region = np.zeros((40, 50), bool)
    region[5:20, 10:40] = True
    mask = dab(0, region, 3).mask(40 * STRIDE, 50 * STRIDE, lambda: np.zeros((80, 100), np.int32))
    assert mask.sum() > 300
    assert region.repeat(STRIDE, axis=0).repeat(STRIDE, axis=1)[mask].all()


def test_a_dab_into_one_pixel_covers_that_pixel() -> None:
    region = np.zeros((4, 5), bool)
    region[2, 3] = True
    mask = dab(0, region, 3).mask(4 * STRIDE, 5 * STRIDE, lambda: np.zeros((8, 10), np.int32))
    assert np.argwhere(mask).tolist() == [[2 * STRIDE, 3 * STRIDE]]


def test_a_rare_class_matters_more_than_its_pixels() -> None:
    labels = np.full((1, 30, 30), 3, np.int16)
    labels[0, :5, :5] = 7
    shown = np.full((30, 30), 9, np.int16)
    assert Person(labels, "all").weights() == {3: pytest.approx(875**-0.5), 7: pytest.approx(25**-0.5)}
    mark = Person(labels, "all").next_mark(lambda _: shown, [0])
    assert mark is not None
    assert mark.class_id == 3  # 875 / sqrt(875) is more than 25 / sqrt(25)
    shown = np.where(np.arange(30)[:, None] < 5, 9, 3).astype(np.int16)
    mark = Person(labels, "all").next_mark(lambda _: shown, [0])
    assert mark is not None
    assert mark.class_id == 7  # 25 / sqrt(25) is more than 125 / sqrt(875)


def test_a_person_who_sees_nothing_wrong_makes_no_mark() -> None:
    labels = true_ids()
    assert Person(labels, "random").next_mark(lambda frame: labels[frame], [0, 1, 2]) is None


@pytest.mark.parametrize("view", ["random", "ranked", "all", "regions"])
def test_a_person_labels_the_wall_and_the_marks_are_counted(
    surface: LabelSurface, poses: ScoredPoses, view: View
) -> None:
    found = label_by(Person(true_ids(), view), surface, poses, 8, 0)
    assert found.scores[-1] > 0.9
    assert found.scores[0] < 0.5
    marks = found.marks_to(0.9)
    assert marks is not None
    assert 3 <= marks <= len(found.scores)
    assert found.scores[marks - 1] >= 0.9 > max(found.scores[: marks - 1])
    assert found.marks_to(1.1) is None
    assert found.num_guessed < len(found.scores)
    assert bool(found.suggest_seconds) == (view == "regions")
    assert view == "regions" or not found.num_guessed
    assert len(found.seconds) == len(found.scores) == len(found.expected) >= len(found.undo_seconds) > 0


def test_a_person_answers_the_first_region_that_is_not_void_and_says_whether_the_guess_was_right(
    surface: LabelSurface, tmp_path: Path
) -> None:
    session, labels = LabelSession(surface, tmp_path), true_ids()
    first, second, *_ = session.ranked_regions()
    frame, row, column = first.frame, int(first.y) // STRIDE, int(first.x) // STRIDE
    class_id = labels[frame, row, column]
    assert Person(labels, "regions").next_answer(session) == (mark_of(first, class_id), False)
    void = np.where(labels == class_id, np.int16(-1), labels)
    answer = Person(void, "regions").next_answer(session)
    class_of_second = void[second.frame, int(second.y) // STRIDE, int(second.x) // STRIDE]
    assert answer == (mark_of(second, class_of_second), False)
    assert Person(np.full_like(labels, -1), "regions").next_answer(session) is None
    session.add_mark(mark_of(second, class_of_second), "person", 0)
    (first, *_) = session.ranked_regions()
    everything = np.full_like(labels, first.guess)
    assert Person(everything, "regions").next_answer(session) == (mark_of(first, class_of_second), True)
    session.close()


def mark_of(rank: RegionRank, class_id: int) -> Mark:
    return click(rank.frame, int(class_id), rank.x, rank.y, rank.radius)


def test_what_is_unknown_is_wrong_and_the_ceiling_is_what_all_pixels_give(
    surface: LabelSurface, poses: ScoredPoses
) -> None:
    assert poses.score(np.full(len(poses.truth), -1, np.int16)) == 0
    assert poses.score(np.array(IDS, np.int16)[poses.truth]) == 1
    assert poses.voxels_on(surface).tolist() == list(range(surface.graph.num_nodes))
    assert ceiling(surface, true_ids(), poses) > 0.9
