"""What a session shows of single pixels, against what it shows of whole frames."""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from semantic_ns.labelling.owner_map import OwnerMap
from semantic_ns.labelling.session import LabelSession
from semantic_ns.labelling.shown import ShownLabels
from semantic_ns.labelling.surface import LabelSurface
from support.label_actions import FRAMES, LAMP, WALL, click


@pytest.fixture(params=[1, 3])
def strided(request: pytest.FixtureRequest, surface: LabelSurface) -> LabelSurface:
    """Of every n-th pixel the voxel is known; some have none."""
    voxels = surface.pixel_voxels[:, :: request.param, :: request.param].copy()
    voxels[:, :2, :3] = -1
    return replace(surface, stride=request.param, pixel_voxels=voxels)


@pytest.fixture
def painted(strided: LabelSurface, tmp_path: Path) -> LabelSession:
    session = LabelSession(strided, tmp_path / "strided")
    session.add_mark(click(0, WALL, 5, 5, 4), "a", 0)
    session.add_mark(click(0, None, 8, 5, 2, action="void"), "a", 1)
    session.add_mark(click(1, LAMP, 20, 10, 6), "a", 2)
    session.add_mark(click(1, None, 20, 10, 2, action="erase"), "a", 3)
    return session


@pytest.mark.parametrize("step", [1, 2, 5])
def test_every_nth_pixel_shows_what_the_whole_frame_does(painted: LabelSession, step: int) -> None:
    labels, confidence = painted.shown_every(step)
    for frame in range(FRAMES):
        np.testing.assert_array_equal(labels[frame], painted.labels(frame)[::step, ::step])
        np.testing.assert_array_equal(confidence[frame], painted.confidence(frame)[::step, ::step])
    painted.close()


def test_every_nth_pixel_is_looked_up_without_a_map_of_a_whole_frame(
    painted: LabelSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = painted.shown_every(4)
    monkeypatch.delattr(OwnerMap, "all")
    monkeypatch.delattr(LabelSurface, "voxels_of")
    found = painted.shown_every(4)
    assert all((one == other).all() for one, other in zip(found, expected, strict=True))
    painted.close()


def test_marks_are_taken_while_every_nth_pixel_is_looked_up_and_do_not_change_it(
    opened: Callable[..., LabelSession], monkeypatch: pytest.MonkeyPatch
) -> None:
    session = opened()
    session.add_mark(click(2, WALL, 5, 5), "a", 0)
    expected = session.shown_every(1)
    begun, may_go_on, every = threading.Event(), threading.Event(), ShownLabels.every

    def slowly(shown: ShownLabels, step: int) -> tuple[np.ndarray, np.ndarray]:
        begun.set()
        assert may_go_on.wait(60)
        return every(shown, step)

    monkeypatch.setattr(ShownLabels, "every", slowly)
    found: list[tuple[np.ndarray, np.ndarray]] = []
    asking = threading.Thread(target=lambda: found.append(session.shown_every(1)))
    asking.start()
    assert begun.wait(60)
    marking = threading.Thread(target=lambda: session.add_mark(click(2, LAMP, 5, 5), "b", 0))
    marking.start()
    marking.join(30)
    is_answered = not marking.is_alive()
    may_go_on.set()
    asking.join(60)
    assert is_answered
    assert all((one == other).all() for one, other in zip(found[0], expected, strict=True))
    assert (session.shown_every(1)[0][2] == LAMP).any()


def test_an_answer_makes_one_map_of_what_is_painted(painted: LabelSession, monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels, paint and confidence of a frame are asked for one after the other."""
    made, whole = [], OwnerMap.all
    monkeypatch.setattr(OwnerMap, "all", lambda owners: made.append(owners) or whole(owners))
    for number, class_id in enumerate((LAMP, WALL)):
        painted.add_mark(click(0, class_id, 12, 12, 3), "b", number)
        made.clear()
        labels, sure, paint = painted.labels(0), painted.confidence(0), painted.painted(0)
        assert len(made) == 1
        assert (paint == class_id).any()
        assert (labels[paint >= 0] == paint[paint >= 0]).all()
        assert (sure[paint != -1] == 1).all()
    painted.merge_class(WALL, LAMP, "b", 2)
    assert set(np.unique(painted.painted(0))) == {-2, -1, LAMP}
    painted.close()
