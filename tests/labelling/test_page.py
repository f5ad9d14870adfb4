"""The labelling page in a real browser: marks, keys, undo, two pages, a server that goes and comes back."""

from pathlib import Path

import numpy as np
import pytest

from semantic_ns.labelling.in_force import ImportInForce
from semantic_ns.labelling.marks import Mark
from semantic_ns.labelling.server import LabelServer
from support.label_page import (
    ALT,
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
    is_tinted,
    marked_classes,
    shapes,
)
from support.label_server import mark, serving
from support.label_session import SmallSession

pytestmark = pytest.mark.skipif(NO_BROWSER is not None, reason=str(NO_BROWSER))


@pytest.fixture
def session() -> SmallSession:
    return SmallSession()


def test_a_stroke_colours_the_object_under_the_pointer_and_nothing_else(page: LabelPage, session: SmallSession) -> None:
    before = page.colors(ON_SOFA, ON_WALL)
    page.keys("3")
    page.stroke(ON_SOFA, (60.0, 80.0))
    page.wait_until_saved()
    ((_, made),) = session.marks
    assert (made.class_id, made.frame, made.action) == (SOFA, 0, "paint")
    assert np.abs(np.array(shapes(session)[0]["points"][0]) - ON_SOFA).max() < 0.5
    after = page.colors(ON_SOFA, ON_WALL)
    assert is_tinted(after[0], before[0], session.classes[SOFA].color)
    assert np.abs(after[1] - before[1]).max() <= 2
    assert (page.text("marks"), page.text("frames-marked")) == ("1", "1 of 6")


def test_the_class_under_the_pointer_is_told_though_the_pointer_rests(page: LabelPage, session: SmallSession) -> None:
    page.keys("3")
    page.point_at(ON_SOFA)
    assert page.text("under").endswith("No label")
    session.add_mark(Mark.from_json(mark(0, SOFA, *ON_SOFA)), "another", 1)
    page.page.wait_until("document.getElementById('under').textContent.endsWith('sofa')")


def test_what_is_fitted_meanwhile_shows_though_nobody_acts(page: LabelPage, session: SmallSession) -> None:
    page.keys("3")
    page.stroke(ON_SOFA)
    page.wait_until_saved()
    before = page.colors(ON_WALL)
    with session.lock:
        session.alike, session.fitted = FLOOR, "a"
    page.page.wait_until("snsLabel.store.state.surface === '100-a'")
    page.page.wait_until("snsLabel.store.layers.get(0).revision === 1")
    assert is_tinted(page.colors(ON_WALL)[0], before[0], session.classes[FLOOR].color)
    assert session.revision == 1


def test_a_stroke_is_on_the_screen_before_the_server_answers(page: LabelPage, session: SmallSession) -> None:
    before = page.colors(ON_SOFA)
    with session.lock:  # nothing is answered meanwhile
        page.keys("3")
        page.stroke(ON_SOFA, (60.0, 80.0))
        assert is_tinted(page.colors(ON_SOFA)[0], before[0], session.classes[SOFA].color)
        assert page.text("state-text") == "Sending"
        assert session.revision == 0
    page.wait_until_saved()
    assert page.text("state-text") == "Saved"


def test_undo_and_redo_by_keys_and_after_a_reload(page: LabelPage, session: SmallSession) -> None:
    before = page.colors(ON_SOFA)
    page.keys("3")
    page.stroke(ON_SOFA)
    page.wait_until_saved()
    page.keys("z", modifiers=CONTROL)
    page.page.wait_until("snsLabel.store.state.revision === 2")
    page.wait_until_saved()
    assert session.marks == []
    assert np.abs(page.colors(ON_SOFA) - before).max() <= 2
    page.keys("Z", modifiers=CONTROL | SHIFT)
    page.page.wait_until("snsLabel.store.state.revision === 3")
    page.wait_until_saved()
    assert len(session.marks) == 1
    page.reload()
    page.wait_until_saved()
    assert is_tinted(page.colors(ON_SOFA)[0], before[0], session.classes[SOFA].color)
    page.keys("z", modifiers=CONTROL)
    page.page.wait_until("snsLabel.store.state.revision === 4")
    assert session.marks == []


