"""What waits in a page: undo and redo of it, classes that are being added, and another session at the same address."""

from pathlib import Path

import pytest

from semantic_ns.errors import SceneError
from semantic_ns.labelling.marks import Mark
from support.label_page import (
    CONTROL,
    FLOOR,
    NO_BROWSER,
    ON_FLOOR,
    ON_SOFA,
    ON_WALL,
    SHIFT,
    SOFA,
    LabelPage,
    marked_classes,
)
from support.label_server import mark, serving
from support.label_session import SmallSession

pytestmark = pytest.mark.skipif(NO_BROWSER is not None, reason=str(NO_BROWSER))


@pytest.fixture
def session() -> SmallSession:
    return SmallSession()


def undo(page: LabelPage) -> None:
    page.keys("z", modifiers=CONTROL)


def redo(page: LabelPage) -> None:
    page.keys("Z", modifiers=CONTROL | SHIFT)


def test_a_page_writes_nothing_into_another_session_and_keeps_what_it_has(
    one_page: LabelPage, other_page: LabelPage, session: SmallSession, tmp_path: Path
) -> None:
    another = SmallSession(num_frames=4, names=("sky", "car", "road", "tree", "sign", "man"), identity="f" * 16)
    with serving(session, tmp_path / "one") as server:
        one_page.open(server.address)
        one_page.keys("3")
        one_page.stroke(ON_SOFA)
        one_page.wait_until_saved()
    one_page.page.wait_until("document.getElementById('state').dataset.kind === 'offline'")
    one_page.keys("2")
    one_page.stroke(ON_FLOOR)
    with serving(another, tmp_path / "two", port=server.port) as second:
        other_page.open(second.address)
        one_page.show()
        one_page.page.wait_until("snsLabel.store.isOfAnother")
        assert one_page.text("state-text") == "Another session: 1 mark waits"
        assert "another session is open at its address" in one_page.text("toasts")
        one_page.stroke(ON_WALL)
        assert one_page.page.value("snsLabel.store.queue.length") == 2
        assert one_page.page.value("snsLabel.store.classes[0].name") == "wall"
        assert another.marks == []
        other_page.show()
        other_page.stroke(ON_WALL)
        other_page.wait_until_saved()
        assert marked_classes(another) == [0]
        other_page.page.call("Page.navigate", url="about:blank")
    one_page.show()
    with serving(session, tmp_path / "one", port=server.port):
        one_page.wait_until_saved()
    assert marked_classes(session) == [SOFA, FLOOR, FLOOR]
    assert one_page.text("toasts") == ""


def test_two_undone_marks_of_which_one_was_never_sent_come_back_in_their_order(
    page: LabelPage, session: SmallSession
) -> None:
    with session.lock:  # nothing is answered meanwhile
        page.keys("3")
        page.stroke(ON_SOFA)
        page.keys("2")
        page.stroke(ON_FLOOR)
        undo(page)  # what waits
        undo(page)  # what is on its way
    page.wait_until_saved()
    assert (session.marks, session.revision) == ([], 2)
    redo(page)
    page.page.wait_until("snsLabel.store.state.revision === 3")
    page.wait_until_saved()
    assert marked_classes(session) == [SOFA]
    redo(page)
    page.page.wait_until("snsLabel.store.state.revision === 4")
    page.wait_until_saved()
    assert marked_classes(session) == [SOFA, FLOOR]
    assert page.text("toasts") == ""


def test_any_new_action_ends_what_can_be_repeated(page: LabelPage, session: SmallSession) -> None:
    with session.lock:
        page.keys("3")
        page.stroke(ON_SOFA)
        page.stroke(ON_FLOOR)
        undo(page)
        page.page.value("snsLabel.store.act('/api/classes', {action: 'rename', id: 0, name: 'ceiling'})")
    page.wait_until_saved()
    redo(page)
    page.page.wait_until("document.querySelector('.toast.error')")
    assert page.text("toasts") == "There is nothing to redo."
    assert marked_classes(session) == [SOFA]


def test_an_undo_that_is_refused_is_not_repeated(page: LabelPage, session: SmallSession) -> None:
    with session.lock:
        page.keys("3")
        page.stroke(ON_SOFA)
        page.stroke(ON_FLOOR)
        undo(page)
        undo(page)
        undo(page)  # there is nothing left
    page.page.wait_until("document.querySelector('.toast.error')")
    page.wait_until_saved()
    for revision in (3, 4):
        redo(page)
        page.page.wait_until(f"snsLabel.store.state.revision === {revision}")
    page.wait_until_saved()
    assert marked_classes(session) == [SOFA, SOFA]


def add_class(page: LabelPage, name: str) -> None:
    page.keys("/")
    page.page.call("Input.insertText", text=name)
    page.keys("Enter")


