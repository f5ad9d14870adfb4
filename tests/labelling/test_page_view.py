"""The labelling page in a real browser: zoom, pan, fingers, many strokes, dialogs, small screens."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy import ndarray

from semantic_ns.labelling.marks import Mark
from semantic_ns.labelling.server import LabelServer
from support.label_page import (
    NO_BROWSER,
    ON_SOFA,
    SHIFT,
    SOFA,
    LabelPage,
    is_tinted,
    marked_classes,
    shapes,
)
from support.label_server import mark
from support.label_session import SmallSession

pytestmark = pytest.mark.skipif(NO_BROWSER is not None, reason=str(NO_BROWSER))


@pytest.fixture
def session() -> SmallSession:
    return SmallSession()


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


def test_zoom_is_shown_and_by_keys_keeps_what_is_under_the_pointer(page: LabelPage) -> None:
    def shown() -> tuple[str, str]:
        return page.text("zoom"), page.page.value("`${Math.round(100 * snsLabel.view.scale)} %`")

    assert shown()[0] == shown()[1]
    page.point_at(ON_SOFA)
    at = page.on_screen(ON_SOFA)
    fitted = shown()[0]
    page.keys("+", "+")
    assert shown()[0] == shown()[1] != fitted
    place = page.page.value("snsLabel.view.toScreen(snsLabel.view.pointer.x, snsLabel.view.pointer.y)")
    assert (place["x"], place["y"]) == pytest.approx((at["x"], at["y"]), abs=1)
    page.keys("0")
    assert shown() == (fitted, fitted)


def test_in_the_free_view_zoom_keys_move_and_capital_letters_count(page: LabelPage) -> None:
    page.keys("f")
    page.page.wait_until("snsLabel.view.free && !snsLabel.free.isBusy")
    place = "snsLabel.free.position.join()"
    seen = [page.page.value(place)]
    for key in ("+", "W", "-", "S"):
        page.keys(key)
        seen.append(page.page.value(place))
    assert len(set(seen[:4])) == 4
    assert np.array(seen[0].split(","), float) == pytest.approx(np.array(seen[4].split(","), float))


def test_unsure_parts_are_highlighted_in_the_free_view_too(page: LabelPage, session: SmallSession) -> None:
    session.confidence = lambda frame: np.where(session.labels(frame) >= 0, 0.4, 0.0).astype(np.float32)
    page.keys("3")
    page.stroke(ON_SOFA)
    page.wait_until_saved()
    page.keys("f")
    page.page.wait_until("snsLabel.view.free?.width === 640 && !snsLabel.free.isBusy")
    sofa = [free_place(page, 0.3, 0.65)]
    sofa += [(sofa[0][0] + step, sofa[0][1]) for step in range(1, 7)]
    assert len({tuple(color // 64) for color in page.colors(*sofa)}) == 1
    page.page.click("#highlight button", "Unsure", 20)
    assert len({tuple(color // 64) for color in page.colors(*sofa)}) > 1


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
    assert page.text("export-result") == f"Wrote 6 files to {tmp_path / 'exports' / 'labels_1'}"
    page.page.value("document.getElementById('export-dialog').close()")


def test_an_export_takes_as_long_as_it_takes_and_is_not_asked_for_twice(
    page: LabelPage, session: SmallSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_end, write = threading.Event(), session.export

    def slow(*options: Any) -> list[Path]:
        assert may_end.wait(60)
        return write(*options)

    monkeypatch.setattr(session, "export", slow)
    page.page.value("AbortSignal.timeout = () => AbortSignal.abort()")  # as if any time out were over at once
    page.page.click("button", "Export", 20)
    page.page.value("document.querySelector('#export-form .primary').click()")
    assert page.page.value("document.querySelector('#export-form .primary').disabled")
    may_end.set()
    page.page.wait_until("document.getElementById('export-result').textContent !== 'Writing'")
    assert page.text("export-result").startswith("Wrote 6 files")
    assert not page.page.value("document.querySelector('#export-form .primary').disabled")
    page.page.value("document.getElementById('export-dialog').close()")


def free_place(page: LabelPage, across: float, down: float) -> tuple[float, float]:
    """A place of the picture of the free view by its shares, in pixels."""
    width, height = page.page.value("[snsLabel.view.free.width, snsLabel.view.free.height]")
    return across * width, down * height


def shares(session: SmallSession, number: int) -> ndarray:
    """The middle of a mark as shares of its frame, across and down."""
    rows, columns = np.nonzero(session.pixels[id(session.marks[number][1])])
    return np.array([columns.mean() / session.width, rows.mean() / session.height])


def test_a_mark_in_the_free_view_lies_where_it_was_drawn_though_a_sharper_picture_is_asked_for(
    page: LabelPage, session: SmallSession
) -> None:
    page.keys("f", "3")
    page.page.wait_until("snsLabel.view.free && !snsLabel.free.isBusy")
    page.page.value("snsLabel.free.render(256)")
    at = page.on_screen(free_place(page, 0.3, 0.65))
    page.page.mouse("mouseMoved", at["x"], at["y"])
    page.page.mouse("mousePressed", at["x"], at["y"])
    page.page.value("snsLabel.free.request(640)")
    assert page.page.value("snsLabel.view.free.width") == 256
    page.page.mouse("mouseReleased", at["x"], at["y"])
    page.wait_until_saved()
    assert shares(session, 0) == pytest.approx([0.3, 0.65], abs=0.02)
    page.page.wait_until("snsLabel.view.free.width === 640 && !snsLabel.free.isBusy")
    page.keys("p")
    page.stroke(free_place(page, 0.2, 0.5))
    assert page.page.value("snsLabel.pointer.corners.length") == 1
    page.page.value("snsLabel.free.turn(1, 0)")
    assert page.page.value("snsLabel.pointer.corners") is None


def test_a_guess_is_confirmed_where_the_free_view_shows_it(page: LabelPage, session: SmallSession) -> None:
    page.keys("3")
    page.stroke(ON_SOFA)
    page.wait_until_saved()
    page.keys("f")
    page.page.wait_until("snsLabel.view.free && !snsLabel.free.isBusy")
    page.point_at(free_place(page, 0.4, 0.8))
    page.keys("g")
    page.wait_until_saved()
    assert marked_classes(session) == [SOFA, SOFA]
    assert shares(session, 1) == pytest.approx([0.4, 0.8], abs=0.02)


def test_keys_alone_draw_polygons(page: LabelPage, session: SmallSession) -> None:
    page.page.value("document.getElementById('canvas').focus()")
    page.keys("3", "p")

    def corner(*arrows: str) -> None:
        for arrow in arrows:
            page.page.press(arrow, SHIFT)
        page.keys("Enter")

    for last in ((), ("ArrowUp",) * 3 + ("ArrowLeft",) * 3):
        corner("ArrowUp")
        corner(*("ArrowRight",) * 3)
        page.page.press("Enter", SHIFT)  # two corners are no polygon, and stay
        corner(*("ArrowDown",) * 3)
        if last:
            corner(*last)  # the first corner again
        else:
            page.page.press("Enter", SHIFT)
    page.wait_until_saved()
    assert [shape["kind"] for shape in shapes(session)] == ["polygon", "polygon"]
    assert [len(shape["points"]) for shape in shapes(session)] == [3, 3]


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
