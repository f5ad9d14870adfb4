"""Classes that are deleted: with their marks or without, taken back, replayed, exported, and in two browsers."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semantic_ns.errors import SceneError
from semantic_ns.labelling.api import LabelApi
from semantic_ns.labelling.class_api import listed_classes
from semantic_ns.labelling.imports import ImportedLabels
from semantic_ns.labelling.session import LabelSession
from semantic_ns.labelling.surface import LabelSurface
from support.label_actions import FRAMES, LAMP, WALL, are_equal, click, everything
from support.label_page import FLOOR, NO_BROWSER, ON_SOFA, SOFA, LabelPage, marked_classes
from support.label_server import action, mark, serving
from support.label_session import SmallSession


def ids(session: LabelSession) -> list[int]:
    return [entry.id for entry in session.classes]


def test_a_class_without_marks_is_deleted_at_once_and_its_id_is_never_used_again(
    opened: Callable[..., LabelSession],
) -> None:
    session = opened()
    session.delete_class(LAMP, False, "a", 0)
    assert ids(session) == [WALL]
    session.add_class("lamp", None, "a", 1)
    assert session.classes[-1].id == LAMP + 1
    session.close()
    assert ids(opened()) == [WALL, LAMP + 1]


def test_the_marks_of_a_deleted_class_are_as_if_they_had_never_been_and_come_back_with_it(
    opened: Callable[..., LabelSession],
) -> None:
    session = opened()
    session.add_mark(click(0, WALL, 5, 5, 4), "a", 0)
    session.add_mark(click(1, WALL, 25, 10), "a", 1)
    without = everything(session)
    session.add_mark(click(0, LAMP, 6, 5, 3), "a", 2)  # over the first one
    session.add_mark(click(2, LAMP, 20, 15), "b", 0)
    before = everything(session)
    with pytest.raises(SceneError, match="Expected no marks of the class 'lamp' to delete it alone, found 2; merge"):
        session.delete_class(LAMP, False, "a", 3)
    session.delete_class(LAMP, True, "a", 3)
    assert are_equal(without, everything(session))
    assert session.progress().num_marks == 2
    session.undo("b", 1)  # a mark that says nothing now
    assert are_equal(without, everything(session))
    session.undo("a", 4)
    session.redo("b", 2)
    assert are_equal(before, everything(session))
    session.redo("a", 5)
    assert are_equal(without, everything(session))
    session.close()
    again = opened()
    assert are_equal(without, everything(again))
    again.undo("a", 6)
    assert are_equal(before, everything(again))


def test_a_locked_a_merged_and_an_unknown_class_are_not_deleted(opened: Callable[..., LabelSession]) -> None:
    session = opened()
    session.add_class("rug", None, "a", 0)
    session.lock_class(LAMP, True, "a", 1)
    session.merge_class(8, WALL, "a", 2)
    for number, sentence in (
        (LAMP, "found 'lamp'; unlock it first"),
        (8, "found 'rug', which was merged into 'wall'; split it off first"),
        (99, "found 99"),
    ):
        with pytest.raises(SceneError, match=sentence):
            session.delete_class(number, True, "a", 3)
    with pytest.raises(SceneError, match="Expected true or false for with_marks"):
        session.delete_class(WALL, "yes", "a", 3)
    assert session.revision == 3


def test_what_was_merged_into_a_deleted_class_goes_with_it(opened: Callable[..., LabelSession]) -> None:
    session = opened()
    session.add_class("rug", None, "a", 0)
    session.add_mark(click(0, WALL, 25, 5), "a", 1)
    without = everything(session)
    session.add_mark(click(0, 8, 5, 5), "a", 2)
    with_rug = everything(session)
    session.merge_class(8, LAMP, "b", 0)
    before = everything(session)
    with pytest.raises(SceneError, match="found 1; merge"):
        session.delete_class(LAMP, False, "a", 3)
    session.delete_class(LAMP, True, "a", 3)
    assert (ids(session), session.class_evidence()) == ([WALL], {WALL: (1, False)})
    assert are_equal(without, everything(session))
    session.undo("b", 1)  # the merger: the deletion is of the lamp alone then
    assert ids(session) == [WALL, 8]
    assert are_equal(with_rug, everything(session))
    session.redo("b", 2)
    session.undo("a", 4)
    assert are_equal(before, everything(session))


def test_nothing_is_done_to_a_class_that_is_deleted(opened: Callable[..., LabelSession]) -> None:
    session = opened()
    session.add_mark(click(0, LAMP, 5, 5), "b", 0)
    session.undo("b", 1)
    session.delete_class(LAMP, False, "a", 0)
    for act in (
        lambda: session.add_mark(click(0, LAMP, 5, 5), "a", 1),
        lambda: session.rename_class(LAMP, "light", "a", 1),
        lambda: session.recolor_class(LAMP, (1, 2, 3), "a", 1),
        lambda: session.merge_class(WALL, LAMP, "a", 1),
        lambda: session.merge_class(LAMP, WALL, "a", 1),
        lambda: session.lock_class(LAMP, True, "a", 1),
        lambda: session.delete_class(LAMP, True, "a", 1),
        lambda: session.redo("b", 2),
    ):
        with pytest.raises(
            SceneError, match="found 'lamp', which was deleted; choose another class, or take that back"
        ):
            act()
    assert session.last_of_others("c") == (3, "'lamp' deleted")


def test_a_deletion_is_not_repeated_when_the_class_has_marks_or_is_locked_by_then(
    opened: Callable[..., LabelSession],
) -> None:
    session = opened()
    session.delete_class(LAMP, False, "a", 0)
    session.undo("a", 1)
    session.lock_class(LAMP, True, "b", 0)
    with pytest.raises(SceneError, match="unlock it first"):
        session.redo("a", 2)
    session.lock_class(LAMP, False, "b", 1)
    session.add_mark(click(0, LAMP, 5, 5), "b", 2)
    with pytest.raises(SceneError, match="Expected no marks of the class 'lamp'"):
        session.redo("a", 2)
    session.undo("b", 3)
    session.redo("a", 2)
    assert ids(session) == [WALL]


def test_two_classes_never_have_one_name_after_a_deletion_is_taken_back(opened: Callable[..., LabelSession]) -> None:
    session = opened()
    session.delete_class(LAMP, False, "a", 0)
    session.add_class("Lamp", None, "b", 0)
    with pytest.raises(SceneError, match="Expected one class of each name"):
        session.undo("a", 1)


def test_imported_labels_of_a_deleted_class_say_nothing_until_it_is_back(
    surface: LabelSurface, opened: Callable[..., LabelSession]
) -> None:
    labels = np.full((FRAMES, *surface.pixel_voxels.shape[1:]), LAMP, np.int16)
    session = opened(imported=ImportedLabels.of("predictions", labels, surface.classes[1:]))
    before = everything(session)
    assert session.class_evidence() == {WALL: (0, False), LAMP: (0, True)}
    with pytest.raises(SceneError, match="Expected no imported labels of the class 'lamp' to delete it alone"):
        session.delete_class(LAMP, False, "a", 0)
    session.delete_class(LAMP, True, "a", 0)
    assert (session.voxel_labels() == -1).all()
    session.undo("a", 1)
    assert are_equal(before, everything(session))


def test_marks_at_a_lock_are_without_those_of_a_class_that_is_deleted(opened: Callable[..., LabelSession]) -> None:
    session = opened()
    session.add_class("rug", None, "a", 0)
    session.add_mark(click(0, WALL, 5, 5), "a", 1)
    session.lock_class(WALL, True, "a", 2)
    session.add_mark(click(1, LAMP, 20, 10), "a", 3)
    without = everything(session)
    session.undo("a", 4)
    session.undo("a", 5)
    session.add_mark(click(0, 8, 22, 12, 3), "a", 6)
    session.lock_class(WALL, True, "a", 7)
    session.add_mark(click(1, LAMP, 20, 10), "a", 8)
    session.delete_class(8, True, "a", 9)
    assert are_equal(without, everything(session))


def test_exports_are_without_a_class_that_is_deleted(opened: Callable[..., LabelSession], tmp_path: Path) -> None:
    session = opened()
    session.add_mark(click(0, WALL, 5, 5), "a", 0)
    session.add_mark(click(0, LAMP, 20, 10), "a", 1)
    session.delete_class(LAMP, True, "a", 2)
    paths = session.export(tmp_path / "out", coco=True)
    names = [entry["name"] for entry in json.loads((tmp_path / "out" / "classes.json").read_text())["classes"]]
    assert "lamp" not in names
    assert not any((np.asarray(Image.open(path)) == LAMP).any() for path in paths)


def test_a_deleted_class_of_the_command_line_does_not_come_back_at_the_next_start(
    opened: Callable[..., LabelSession],
) -> None:
    session = opened(classes=["rug"])
    session.delete_class(8, False, "a", 0)
    session.close()
    assert ids(opened(classes=["rug"])) == [WALL, LAMP]


def test_the_page_is_told_what_each_class_has(opened: Callable[..., LabelSession], tmp_path: Path) -> None:
    session = opened()
    api = LabelApi(session, "scene", tmp_path / "exports")
    session.add_mark(click(0, LAMP, 5, 5), "a", 0)
    listed = json.loads(api.get("/api/state", {}).body)["classes"]
    assert [(one["num_marks"], one["is_imported"]) for one in listed] == [(0, False), (1, False)]
    body = action(0, action="delete", id=LAMP)
    assert api.post("/api/classes", json.dumps(body).encode()).status == 400
    answer = api.post("/api/classes", json.dumps({**body, "with_marks": True}).encode())
    assert [one["id"] for one in json.loads(answer.body)["classes"]] == [WALL]


def test_marks_that_nobody_was_told_of_are_not_deleted_with_their_class(
    opened: Callable[..., LabelSession], tmp_path: Path
) -> None:
    session = opened()
    session.add_mark(click(0, LAMP, 5, 5), "a", 0)
    api = LabelApi(session, "scene", tmp_path / "exports")
    (told,) = (one["num_marks"] for one in listed_classes(session) if one["id"] == LAMP)
    session.add_mark(click(1, LAMP, 20, 10), "b", 0)
    body = {**action(1), "action": "delete", "id": LAMP, "with_marks": True, "num_marks": told}
    answer = api.post("/api/classes", json.dumps(body).encode())
    assert answer.status == 400
    assert (
        "Expected no marks of the class 'lamp' beyond the 1 that the page showed, found 2 in all"
        in json.loads(answer.body)["error"]
    )
    again = {**body, "sequence": 2, "num_marks": 2}
    assert api.post("/api/classes", json.dumps(again).encode()).status == 200
    assert ids(session) == [WALL]


LOST = "The class that was chosen has been deleted. Choose another one."


@pytest.mark.skipif(NO_BROWSER is not None, reason=str(NO_BROWSER))
@pytest.mark.parametrize("button", ["#class-delete", "#class-form [value=save]"])
def test_where_another_browser_deletes_the_chosen_class_nothing_is_painted_in_another_one(
    one_page: LabelPage, tmp_path: Path, button: str
) -> None:
    session, page = SmallSession(), one_page
    with serving(session, tmp_path / "exports") as server:
        page.open(server.address)
        page.keys("3")
        page.page.value(f"document.querySelector('#classes li[data-id=\"{SOFA}\"] [data-part=edit]').click()")
        session.delete_class(SOFA, False, "another", 0)
        page.page.wait_until(f"document.getElementById('toasts').textContent === '{LOST}'")
        page.page.value(f"document.querySelector('{button}').click()")
        page.page.wait_until("!document.getElementById('class-dialog').open")
        assert "deleted meanwhile; nothing was changed" in page.text("toasts")
        page.stroke(ON_SOFA)
        page.wait_until_saved()
        assert session.marks == []
        assert "Expected a class to paint with" in page.text("toasts")
        page.keys("2")
        page.stroke(ON_SOFA)
        page.wait_until_saved()
        assert marked_classes(session) == [FLOOR]


@pytest.mark.skipif(NO_BROWSER is not None, reason=str(NO_BROWSER))
def test_the_page_deletes_a_class_at_once_or_asks_what_becomes_of_its_marks(
    one_page: LabelPage, tmp_path: Path
) -> None:
    session, page = SmallSession(), one_page
    with serving(session, tmp_path / "exports") as server:
        page.open(server.address)
        page.keys("3")
        page.stroke(ON_SOFA)
        page.wait_until_saved()
        edit = "document.querySelector('#classes li[data-id=\"{}\"] [data-part=edit]').click()"
        page.page.value(edit.format(5))
        page.page.value("document.getElementById('class-delete').click()")
        page.wait_until_saved()
        assert [one.id for one in session.classes] == [0, 1, 2, 3, 4]
        page.page.value(edit.format(SOFA))
        page.page.value("document.getElementById('class-delete').click()")
        assert page.text("delete-note") == "1 mark is of this class."
        assert len(session.classes) == 5
        page.page.value("document.querySelector('#delete-form [value=delete]').click()")
        page.page.wait_until("snsLabel.store.state.classes.length === 4")
        page.wait_until_saved()
    assert (session.marks, page.text("toasts")) == ([], LOST)


def test_a_mark_that_comes_after_the_deletion_of_its_class_is_refused_with_its_name(
    opened: Callable[..., LabelSession], tmp_path: Path
) -> None:
    session = opened()
    api = LabelApi(session, "scene", tmp_path / "exports")
    session.delete_class(LAMP, False, "a", 0)
    answer = api.post("/api/marks", json.dumps(action(0, mark=mark(0, LAMP, 5.0, 5.0))).encode())
    assert answer.status == 400
    assert "'lamp', which was deleted" in json.loads(answer.body)["error"]
