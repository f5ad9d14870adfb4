"""Regions that the session suggests, in the page in a real browser."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from semantic_ns.errors import SceneError
from semantic_ns.labelling.questions import QuestionFolder
from semantic_ns.labelling.session import LabelSession
from support.label_actions import FRAMES, WALL, click
from support.label_page import CONTROL, NO_BROWSER, ON_WALL, SOFA, LabelPage, marked_classes, shapes
from support.label_questions import Asked
from support.label_server import serving
from support.label_session import SmallSession
from support.label_surfaces import truth

pytestmark = pytest.mark.skipif(NO_BROWSER is not None, reason=str(NO_BROWSER))
LIT = "snsLabel.regions.current?.mask && snsLabel.view.question"


@pytest.fixture
def session() -> SmallSession:
    return SmallSession()


def suggest(page: LabelPage) -> None:
    page.page.value("document.getElementById('suggest').click()")
    page.page.wait_until("document.querySelectorAll('#ranked-regions li').length")


def lit(page: LabelPage) -> tuple[int, float, float]:
    """Frame and place of the region that is lit."""
    page.page.wait_until(LIT)
    return tuple(page.page.value("(({frame, x, y}) => [frame, x, y])(snsLabel.regions.current.rank)"))


def test_one_key_confirms_the_guess_for_a_region_and_undo_takes_that_back(
    opened: Callable[..., LabelSession], tmp_path: Path, one_page: LabelPage
) -> None:
    session, page = opened(), one_page
    session.add_mark(click(0, WALL, 3, 3), "x", 0)
    (first, *_) = session.ranked_regions()
    before = [session.labels(frame) for frame in range(FRAMES)]
    with serving(session, tmp_path / "exports") as server:
        page.open(server.address)
        suggest(page)
        page.keys("k")
        assert lit(page) == (first.frame, first.x, first.y)
        assert page.text("frame-name").split()[0] == str(first.frame + 1)
        assert page.page.value("snsLabel.view.question.disc.text") == "wall?"
        page.keys("y")
        page.page.wait_until("snsLabel.store.state.progress.num_marks === 2")
        assert lit(page) != (first.frame, first.x, first.y)
        painted = session.painted(first.frame)
        assert painted[int(first.y), int(first.x)] == WALL
        is_color = truth(FRAMES)[first.frame] == truth(FRAMES)[first.frame, int(first.y), int(first.x)]
        assert (session.labels(first.frame)[is_color] == WALL).mean() > 0.95
        page.keys("z", modifiers=CONTROL)
        page.page.wait_until("snsLabel.store.state.progress.num_marks === 1")
    assert all((session.labels(frame) == before[frame]).all() for frame in range(FRAMES))


def test_what_is_not_of_the_region_is_darkened_until_somebody_else_labels_the_region(
    page: LabelPage, session: SmallSession
) -> None:
    (first, *_) = session.ranked_regions()
    pixels = session.ranked_region_at(first.frame, first.x, first.y)
    places = [(5.0, 115.0), (5.0, 5.0), (155.0, 115.0)]
    is_region = np.array([pixels[int(y), int(x)] for x, y in places])
    assert {*is_region} == {True, False}
    page.page.value(f"snsLabel.goTo({first.frame})")
    page.page.wait_until("snsLabel.view.picture")
    before = page.colors(*places).sum(axis=1)
    suggest(page)
    page.keys("k")
    assert lit(page) == (first.frame, first.x, first.y)
    after = page.colors(*places).sum(axis=1)
    assert np.abs(after - before)[is_region].max() <= 6
    assert (after < 0.75 * before)[~is_region].all()
    session.add_mark(click(first.frame, SOFA, first.x, first.y), "x", 1)
    page.page.wait_until("snsLabel.regions.current === null && snsLabel.view.question === null")
    assert lit_places(page) == [(rank.frame, rank.x, rank.y) for rank in session.ranked_regions()]


def test_regions_are_ranked_only_when_they_are_asked_for(
    page: LabelPage, session: SmallSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, ranked = [], session.ranked_regions
    monkeypatch.setattr(session, "ranked_regions", lambda: asked.append(0) or ranked())
    page.keys("k")
    page.page.wait_until("document.querySelector('.toast.info')")
    assert "Switch on Suggest" in page.text("toasts")
    page.keys("y", "u")
    page.stroke(ON_WALL)
    page.wait_until_saved()
    assert (asked, len(session.marks)) == ([], 1)
    suggest(page)
    page.keys("k")
    lit(page)
    page.page.value("document.getElementById('suggest').click()")
    assert page.page.value("snsLabel.regions.current === null && snsLabel.view.question === null")
    assert page.text("ranked-regions") == ""


def test_skipped_regions_and_refused_answers_wait_behind_the_others(page: LabelPage, session: SmallSession) -> None:
    suggest(page)
    page.keys("3")
    count = page.page.value("snsLabel.regions.ranked.length")
    seen = []
    for number in range(count + 1):
        page.keys("k")
        page.page.wait_until(f"{LIT} && snsLabel.regions.skipped.length === {number if number < count else 1}")
        seen.append(lit(page))
    assert len({*seen[:count]}) == count
    assert seen[count] == seen[0]
    page.keys("k")
    page.page.wait_until(f"{LIT} && snsLabel.regions.skipped.length === 2")
    session.failure = SceneError("Expected another mark.")
    page.keys("u")
    page.page.wait_until(f"{LIT} && snsLabel.regions.skipped.length === 3")
    assert lit(page) == seen[2]
    assert session.marks == []
    page.keys("u")
    page.page.wait_until("snsLabel.store.state.progress.num_marks === 1")
    assert lit(page) == seen[3]
    assert (marked_classes(session), shapes(session)[0]["kind"]) == ([SOFA], "click")


def lit_places(page: LabelPage) -> list[tuple[int, float, float]]:
    return [tuple(one) for one in page.page.value("snsLabel.regions.ranked.map(({frame, x, y}) => [frame, x, y])")]


def test_keys_answer_what_is_lit_where_a_run_and_the_session_both_ask(tmp_path: Path, one_page: LabelPage) -> None:
    asked = Asked(tmp_path)
    session, page = asked.session(), one_page
    questions = QuestionFolder(asked.folder, session)
    with serving(session, tmp_path / "exports", questions=questions) as server:
        page.open(server.address)
        page.page.wait_until("snsLabel.questions.open.length === 3")
        suggest(page)
        page.keys("j", "k")
        lit(page)
        assert page.page.value("snsLabel.questions.current === null")
        page.keys("u")
        page.wait_until_saved()
        assert [shape["kind"] for shape in shapes(session)] == ["click"]
        lit(page)
        page.keys("j")
        page.page.wait_until("snsLabel.questions.current && snsLabel.view.question && !snsLabel.view.question.disc")
        assert page.page.value("snsLabel.regions.current === null")
        page.keys("u")
        page.wait_until_saved()
        assert [shape["kind"] for shape in shapes(session)] == ["click", "mask"]
