"""What waits in a page: undo and redo of it, classes that are being added, and another session at the same address."""

from pathlib import Path

import pytest

from semantic_ns.labelling.server import LabelServer
from support.label_page import (
    CONTROL,
    FLOOR,
    NO_BROWSER,
    ON_FLOOR,
    ON_SOFA,
    ON_WALL,
    SHIFT,
    SOFA,
    WALL,
    LabelPage,
    marked_classes,
)
from support.label_server import serving
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
    another = SmallSession(num_frames=4, names=("sky", "car", "road", "tree", "sign", "man"))
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
