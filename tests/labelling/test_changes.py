"""Frames that are named as changed are those that show something else than before."""

from collections.abc import Callable

import numpy as np
import pytest

from semantic_ns.labelling.answers import confidence_layer
from semantic_ns.labelling.session import LabelSession
from support.label_actions import FRAMES, LAMP, WALL, click


def shown(session: LabelSession) -> list[np.ndarray]:
    """What the page receives of each frame [FRAMES, 3 layers, height, width]."""
    return [
        np.stack([session.labels(f), session.painted(f), confidence_layer(session.confidence(f)).astype(np.int16)])
        for f in range(FRAMES)
    ]


@pytest.mark.parametrize("seed", [0, 1])
def test_frames_that_are_not_named_as_changed_are_as_they_were(opened: Callable[..., LabelSession], seed: int) -> None:
    session = opened()
    generator = np.random.default_rng(seed)
    history = [shown(session)]
    for number in range(12):
        before = session.revision
        turn = generator.integers(6)
        if turn == 0 and session.marked_frames():
            session.undo("a", number)
        elif turn == 1:
            session.merge_class(LAMP, WALL, "b", number) if number % 2 else session.lock_class(LAMP, True, "b", number)
        else:
            frame, x, y = generator.integers(FRAMES), generator.integers(32), generator.integers(24)
            session.add_mark(click(int(frame), int(generator.choice([WALL, LAMP])), float(x), float(y)), "a", number)
        if session.revision > before:
            history.append(shown(session))
    assert session.revision == len(history) - 1
    for since, then in enumerate(history):
        changed = [f for f in range(FRAMES) if not np.array_equal(then[f], history[-1][f])]
        assert set(session.changed_frames(since)) >= set(changed)


def test_only_what_changed_is_named(opened: Callable[..., LabelSession]) -> None:
    session = opened()
    assert session.changed_frames(0) == []
    session.rename_class(LAMP, "torch", "a", 0)
    session.recolor_class(LAMP, (1, 2, 3), "a", 1)
    assert session.changed_frames(0) == []
    session.add_mark(click(1, None, 5, 5, action="void"), "a", 2)  # says nothing about the surface
    assert session.changed_frames(0) == [1]
    session.add_mark(click(0, WALL, 5, 5), "a", 3)
    assert session.changed_frames(3) == [0, 1, 2]
    session.undo("a", 4)
    assert session.changed_frames(4) == [0, 1, 2]
    assert session.changed_frames(5) == []


def test_of_what_was_before_the_opening_all_frames_count_as_changed(opened: Callable[..., LabelSession]) -> None:
    first = opened()
    first.add_mark(click(0, WALL, 5, 5), "a", 0)
    first.close()
    again = opened()
    assert (again.changed_frames(0), again.changed_frames(1)) == ([0, 1, 2], [])
