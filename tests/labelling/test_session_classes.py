"""The classes of a labelling session: added, renamed, merged and locked while people label."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from semantic_ns.errors import SceneError
from semantic_ns.labelling.session import LabelSession
from support.label_actions import FRAMES, LAMP, WALL, click


def test_a_class_can_be_renamed_recolored_merged_and_its_id_is_never_used_again(
    opened: Callable[..., LabelSession],
) -> None:
    session = opened()
    session.add_class("chair", None, "a", 0)
    session.add_mark(click(0, 8, 5, 5), "b", 0)
    with pytest.raises(SceneError, match="found 1 of other people"):
        session.undo("a", 1)
    session.merge_class(8, WALL, "a", 2)
    assert (session.painted(0) == WALL).any()
    assert not (session.labels(0) == 8).any()
    session.undo("a", 3)
    assert (session.painted(0) == 8).any()
    session.undo("b", 1)
    session.undo("a", 4)  # the class
    assert [entry.id for entry in session.classes] == [WALL, LAMP]
    session.add_class("table", (1, 2, 3), "a", 5)
    assert session.classes[-1].id == 9
    session.rename_class(9, "desk \"<b>'\N{SEAT}", "a", 6)
    session.recolor_class(9, (4, 5, 6), "a", 7)
    assert (session.classes[-1].name, session.classes[-1].color) == ("desk \"<b>'\N{SEAT}", (4, 5, 6))


def test_classes_merged_in_a_circle_by_undo_and_redo_stay_apart(opened: Callable[..., LabelSession]) -> None:
    session = opened()
    session.merge_class(WALL, LAMP, "a", 0)
    session.undo("a", 1)
    session.merge_class(LAMP, WALL, "b", 0)
    session.redo("a", 2)
    session.add_mark(click(0, WALL, 5, 5), "a", 3)
    assert set(np.unique(session.labels(0))) == {LAMP}


@pytest.mark.parametrize("name", ["", "  ", "Wall ", "void", "a\nb", "\ud800", "x" * 101, None, 5])
def test_names_that_are_none_are_refused(opened: Callable[..., LabelSession], name: Any) -> None:
    session = opened()
    with pytest.raises(SceneError):
        session.add_class(name, None, "a", 0)
    assert session.revision == 0


def test_marks_of_others_leave_a_locked_class_alone(opened: Callable[..., LabelSession]) -> None:
    session = opened()
    session.add_mark(click(0, WALL, 5, 5), "a", 0)
    session.add_mark(click(1, LAMP, 20, 10), "a", 1)
    shown = [session.labels(frame) == LAMP for frame in range(FRAMES)]
    session.lock_class(LAMP, True, "a", 2)
    session.add_mark(click(1, WALL, 8, 10, 5), "b", 0)
    for frame in range(FRAMES):
        assert (session.labels(frame)[shown[frame]] == LAMP).all()
    with pytest.raises(SceneError, match="all of its pixels show a locked class"):
        session.add_mark(click(1, WALL, 20, 10, 1), "b", 1)
    session.lock_class(LAMP, False, "a", 3)
    session.add_mark(click(1, WALL, 20, 10, 1), "b", 2)
    assert session.labels(1)[10, 20] == WALL