def test_every_tool_makes_its_mark(page: LabelPage, session: SmallSession) -> None:
    page.keys("1", "c")
    page.stroke(ON_WALL)
    page.keys("2", "p")
    for corner in ((90.0, 95.0), (140.0, 95.0), (140.0, 112.0), (1.0, 1.0)):
        page.stroke(corner)
    page.keys("Backspace", "Enter")
    page.keys("3", "r")
    page.page.wait_until("snsLabel.view.regionMap")
    page.stroke(ON_SOFA, (66.0, 78.0))
    page.keys("b", "v")
    page.stroke((10.0, 10.0), (20.0, 10.0))
    page.keys("v", "e")
    page.stroke((10.0, 10.0))
    page.keys("e")
    page.stroke((30.0, 10.0), button="right")
    page.wait_until_saved()
    assert [shape["kind"] for shape in shapes(session)] == ["click", "polygon", "region", *["stroke"] * 3]
    found = [(one.action, one.class_id) for _, one in session.marks]
    assert found == [
        ("paint", WALL),
        ("paint", FLOOR),
        ("paint", SOFA),
        ("void", None),
        ("erase", None),
        ("erase", None),
    ]
    assert len(shapes(session)[1]["points"]) == 3
    regions = session.regions(0)
    assert set(shapes(session)[2]["region_ids"]) == {regions[78, 48], regions[78, 66]}


def test_a_polygon_and_a_stroke_are_given_up_by_escape(page: LabelPage, session: SmallSession) -> None:
    page.keys("1", "p")
    page.stroke(ON_WALL)
    page.stroke(ON_FLOOR)
    page.keys("Escape", "Enter", "b")
    page.page.value("snsLabel.pointer.begin({x: 5, y: 5})")
    page.keys("Escape")
    page.stroke((-12.0, 50.0))  # beside the image
    page.keys("2")
    page.stroke(ON_FLOOR)
    page.wait_until_saved()
    assert marked_classes(session) == [FLOOR]


@pytest.mark.parametrize("button", ["right", "middle"])
def test_another_button_leaves_a_polygon_as_it_is(page: LabelPage, session: SmallSession, button: str) -> None:
    page.keys("2", "p")
    for corner in ((90.0, 95.0), (140.0, 95.0), (140.0, 112.0)):
        page.stroke(corner)
        page.stroke((100.0, 100.0), button=button)
    page.keys("Enter")
    page.wait_until_saved()
    assert [(one.action, one.class_id) for _, one in session.marks] == [("paint", FLOOR)]
    assert shapes(session)[0]["points"] == [[90, 95], [140, 95], [140, 112]]


def test_imported_labels_are_switched_off_and_on(page: LabelPage, session: SmallSession) -> None:
    shown = "!document.getElementById('import-line').hidden"
    assert not page.page.value(shown)
    session.imported = ImportInForce("predictions", "", 0.1, (), is_on=True)
    page.stroke(ON_WALL)
    page.page.wait_until(shown)
    for expected in (False, True):
        page.page.value("document.getElementById('import').click()")
        page.wait_until_saved()
        assert session.imported.is_on is expected
        assert (
            page.page.value("document.getElementById('import').getAttribute('aria-checked')") == str(expected).lower()
        )


def test_the_keyboard_alone_labels(page: LabelPage, session: SmallSession) -> None:
    page.page.value("document.getElementById('canvas').focus()")
    page.keys("2")
    radius = page.page.value("snsLabel.pointer.radius")
    page.page.press("ArrowDown", SHIFT)
    page.page.press("ArrowRight", SHIFT)
    page.keys("Enter")
    page.wait_until_saved()
    assert shapes(session)[0]["points"] == [[80 + radius, 60 + radius]]
    page.keys("ArrowRight", "ArrowRight", "ArrowLeft")
    assert page.text("frame-name").split() == ["2", "/", "6", "frame_001"]
    page.keys("n")
    assert page.text("frame-name").split()[0] == "3"


def test_brush_size_hidden_labels_and_the_guess_under_the_pointer(page: LabelPage, session: SmallSession) -> None:
    radius = page.page.value("snsLabel.pointer.radius")
    page.keys("]", "]", "[")
    assert page.page.value("snsLabel.pointer.radius") == pytest.approx(1.2 * radius)
    before = page.colors(ON_SOFA)
    page.keys("3")
    page.stroke(ON_SOFA)
    page.wait_until_saved()
    page.keys("1")
    page.point_at((20.0, 90.0))  # also on the sofa: spread, not painted
    page.keys("g")
    page.wait_until_saved()
    assert marked_classes(session) == [SOFA, SOFA]
    page.keys("i")
    assert page.page.value("snsLabel.look.chosen") == SOFA
    page.point_at(ON_WALL)
    page.page.call("Input.dispatchKeyEvent", type="keyDown", key="h", text="h")
    assert np.abs(page.colors(ON_SOFA) - before).max() <= 2
    page.page.call("Input.dispatchKeyEvent", type="keyUp", key="h")
    assert np.abs(page.colors(ON_SOFA) - before).max() > 20


