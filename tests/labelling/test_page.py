"""The labelling page in a real browser: strokes, keys, undo, two pages, a server that goes and comes back."""

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy import ndarray

from semantic_ns.labelling.marks import Mark
from semantic_ns.labelling.server import LabelServer
from support.fresh_process import ROOT
from support.label_server import mark, serving
from support.label_session import SmallSession

sys.path.insert(0, str(ROOT / "scripts"))
from browser import ALT, BROWSERS, CONTROL, SHIFT, Page, installed_browser, open_browser

if installed_browser() is None:
    pytest.skip(f"needs one of {', '.join(BROWSERS)} on PATH", allow_module_level=True)

WALL, FLOOR, SOFA = 0, 1, 2
ON_SOFA, ON_WALL, ON_FLOOR = (48.0, 78.0), (20.0, 20.0), (120.0, 110.0)
"""Places of the first frame, in its pixels."""


class LabelPage:
    """The page, as a person uses it: places are pixels of the frame that is shown."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def show(self) -> None:
        """Bring the tab to the front: nothing is drawn in another one."""
        self.page.call("Page.bringToFront")

    def open(self, address: str, width: int = 1280, height: int = 720, ratio: float = 1.0) -> None:
        self.page.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=ratio, mobile=False
        )
        self.show()
        self.page.call("Page.navigate", url="about:blank")
        self.page.wait_until("location.href === 'about:blank'")
        self.page.call("Page.navigate", url=address)
        self.wait_until_ready()

    def reload(self) -> None:
        self.page.value("delete document.documentElement.dataset.ready")
        self.page.call("Page.reload")
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        self.page.wait_until("document.documentElement.dataset.ready && snsLabel.view.picture")

    def on_screen(self, place: tuple[float, float]) -> dict[str, float]:
        return self.page.value(f"snsLabel.view.toScreen({place[0]}, {place[1]})")

    def stroke(self, *places: tuple[float, float], button: str = "left") -> None:
        self.show()
        points = [self.on_screen(place) for place in places]
        self.page.mouse("mouseMoved", points[0]["x"], points[0]["y"])
        self.page.mouse("mousePressed", points[0]["x"], points[0]["y"], button)
        for point in points[1:]:
            self.page.mouse("mouseMoved", point["x"], point["y"], button, buttons=1 if button == "left" else 2)
        self.page.mouse("mouseReleased", points[-1]["x"], points[-1]["y"], button)

    def point_at(self, place: tuple[float, float]) -> None:
        point = self.on_screen(place)
        self.page.mouse("mouseMoved", point["x"], point["y"], "none")
        # Moves come with the next picture that is drawn.
        near = f"Math.hypot(snsLabel.view.pointer.x - {place[0]}, snsLabel.view.pointer.y - {place[1]}) < 1"
        self.page.wait_until(f"snsLabel.view.pointer && {near}")

    def keys(self, *keys: str, modifiers: int = 0) -> None:
        for key in keys:
            self.page.press(key, modifiers)

    def wait_until_saved(self) -> None:
        self.page.wait_until(
            "!snsLabel.store.queue.length && !snsLabel.store.isPumping"
            " && document.getElementById('state').dataset.kind === 'saved'"
            " && snsLabel.store.layers.get(snsLabel.store.shown)?.revision >= snsLabel.store.state.revision"
        )

    def colors(self, *places: tuple[float, float]) -> ndarray:
        """What is on the screen at places, [places, 3], after the page has drawn what it knows, without the brush."""
        self.show()
        self.page.mouse("mouseMoved", 300, 5, "none")
        self.page.value("new Promise(done => snsLabel.view.afterDraw(() => requestAnimationFrame(done)))")
        screen = self.page.screenshot()
        ratio = self.page.value("devicePixelRatio")
        points = [self.on_screen(place) for place in places]
        return np.array([screen[int(ratio * point["y"]), int(ratio * point["x"])] for point in points]).astype(int)

    def text(self, id_: str) -> str:
        return self.page.value(f"document.getElementById('{id_}').textContent")


@pytest.fixture(scope="module")
def another_page() -> Iterator[Callable[[], LabelPage]]:
    with open_browser(60) as another:
        yield lambda: LabelPage(another())


@pytest.fixture(scope="module")
def one_page(another_page: Callable[[], LabelPage]) -> LabelPage:
    return another_page()


@pytest.fixture(scope="module")
def other_page(another_page: Callable[[], LabelPage], one_page: LabelPage) -> LabelPage:
    return another_page()


@pytest.fixture
def session() -> SmallSession:
    return SmallSession()


@pytest.fixture
def server(session: SmallSession, tmp_path: Path) -> Iterator[LabelServer]:
    with serving(session, tmp_path) as running:
        yield running


@pytest.fixture
def page(one_page: LabelPage, server: LabelServer) -> LabelPage:
    one_page.open(server.address)
    return one_page


def shapes(session: SmallSession) -> list[dict[str, Any]]:
    return [dict(one.shape) for _, one in session.marks]


def marked_classes(session: SmallSession) -> list[int | None]:
    return [one.class_id for _, one in session.marks]


def is_tinted(color: ndarray, before: ndarray, class_color: Sequence[int]) -> bool:
    """Whether a colour lies between what was there and a class colour, nearer to it by a third at least."""
    target = np.array(class_color)
    return bool(np.abs(color - target).sum() < 0.67 * np.abs(before - target).sum())


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
    page.page.value("document.querySelector('li[data-id=\"1\"] [data-part=lock]').click()")
    page.page.wait_until("snsLabel.store.classOf(1).is_locked")
    assert page.page.value("document.querySelectorAll('#classes li').length") == 6
    assert page.page.value("window.hit === undefined && !document.querySelector('#classes img')")


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


@pytest.mark.parametrize(("scale", "ratio"), [(0.5, 2.0), (1.0, 1.0), (3.0, 1.0), (3.0, 2.0)])
def test_strokes_stay_in_place_at_any_zoom_and_pixel_ratio(
    one_page: LabelPage, server: LabelServer, session: SmallSession, scale: float, ratio: float
) -> None:
    page = one_page
    page.open(server.address, ratio=ratio)
    page.page.value(f"snsLabel.view.zoomTo({scale}); snsLabel.view.pan(13.5, -7.25)")
    before = page.colors(ON_SOFA)
    page.keys("3")
    page.stroke(ON_SOFA, (60.0, 80.0))
    page.wait_until_saved()
    points = np.array(shapes(session)[0]["points"])
    assert np.abs(points[[0, -1]] - [ON_SOFA, (60.0, 80.0)]).max() <= 1 / (scale * ratio)
    assert is_tinted(page.colors(ON_SOFA)[0], before[0], session.classes[SOFA].color)
    # Another zoom shows the same labels at the same pixels of the image.
    page.page.value("snsLabel.view.zoomTo(4.4); snsLabel.view.pan(-20, 10)")
    shown = page.colors(ON_SOFA, (15.5, 54.0), (16.5, 55.5))  # in the sofa; beside and inside of its upper left corner
    page.page.value("snsLabel.look.hidden = true; snsLabel.view.request()")
    plain = page.colors(ON_SOFA, (15.5, 54.0), (16.5, 55.5))
    assert [bool(changed) for changed in np.abs(shown - plain).max(1) > 20] == [True, False, True]


def test_the_wheel_zooms_at_the_pointer_and_a_touchpad_pans(page: LabelPage) -> None:
    at = page.on_screen(ON_SOFA)
    scale = page.page.value("snsLabel.view.scale")
    page.page.mouse("mouseWheel", at["x"], at["y"], "none", deltaX=0, deltaY=-100)
    page.page.wait_until(f"snsLabel.view.scale > {scale}")
    after = page.on_screen(ON_SOFA)
    assert (after["x"], after["y"]) == pytest.approx((at["x"], at["y"]), abs=1)  # of whole pixels of the screen
    page.page.mouse("mouseWheel", at["x"], at["y"], "none", deltaX=20, deltaY=30)
    page.page.wait_until(f"Math.abs(snsLabel.view.toScreen({ON_SOFA[0]}, 0).x - {after['x'] - 20}) < 1e-3")


def test_space_and_the_middle_button_move_the_image_and_mark_nothing(page: LabelPage, session: SmallSession) -> None:
    at = page.on_screen(ON_SOFA)
    page.page.call("Input.dispatchKeyEvent", type="keyDown", key=" ", text=" ")
    page.stroke(ON_SOFA, (58.0, 78.0))
    page.page.call("Input.dispatchKeyEvent", type="keyUp", key=" ")
    moved = page.on_screen(ON_SOFA)
    assert moved["x"] - at["x"] == pytest.approx(10 * page.page.value("snsLabel.view.scale"), abs=1e-3)
    page.stroke((58.0, 78.0), ON_SOFA, button="middle")
    assert page.on_screen(ON_SOFA)["x"] == pytest.approx(at["x"], abs=1e-3)
    assert session.marks == []


def test_two_fingers_zoom_and_one_draws(page: LabelPage, session: SmallSession) -> None:
    def touch(kind: str, *places: tuple[float, float]) -> None:
        points = [{**self_on_screen, "id": number} for number, self_on_screen in enumerate(places_on_screen(places))]
        page.page.call("Input.dispatchTouchEvent", type=kind, touchPoints=points)

    def places_on_screen(places: Sequence[tuple[float, float]]) -> list[dict[str, float]]:
        return [page.on_screen(place) for place in places]

    page.keys("3")
    scale = page.page.value("snsLabel.view.scale")
    touch("touchStart", (40.0, 60.0), (60.0, 60.0))
    touch("touchMove", (30.0, 60.0), (70.0, 60.0))
    touch("touchEnd")
    page.page.wait_until(f"snsLabel.view.scale > 1.5 * {scale}")
    touch("touchStart", ON_SOFA)
    touch("touchMove", (52.0, 78.0))
    touch("touchEnd")
    page.wait_until_saved()
    assert marked_classes(session) == [SOFA]


def test_five_hundred_strokes_are_drawn_as_one_is(page: LabelPage, session: SmallSession) -> None:
    """Work of the page grows with the pixels of the frame and not with its strokes."""
    for number in range(500):
        x, y = 5 + number % 150, 20 + number % 80
        stroke = {"kind": "stroke", "points": [[x, y], [x + 4, y + 4]], "radius": 2}
        session.add_mark(Mark.from_json(mark(0, number % 6, shape=stroke)), "another", number)
    page.keys("3")
    page.stroke(ON_SOFA)
    page.wait_until_saved()
    assert page.text("marks") == "501"
    calls = page.page.value(
        "(() => { let n = 0; const kept = snsLabel.view.context.stroke; snsLabel.view.context.stroke ="
        " function (...a) { n++; return kept.apply(this, a); }; snsLabel.view.colorLabels(); snsLabel.view.draw();"
        " delete snsLabel.view.context.stroke; return n; })()"
    )
    assert calls <= 2  # the circle of the brush


def test_help_names_all_keys_and_buttons_have_names(page: LabelPage) -> None:
    page.keys("?")
    page.page.wait_until("document.getElementById('help-dialog').open")
    lines = page.page.value("[...document.querySelectorAll('#keys span:first-child')].map(e => e.textContent)")
    assert {"Undo your last action", "Next frame without marks", "Polygon"} <= set(lines)
    page.keys("Escape")
    nameless = page.page.value(
        "[...document.querySelectorAll('button')].filter(b => !(b.textContent.trim() || b.getAttribute('aria-label')"
        " || b.getAttribute('aria-labelledby'))).map(b => b.outerHTML)"
    )
    assert nameless == []


def test_the_export_says_where_it_wrote(page: LabelPage, session: SmallSession, tmp_path: Path) -> None:
    page.page.click("button", "Export", 20)
    page.page.value("document.querySelector('#export-form .primary').click()")
    page.page.wait_until("document.getElementById('export-result').textContent.startsWith('Wrote')")
    assert page.text("export-result") == f"Wrote 6 files to {tmp_path / 'labels_1'}"
    page.page.value("document.getElementById('export-dialog').close()")


def test_frames_are_suggested_when_asked_for(page: LabelPage) -> None:
    assert page.text("ranked") == ""
    page.page.value("document.getElementById('suggest').click()")
    page.page.wait_until("document.querySelectorAll('#ranked li').length === 6")
    page.page.value("document.querySelector('#ranked button').click()")
    assert page.text("frame-name").split()[-1] in page.text("ranked")


def test_the_page_fits_a_small_screen(one_page: LabelPage, server: LabelServer) -> None:
    for width, height in ((1280, 720), (1024, 600)):
        one_page.open(server.address, width, height)
        overflow = one_page.page.value(
            "[document.documentElement.scrollWidth - innerWidth, document.documentElement.scrollHeight - innerHeight]"
        )
        assert max(overflow) <= 0
        box = one_page.page.value(
            "(b => [b.right, b.bottom])(document.getElementById('stage').getBoundingClientRect())"
        )
        assert box[0] < width
        assert box[1] < height