def test_marks_after_a_class_that_is_being_added_are_of_that_class(
    one_page: LabelPage, session: SmallSession, tmp_path: Path
) -> None:
    page = one_page
    with serving(session, tmp_path) as server:
        page.open(server.address)
        page.keys("2")
    page.page.wait_until("document.getElementById('state').dataset.kind === 'offline'")
    add_class(page, "rug")
    assert page.text("brush-class") == "rug"
    page.stroke(ON_FLOOR)
    add_class(page, "lid")
    page.stroke(ON_SOFA)
    add_class(page, "rug")  # is there already, and is chosen again
    page.stroke(ON_WALL)
    assert page.page.value("snsLabel.store.queue.length") == 5
    with serving(session, tmp_path, port=server.port):
        page.wait_until_saved()
    assert [one.name for one in session.classes[6:]] == ["rug", "lid"]
    assert marked_classes(session) == [6, 7, 6]
    assert page.page.value("snsLabel.look.chosen") == 6
    assert page.page.value("snsLabel.store.classes.length") == 8
    assert page.text("brush-class") == "rug"


def test_marks_that_wait_for_a_class_find_it_though_the_page_was_closed(
    one_page: LabelPage, session: SmallSession, tmp_path: Path
) -> None:
    with serving(session, tmp_path) as server:
        one_page.open(server.address)
    one_page.page.wait_until("document.getElementById('state').dataset.kind === 'offline'")
    add_class(one_page, "rug")
    one_page.stroke(ON_FLOOR)
    with serving(session, tmp_path, port=server.port):
        one_page.page.value("sessionStorage.clear()")  # as another tab
        one_page.open(server.address)
        one_page.wait_until_saved()
    assert marked_classes(session) == [6]


def test_a_class_that_is_refused_takes_the_marks_that_wait_for_it_with_it(
    page: LabelPage, session: SmallSession
) -> None:
    page.keys("2")
    with session.lock:
        session.failure = SceneError("Expected one class of each name.")
        add_class(page, "rug")
        page.stroke(ON_FLOOR)
    page.wait_until_saved()
    page.page.wait_until("document.querySelectorAll('.toast.error').length === 2")
    assert "added before the mark" in page.text("toasts")
    assert (session.marks, len(session.classes)) == ([], 6)
    assert page.page.value("snsLabel.look.chosen") == FLOOR


def test_a_tab_with_nothing_left_to_undo_offers_what_others_did(page: LabelPage, session: SmallSession) -> None:
    session.add_mark(Mark.from_json(mark(0, SOFA, *ON_SOFA)), "closed", 1)
    undo(page)
    page.page.wait_until("document.querySelector('.toast .text')")
    assert "The last action of others is a mark of somebody." in page.text("toasts")
    assert len(session.marks) == 1
    page.page.value("document.querySelector('.toast .text').click()")
    page.page.wait_until("snsLabel.store.state.revision === 2")
    assert session.marks == []


def test_an_undo_behind_a_mark_that_is_refused_takes_back_nothing_else(page: LabelPage, session: SmallSession) -> None:
    page.keys("3")
    page.stroke(ON_SOFA)
    page.wait_until_saved()
    with session.lock:
        session.failure = SceneError("Expected another mark.")
        page.stroke(ON_FLOOR)
        page.stroke(ON_WALL)
        page.page.value(
            "snsLabel.store.push({client: snsLabel.store.client, sequence: 7, path: '/api/undo', body: {}}), 0"
        )
        page.page.value(
            "snsLabel.store.push({client: snsLabel.store.client, sequence: 8, path: '/api/undo', body: {}}), 0"
        )
    page.wait_until_saved()
    assert marked_classes(session) == [SOFA]
    assert page.text("toasts") == "Expected another mark."


REFUSED = {  # of a session without questions and imported labels
    "deletion": "'/api/classes', {action: 'delete', with_marks: false}",
    "answer with a class": "'/api/answer', {question: 'q', unit: 1, class_id: 1}",
    "answer with what is painted": "'/api/answer', {question: 'q', unit: 1, painted: true}",
    "answer of a frame": "'/api/answer', {question: 'q', unit: 1}, 0, {isForGood: true}",
    "switch of imported labels": "'/api/import', {is_on: false}",
}


@pytest.mark.parametrize("refused", REFUSED)
def test_an_undo_behind_an_action_that_is_refused_takes_back_nothing_else(
    page: LabelPage, session: SmallSession, refused: str
) -> None:
    page.keys("3")
    page.stroke(ON_SOFA)
    page.wait_until_saved()
    page.page.value(f"snsLabel.store.act({REFUSED[refused]}), snsLabel.store.act('/api/undo', {{}}), 0")
    page.wait_until_saved()
    page.page.wait_until("document.querySelector('.toast.error')")
    assert marked_classes(session) == [SOFA]
    assert page.text("toasts").count("Expected") == 1


def test_an_undo_after_the_answer_of_a_frame_is_not_meant_for_that(page: LabelPage, session: SmallSession) -> None:
    page.keys("3")
    page.stroke(ON_SOFA)
    page.wait_until_saved()
    with session.lock:
        session.failure = SceneError("Expected another mark.")
        page.stroke(ON_FLOOR)
        page.page.value(f"snsLabel.store.act({REFUSED['answer of a frame']}), snsLabel.store.act('/api/undo', {{}}), 0")
    page.wait_until_saved()
    assert marked_classes(session) == [SOFA]