def test_only_this_class_and_what_has_no_label_are_shown(page: LabelPage, session: SmallSession) -> None:
    plain = page.colors(ON_SOFA, ON_FLOOR)
    page.keys("3")
    page.stroke(ON_SOFA)
    page.keys("2")
    page.stroke(ON_FLOOR)
    page.wait_until_saved()
    page.keys("o")
    shown = page.colors(ON_SOFA, ON_FLOOR)
    assert np.abs(shown[0] - plain[0]).max() <= 2
    assert np.abs(shown[1] - plain[1]).max() > 20
    page.keys("o")
    page.page.click("#highlight button", "No label", 20)
    stripes = page.colors(*[(x, 20.0) for x in np.arange(20.5, 32.5)])
    assert len({tuple(color // 64) for color in stripes}) > 1
    page.page.click("#highlight button", "Unsure", 20)
    page.page.wait_until("snsLabel.store.layers.get(0).confidence")


def test_classes_are_added_found_and_renamed_and_names_stay_text(page: LabelPage, session: SmallSession) -> None:
    name = "<img src=x onerror='window.hit=1'> \"☂\""
    page.keys("/")
    page.page.call("Input.insertText", text=name)
    page.keys("Enter")
    page.page.wait_until("snsLabel.look.chosen === 6")
    assert session.classes[6].name == name
    page.keys("/")
    page.page.call("Input.insertText", text="flo")
    page.keys("Enter")
    assert page.page.value("snsLabel.look.chosen") == FLOOR
    page.page.value("document.querySelector('li[data-id=\"6\"] [data-part=edit]').click()")
    page.page.value("document.getElementById('class-name').value = 'umbrella'")
    page.page.value("document.getElementById('class-into').value = '1'")
    page.page.click("#class-form button", "Save", 20)
    page.page.wait_until("snsLabel.store.state.revision === 3")
    assert (session.classes[6].name, session.classes[6].merged_into) == ("umbrella", FLOOR)
    page.page.value("document.querySelector('li[data-id=\"1\"] [data-part=edit]').click()")
    page.page.click("#class-parts button", "Split off", 20)
    page.page.wait_until("snsLabel.store.state.revision === 4")
    assert (session.classes[6].name, session.classes[6].merged_into) == ("umbrella", None)
    page.page.value("document.querySelector('li[data-id=\"1\"] [data-part=lock]').click()")
    page.page.wait_until("snsLabel.store.classOf(1).is_locked")
    assert page.page.value("document.querySelectorAll('#classes li').length") == 7
    assert page.page.value("window.hit === undefined && !document.querySelector('#classes img')")


def test_a_mark_beside_the_surface_is_told(page: LabelPage, session: SmallSession) -> None:
    session.has_surface = False
    page.stroke(ON_WALL)
    page.page.wait_until("document.querySelector('.toast.info')")
    assert "no surface" in page.text("toasts")
    assert len(session.marks) == 1


def test_the_free_view_moves_and_is_labelled(page: LabelPage, session: SmallSession) -> None:
    page.keys("f")
    page.page.wait_until("snsLabel.view.free")
    x = page.page.value("snsLabel.free.position[0]")
    page.keys("d", "d", "d")
    page.page.wait_until(f"snsLabel.free.position[0] > {x} && snsLabel.view.free.width === 640")
    before = page.page.value("snsLabel.free.rotation[0]")
    page.stroke((100.0, 100.0), (140.0, 100.0), button="right")
    assert page.page.value("snsLabel.free.rotation[0]") != before
    assert session.marks == []
    page.page.wait_until("!snsLabel.free.isBusy && snsLabel.view.free.width === 640")
    sofa = page.page.value("[0.3 * snsLabel.view.free.width, 0.65 * snsLabel.view.free.height]")
    page.keys("3")
    page.stroke((sofa[0], sofa[1]), (sofa[0] + 20, sofa[1]))
    page.wait_until_saved()
    assert marked_classes(session) == [SOFA]
    at = f"snsLabel.view.at(snsLabel.view.free.labels, {{x: {sofa[0]}, y: {sofa[1]}}})"
    page.page.wait_until(f"{at} === {SOFA}")
    page.keys("f")
    assert page.page.value("snsLabel.view.free === null")
    assert page.text("frame-name").split()[-1] == "frame_000"


def test_keys_of_classes_are_given_and_kept(page: LabelPage) -> None:
    page.page.value("snsLabel.store.act('/api/classes', {action: 'add', name: 'tenth', color: null})")
    page.page.wait_until("snsLabel.store.classes.length === 7")
    page.keys("6")
    page.page.call("Input.dispatchKeyEvent", type="keyDown", key="1", code="Digit1", modifiers=ALT)
    page.keys("2")
    page.keys("1")
    assert page.page.value("snsLabel.look.chosen") == 5
    page.reload()
    page.keys("2")
    assert page.page.value("snsLabel.look.chosen") == 0  # the first of those that were given none
    page.keys("1")
    assert page.page.value("snsLabel.look.chosen") == 5


def test_a_second_page_sees_what_the_first_one_marks(
    page: LabelPage, other_page: LabelPage, server: LabelServer, session: SmallSession
) -> None:
    other_page.open(server.address)
    before = other_page.colors(ON_SOFA)
    page.keys("3")
    page.stroke(ON_SOFA)
    other_page.show()  # a tab that nobody sees asks for nothing
    other_page.page.wait_until("snsLabel.store.state.revision === 1")
    other_page.wait_until_saved()
    assert is_tinted(other_page.colors(ON_SOFA)[0], before[0], session.classes[SOFA].color)
    other_page.page.value("snsLabel.store.act('/api/undo', {})")
    other_page.page.wait_until("document.querySelector('.toast.error')")  # it has nothing of its own to undo
    assert len(session.marks) == 1
    other_page.page.call("Page.navigate", url="about:blank")


def test_marks_made_while_the_server_is_away_are_sent_when_it_is_back(
    one_page: LabelPage, session: SmallSession, tmp_path: Path
) -> None:
    page = one_page
    with serving(session, tmp_path) as server:
        page.open(server.address)
        page.keys("3")
        page.stroke(ON_SOFA)
        page.wait_until_saved()
    page.page.wait_until("document.getElementById('state').dataset.kind === 'offline'")
    page.keys("1")
    page.stroke(ON_WALL)
    page.keys("2")
    page.stroke(ON_FLOOR)
    page.stroke((130.0, 110.0))
    page.keys("z", modifiers=CONTROL)  # takes back what was never sent
    page.page.wait_until("document.getElementById('state-text').textContent === 'Offline: 2 marks wait'")
    assert len(session.marks) == 1
    with serving(session, tmp_path, port=server.port):
        page.wait_until_saved()
        assert marked_classes(session) == [SOFA, WALL, FLOOR]
        kept = "Object.keys(localStorage).filter(name => name.startsWith(snsLabel.store.place))"
        assert page.page.value(kept) == []


def test_marks_of_a_page_that_was_closed_offline_are_sent_by_the_next_one(
    one_page: LabelPage, session: SmallSession, tmp_path: Path
) -> None:
    page = one_page
    with serving(session, tmp_path) as server:
        page.open(server.address)
    page.page.wait_until("document.getElementById('state').dataset.kind === 'offline'")
    page.keys("1")
    page.stroke(ON_WALL)
    page.page.wait_until("snsLabel.store.queue.length === 1")
    with serving(session, tmp_path, port=server.port):
        page.page.value("sessionStorage.clear()")  # as another tab
        page.open(server.address)
        page.wait_until_saved()
    assert marked_classes(session) == [WALL]


def test_a_refused_mark_is_told_and_leaves_the_screen(page: LabelPage, session: SmallSession) -> None:
    before = page.colors(ON_SOFA)
    page.page.value("snsLabel.look.chosen = 77")
    page.stroke(ON_SOFA)
    page.page.wait_until("document.querySelector('.toast.error')")
    assert "Expected the number of a class, found 77" in page.text("toasts")
    page.wait_until_saved()
    assert np.abs(page.colors(ON_SOFA) - before).max() <= 2
