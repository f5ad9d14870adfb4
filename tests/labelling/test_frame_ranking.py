"""Frames that are worth looking at, against a twin of loops, and what a look changes."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy import ndarray

from semantic_ns.labelling import ranking
from semantic_ns.labelling.ranking import FrameRank, rank_frames
from semantic_ns.labelling.session import LabelSession
from semantic_ns.labelling.spreading import SpreadLabels
from semantic_ns.labelling.surface import LabelSurface
from support.label_actions import FRAMES, LAMP, WALL, click
from support.label_surfaces import HEIGHT, WIDTH


def slow_objects(surface: LabelSurface, labels: ndarray) -> list[int]:
    """The lowest voxel of the object of each voxel: a walk from voxel to voxel."""
    graph, numbers = surface.graph, [-1] * surface.graph.num_nodes
    for first in range(graph.num_nodes):
        waiting = [first] if numbers[first] < 0 else []
        while waiting:
            voxel = waiting.pop()
            numbers[voxel] = first
            for other, weight in zip(graph.neighbours[voxel].tolist(), graph.weights[voxel].tolist(), strict=True):
                if other >= 0 and weight >= 0.3 and labels[other] == labels[voxel] and numbers[other] < 0:
                    numbers[other] = first
                    waiting.append(other)
    return numbers


def slow_scores(
    surface: LabelSurface, shown: SpreadLabels, painted: ndarray, num_marks: Mapping[int, int], step: int
) -> list[float]:
    """The score of each frame, pixel by pixel."""
    objects = slow_objects(surface, shown.labels)
    seen_by: dict[int, set[int]] = {}
    sizes: dict[int, int] = {}
    for frame, row, column in np.ndindex(surface.pixel_voxels.shape):
        voxel = int(surface.pixel_voxels[frame, row, column])
        if voxel >= 0 and row % step == column % step == 0:
            seen_by.setdefault(voxel, set()).add(frame)
            sizes[objects[voxel]] = sizes.get(objects[voxel], 0) + 1
    scores = [0.0] * len(surface.frames)
    for frame, row, column in np.ndindex(surface.pixel_voxels.shape):
        voxel = int(surface.pixel_voxels[frame, row, column])
        if voxel >= 0 and row % step == column % step == 0 and not painted[frame, row, column]:
            seen = sum(num_marks.get(other, 0) for other in seen_by[voxel])
            unsure = 1 - float(shown.confidence[voxel])
            scores[frame] += unsure * 0.7**seen / sizes[objects[voxel]] ** 0.5 * 0.5 ** num_marks.get(frame, 0)
    return scores


def random_labels(surface: LabelSurface, rng: np.random.Generator) -> SpreadLabels:
    num_voxels = surface.graph.num_nodes
    labels = rng.choice(np.array([-1, WALL, LAMP], np.int16), num_voxels, p=[0.1, 0.1, 0.8])
    return SpreadLabels(labels, rng.random(num_voxels).astype(np.float32), rng.random(num_voxels) < 0.1)


def ranked(
    surface: LabelSurface, shown: SpreadLabels, painted: ndarray, num_marks: Mapping[int, int]
) -> list[FrameRank]:
    stride = surface.stride
    return rank_frames(surface, shown, lambda frame, y, x: painted[frame][y // stride, x // stride], num_marks)


@pytest.mark.parametrize("num_marks", [{}, {1: 1}, {0: 2, 1: 1, 2: 3}])
@pytest.mark.parametrize(("stride", "step"), [(1, 1), (1, 3), (2, 2)])
@pytest.mark.parametrize("seed", range(2))
def test_frames_are_in_the_order_of_a_twin_of_loops(
    surface: LabelSurface, monkeypatch: pytest.MonkeyPatch, seed: int, stride: int, step: int, num_marks: dict[int, int]
) -> None:
    rng = np.random.default_rng(seed)
    surface = replace(surface, stride=stride, pixel_voxels=surface.pixel_voxels[:, ::stride, ::stride].copy())
    surface.pixel_voxels[rng.random(surface.pixel_voxels.shape) < 0.1] = -1
    monkeypatch.setattr(ranking, "_MOST_PIXELS", surface.pixel_voxels[0].size / step**2)
    shown, painted = random_labels(surface, rng), rng.random(surface.pixel_voxels.shape) < 0.1
    twin = slow_scores(surface, shown, painted, num_marks, step)
    found = ranked(surface, shown, painted, num_marks)
    assert [rank.frame for rank in found] == sorted(range(FRAMES), key=lambda frame: -twin[frame])
    scores = np.array([rank.score for rank in sorted(found, key=lambda rank: rank.frame)])
    # Those of `rank_frames` say something beside each other alone.
    assert scores / scores.sum() == pytest.approx(np.array(twin) / sum(twin))


def test_marks_that_changed_nothing_send_a_person_elsewhere(surface: LabelSurface) -> None:
    shown = random_labels(surface, np.random.default_rng(0))
    nothing = np.zeros(surface.pixel_voxels.shape, np.bool_)
    first = ranked(surface, shown, nothing, {})[0].frame
    assert ranked(surface, shown, nothing, {first: 3})[0].frame != first


def test_after_thousands_of_marks_the_frame_with_the_fewest_still_comes_first(surface: LabelSurface) -> None:
    shown = random_labels(surface, np.random.default_rng(0))
    nothing = np.zeros(surface.pixel_voxels.shape, np.bool_)
    found = ranked(surface, shown, nothing, {0: 5020, 1: 5010, 2: 5000})
    assert found[0].frame == 2
    assert found[0].score > found[1].score > 0


def test_what_was_taken_back_was_no_look(surface: LabelSurface, tmp_path: Path) -> None:
    session = LabelSession(surface, tmp_path)
    before = session.ranked_frames()
    session.add_mark(click(before[0].frame, WALL, WIDTH // 2, HEIGHT // 2, 3), "a", 0)
    assert session.ranked_frames() != before
    session.undo("a", 1)
    assert session.ranked_frames() == before
    session.close()
