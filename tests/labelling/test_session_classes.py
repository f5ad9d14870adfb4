"""The classes of a labelling session: added, renamed, merged and locked while people label."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from semantic_ns.errors import SceneError
from semantic_ns.labelling.session import LabelSession
from semantic_ns.labelling.surface import LabelSurface
from semantic_ns.labels.class_table import ClassEntry, ClassTable
from support.label_actions import FRAMES, LAMP, WALL, are_equal, click, everything


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


def test_a_mark_of_a_class_that_was_taken_back_meanwhile_cannot_be_repeated(
    opened: Callable[..., LabelSession],
) -> None:
    session = opened()
    session.add_class("chair", None, "a", 0)
    session.add_mark(click(0, 8, 5, 5), "b", 0)
    session.undo("b", 1)
    session.undo("a", 1)
    with pytest.raises(SceneError, match="Expected the id of a class of this session, found 8"):
        session.redo("b", 2)
    assert session.progress().num_marks == 0
    session.redo("a", 2)
    session.redo("b", 3)
    assert (session.painted(0) == 8).any()


def test_a_journal_with_a_mark_of_a_class_that_is_gone_opens_and_the_mark_says_nothing(
    opened: Callable[..., LabelSession], monkeypatch: pytest.MonkeyPatch
) -> None:
    session = opened()
    session.add_class("chair", None, "a", 0)
    session.add_mark(click(0, 8, 5, 5), "b", 0)
    session.add_mark(click(1, LAMP, 20, 10), "c", 0)
    with monkeypatch.context() as patch:  # an earlier version let this pass
        patch.setattr("semantic_ns.labelling.state.SessionState.refuse_used_class", lambda *_: None)
        session.undo("a", 1)
    session.lock_class(LAMP, True, "c", 1)
    shown = everything(session)
    assert session.progress().num_marks == 2
    assert (session.painted(0) == -1).all()
    assert set(np.unique(session.labels(0))) <= {-1, LAMP}
    session.close()
    assert are_equal(shown, everything(opened()))


@pytest.mark.parametrize("way", ["redo of a class", "undo of a name", "redo of a name", "undo of a merger"])
def test_undo_and_redo_never_give_two_classes_one_name(opened: Callable[..., LabelSession], way: str) -> None:
    session = opened()
    if way == "redo of a class":
        session.add_class("chair", None, "a", 0)
        session.undo("a", 1)
        session.add_class("Chair", None, "b", 0)
    elif way == "undo of a name":
        session.rename_class(WALL, "plaster", "a", 0)
        session.add_class("wall", None, "b", 0)
    elif way == "redo of a name":
        session.rename_class(WALL, "plaster", "a", 0)
        session.undo("a", 1)
        session.rename_class(LAMP, "plaster", "b", 0)
    else:
        session.merge_class(WALL, LAMP, "a", 0)
        session.rename_class(LAMP, "wall", "b", 0)
    revision = session.revision
    with pytest.raises(SceneError, match="Expected one class of each name"):
        (session.redo if way.startswith("redo") else session.undo)("a", 9)
    assert session.revision == revision


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
    shown = [(session.labels(frame) == LAMP) & (session.confidence(frame) >= 0.1) for frame in range(FRAMES)]
    session.lock_class(LAMP, True, "a", 2)
    session.add_mark(click(1, WALL, 8, 10, 5), "b", 0)
    for frame in range(FRAMES):
        assert (session.labels(frame)[shown[frame]] == LAMP).all()
    with pytest.raises(SceneError, match="all of its pixels show a locked class"):
        session.add_mark(click(1, WALL, 20, 10, 1), "b", 1)
    session.lock_class(LAMP, False, "a", 3)
    session.add_mark(click(1, WALL, 20, 10, 1), "b", 2)
    assert session.labels(1)[10, 20] == WALL


def test_a_class_locked_as_the_only_one_keeps_what_is_near_its_marks_alone(opened: Callable[..., LabelSession]) -> None:
    session = opened()
    session.add_mark(click(0, WALL, 3, 12), "a", 0)
    labels, is_sure = session.labels(2), session.confidence(2) >= 0.1
    assert (labels[:, -1] == WALL).mean() > 0.5  # it shows where nobody has looked
    assert not is_sure[:, -1].any()
    session.lock_class(WALL, True, "a", 1)
    session.add_mark(click(2, LAMP, 28, 12), "a", 2)
    assert (session.labels(2)[:, -1] == LAMP).mean() > 0.5
    with pytest.raises(SceneError, match="all of its pixels show a locked class"):
        session.add_mark(click(0, LAMP, 3, 12), "a", 3)


def test_ids_of_a_scene_that_labels_cannot_hold_are_refused(surface: LabelSurface, tmp_path: Path) -> None:
    large = replace(surface, classes=(ClassEntry(40_000, "wall", (1, 2, 3), False),))
    with pytest.raises(SceneError, match="Expected class ids up to 32000 to label the scene, found 40000"):
        LabelSession(large, tmp_path)
    assert not list(tmp_path.iterdir())


def table(text: str, folder: Path) -> ClassTable:
    (folder / "table.csv").write_text(text)
    return ClassTable.load(folder / "table.csv")


def test_a_table_gives_ids_and_colours_that_exports_carry(opened: Callable[..., LabelSession], tmp_path: Path) -> None:
    text = f"id,name,r,g,b,is_thing\n{WALL},Wall,1,1,1,0\n40,rug,4,5,6,0\n12,chair,7,8,9,1\n"
    session = opened(classes=table(text, tmp_path))
    session.add_mark(click(0, 40, 5, 5), "a", 0)
    assert [(c.id, c.name, c.color) for c in session.classes[2:]] == [(40, "rug", (4, 5, 6)), (12, "chair", (7, 8, 9))]
    assert session.classes[0].color == (10, 20, 30)  # of the scene
    session.export(tmp_path / "out")
    written = ClassTable.load(tmp_path / "out" / "classes.json")
    assert {(c.id, c.name, c.color, c.is_thing) for c in written.entries} >= {
        (40, "rug", (4, 5, 6), False), (12, "chair", (7, 8, 9), True)
    }  # fmt: skip
    assert (np.asarray(Image.open(tmp_path / "out" / "frame_0.png")) == 40).any()
    session.close()
    again = opened(classes=table(text, tmp_path))
    assert len(again.classes) == 4
    again.add_class("lamp post", None, "a", 1)
    assert again.classes[-1].id == 41


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (f"{WALL},rug", "that 'wall' has it"),
        ("4,WALL", f"that it has the id {WALL}"),
        ("0,rug", "that it means void"),
        ("40000,rug", "that ids end at 32000"),
    ],
)
def test_ids_of_a_table_that_a_session_cannot_have_are_refused(
    opened: Callable[..., LabelSession], tmp_path: Path, row: str, sentence: str
) -> None:
    with pytest.raises(SceneError, match=sentence):
        opened(classes=table(f"id,name\n{row}\n", tmp_path))
    assert opened(classes=["rug"]).classes[-1].name == "rug"  # the journal was closed


def test_a_table_says_what_void_is_where_the_scene_has_no_classes(surface: LabelSurface, tmp_path: Path) -> None:
    session = LabelSession(replace(surface, classes=()), tmp_path / "new", table("id,name\n0,wall\n9,void\n", tmp_path))
    assert (session.void_id, session.classes[0].id) == (9, 0)
    session.close()


def test_labels_of_a_session_without_a_class_are_exported_as_void(surface: LabelSurface, tmp_path: Path) -> None:
    from PIL import Image

    session = LabelSession(replace(surface, classes=()), tmp_path / "journal")
    session.add_mark(click(0, None, 5, 5, 3, "void"), "a", 0)
    paths = session.export(tmp_path / "labels")
    session.close()
    assert len(paths) == FRAMES
    assert all((np.asarray(Image.open(path)) == session.void_id).all() for path in paths)


def test_anybody_can_split_a_merged_class_off_again(opened: Callable[..., LabelSession]) -> None:
    session = opened()
    session.add_mark(click(0, LAMP, 5, 5), "a", 0)
    session.add_mark(click(1, WALL, 25, 10), "a", 1)
    before = everything(session)
    session.merge_class(LAMP, WALL, "a", 2)
    merged = everything(session)
    assert not are_equal(before, merged)
    session.split_class(LAMP, "b", 0)
    assert are_equal(before, everything(session))
    session.undo("b", 1)
    assert are_equal(merged, everything(session))
    session.redo("b", 2)
    session.close()
    again = opened()
    assert are_equal(before, everything(again))
    with pytest.raises(SceneError, match="found 'lamp', which is not"):
        again.split_class(LAMP, "b", 3)


def test_a_class_is_not_split_off_into_two_of_one_name(opened: Callable[..., LabelSession]) -> None:
    session = opened()
    session.merge_class(LAMP, WALL, "a", 0)
    session.add_class("Lamp", None, "a", 1)
    with pytest.raises(SceneError, match="two would be called 'lamp'; rename the other one first"):
        session.split_class(LAMP, "a", 2)
    session.rename_class(session.classes[-1].id, "torch", "a", 3)
    session.split_class(LAMP, "a", 4)
    assert [entry.name for entry in session.classes if entry.merged_into is None] == ["wall", "lamp", "torch"]


def test_a_class_is_known_by_the_action_that_added_it(opened: Callable[..., LabelSession]) -> None:
    session = opened()
    session.add_class("chair", None, "a", 7)
    session.add_class("rug", None, "b", 7)
    session.rename_class(8, "stool", "a", 8)
    session.close()
    again = opened()
    assert (again.class_added_by("a", 7), again.class_added_by("b", 7)) == (8, 9)
    for client, sequence in (("a", 8), ("a", 9), ("c", 7)):
        with pytest.raises(SceneError, match="added before the mark"):
            again.class_added_by(client, sequence)


def test_what_a_tab_that_is_closed_did_is_taken_back_by_another_one(opened: Callable[..., LabelSession]) -> None:
    session = opened(classes=["chair"])
    assert session.last_of_others("a") is None  # what the command line added is nobody's
    session.add_mark(click(0, LAMP, 5, 5), "a", 0)
    before = everything(session)
    session.merge_class(LAMP, WALL, "a", 1)
    merged = everything(session)
    session.add_mark(click(1, WALL, 25, 10), "b", 0)
    assert session.last_of_others("b") is None  # one of its own is left
    session.undo("b", 1)
    session.close()
    again = opened()
    revision, what = again.last_of_others("b") or (0, "")
    assert what == "'lamp' merged into 'wall'"
    again.undo("b", 2, revision)
    assert are_equal(before, everything(again))
    assert again.last_of_others("b") == (2, "a mark of 'lamp' on frame_0")
    with pytest.raises(SceneError, match="somebody has taken it back already"):
        again.undo("b", 3, revision)
    again.redo("b", 4)
    assert are_equal(merged, everything(again))
    again.undo("b", 5)  # its own, now that it has repeated it
    again.redo("b", 6)
    again.undo("a", 7)
    again.close()
    last = opened()
    assert not (last.painted(0) >= 0).any()
    assert last.redo("a", 8) == last.revision
    assert are_equal(merged, everything(last))
