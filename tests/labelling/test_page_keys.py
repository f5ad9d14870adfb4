"""Keys of keyboards that write other signs than an American one does."""

import json
from typing import Any

import pytest

from support.label_page import FLOOR, NO_BROWSER, ON_SOFA, SOFA, LabelPage, marked_classes
from support.label_session import SmallSession

pytestmark = pytest.mark.skipif(NO_BROWSER is not None, reason=str(NO_BROWSER))


@pytest.fixture
def session() -> SmallSession:
    return SmallSession()


def press(page: LabelPage, key: str, code: str, **held: bool) -> None:
    """A key as a browser tells of it: what it writes, and which one of the keyboard it is."""
    event = json.dumps({"key": key, "code": code, "bubbles": True, "cancelable": True, **held})
    page.page.value(f"document.getElementById('canvas').dispatchEvent(new KeyboardEvent('keydown', {event}))")


@pytest.mark.parametrize(
    ("key", "code", "held"),
    [
        ("\u00e9", "Digit2", {}),  # French
        ("\u011b", "Digit2", {}),  # Czech
        ("2", "Digit2", {"shiftKey": True}),
        ("2", "Numpad2", {}),
    ],
)
def test_a_key_of_the_row_of_digits_chooses_its_class(
    page: LabelPage, key: str, code: str, held: dict[str, bool]
) -> None:
    page.keys("3")
    assert page.page.value("snsLabel.look.chosen") == SOFA
    press(page, key, code, **held)
    assert page.page.value("snsLabel.look.chosen") == FLOOR


@pytest.mark.parametrize(("key", "code"), [("-", "Digit6"), ("-", "Digit2"), ("+", "Digit1")])  # French, Czech
def test_signs_that_zoom_choose_no_class_where_they_stand_in_the_row_of_digits(
    page: LabelPage, key: str, code: str
) -> None:
    page.keys("3")
    press(page, key, code)
    assert page.page.value("snsLabel.look.chosen") == SOFA


def test_shift_and_a_digit_of_an_american_keyboard_choose_no_class(page: LabelPage) -> None:
    page.keys("3")
    press(page, "@", "Digit2", shiftKey=True)
    assert page.page.value("snsLabel.look.chosen") == SOFA


@pytest.mark.parametrize("held", [{"ctrlKey": True, "altKey": True}, {"modifierAltGraph": True}])
def test_brackets_that_are_written_with_altgr_change_the_brush(page: LabelPage, held: dict[str, Any]) -> None:
    page.keys("3")
    radius = page.page.value("snsLabel.tool.radius")
    press(page, "[", "Digit8", **held)
    assert page.page.value("snsLabel.tool.radius") == pytest.approx(radius / 1.2)
    press(page, "]", "Digit9", **held)
    assert page.page.value("snsLabel.tool.radius") == pytest.approx(radius)
    assert page.page.value("snsLabel.look.chosen") == SOFA


def test_letters_of_another_script_do_what_their_keys_do(page: LabelPage, session: SmallSession) -> None:
    press(page, "\u0440", "KeyH")  # held; a letter that looks like another one
    assert page.page.value("snsLabel.look.hidden")
    page.page.value("dispatchEvent(new Event('blur'))")
    press(page, "\u0441", "KeyC")
    assert page.page.value("snsLabel.tool.shape") == "click"
    page.keys("3")
    page.stroke(ON_SOFA)
    page.wait_until_saved()
    assert marked_classes(session) == [SOFA]
    press(page, "\u044f", "KeyZ", ctrlKey=True)
    page.page.wait_until("snsLabel.store.state.revision === 2")
    assert session.marks == []
