"""Answers of a part of what a run asks about: what is painted there, and void elsewhere."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from semantic_ns.active_learning.rounds.folder_oracle import ANSWERS
from semantic_ns.labelling.questions import QuestionFolder
from support.hand_made_scene import HEIGHT, WIDTH
from support.label_page import NO_BROWSER, LabelPage
from support.label_questions import FIRST, Asked, painted_box, posting
from support.label_server import mark, serving
from support.label_session import SmallSession

FRAME = "round-00_frame-0001"
HALF = WIDTH // 2


@pytest.fixture
def asked(tmp_path: Path) -> Asked:
    return Asked(tmp_path)


@pytest.fixture
def session(asked: Asked) -> SmallSession:
    return asked.session()


@pytest.fixture
def post(asked: Asked, session: SmallSession, tmp_path: Path) -> Callable[..., int]:
    return posting(asked, session, tmp_path / "exports")


def columns(found: np.ndarray) -> list[int]:
    """The label of each column, which has one."""
    assert (found == found[:1]).all()
    return found[0].tolist()


def test_a_part_of_a_unit_is_answered_and_the_rest_of_it_is_void(
    asked: Asked, session: SmallSession, post: Callable[..., int]
) -> None:
    assert post("/api/marks", 0, mark=painted_box(session, 21, 0, 2)) == 200
    assert post("/api/marks", 1, mark=painted_box(session, 20, 2, 3)) == 200
    assert not asked.oracle.answers(asked.pending, 1)
    assert post("/api/answer", 2, question=FIRST, unit=1, painted=True) == 200
    assert post("/api/answer", 2, question=FIRST, unit=1, painted=True) == 200  # as after a lost connection
    (found,) = asked.oracle.answers(asked.pending, 2)
    assert (found.frame, found.units.tolist()) == (0, [0])
    assert columns(found.labels[:, :HALF]) == [1, 1, 0] + [-1] * (HALF - 3)
    assert session.revision == 3


def test_undo_takes_the_answer_of_a_part_back(asked: Asked, session: SmallSession, post: Callable[..., int]) -> None:
    post("/api/marks", 0, mark=painted_box(session, 21, 0, 2))
    post("/api/answer", 1, question=FIRST, unit=1, painted=True)
    post("/api/undo", 2)
    assert json.loads((asked.folder / ANSWERS / f"{FIRST}.json").read_text()) == {}
    assert len(session.marks) == 1


def test_a_unit_that_is_painted_in_two_classes_is_answered_pixel_by_pixel(
    asked: Asked, session: SmallSession, post: Callable[..., int]
) -> None:
    post("/api/marks", 0, mark=painted_box(session, 21, 0, HALF - 3))
    post("/api/marks", 1, mark=painted_box(session, 22, HALF - 3, HALF))
    (found,) = asked.oracle.answers(asked.pending, 1)
    assert columns(found.labels[:, :HALF]) == [1] * (HALF - 3) + [2] * 3


def test_a_whole_frame_is_answered_by_what_is_painted_alone(
    asked: Asked, session: SmallSession, post: Callable[..., int]
) -> None:
    frame = len(session.frames) - 2
    assert post("/api/answer", 0, question=FRAME, unit=1, painted=True) == 400
    post("/api/marks", 1, mark=mark(frame, 20, 4, 4))
    painted = session.painted(frame) == 20
    assert painted.sum() < (session.labels(frame) == 20).sum()  # it has spread
    assert post("/api/answer", 2, question=FRAME, unit=1, painted=True) == 200
    (found,) = asked.oracle.answers(asked.pending, 1)
    np.testing.assert_array_equal(found.labels, np.where(painted, 0, -1))


def test_nothing_painted_or_only_classes_that_the_run_does_not_know_are_no_answer(
    asked: Asked, session: SmallSession, post: Callable[..., int]
) -> None:
    unknown = 20 + len(asked.dataset.taxonomy.names)
    assert post("/api/answer", 0, question=FIRST, unit=1, painted=True) == 400
    post("/api/marks", 1, mark=painted_box(session, unknown, 0, 2))
    assert post("/api/answer", 2, question=FIRST, unit=1, painted=True) == 400
    assert post("/api/answer", 3, question=FIRST, unit=9, painted=True) == 400
    assert session.revision == 1
    assert not list((asked.folder / ANSWERS).iterdir())


@pytest.mark.parametrize("runs", ["?", "0", 5, [HEIGHT * WIDTH + 1], [1.5], None])
def test_masks_that_are_none_are_not_taken(asked: Asked, runs: object, capsys: pytest.CaptureFixture[str]) -> None:
    path = asked.folder / ANSWERS / f"{FIRST}.json"
    path.write_text(json.dumps({"1": {"masks": [[asked.dataset.taxonomy.names[0], runs]]}}))
    for step in (1, 2):
        assert not asked.oracle.answers(asked.pending, step)
    assert "Expected the run lengths of a mask" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    "answer", [{"masks": "chair"}, {"masks": [["nobody knows", [1]]]}, {}, [], {"masks": [[[], []]]}]
)
def test_answers_that_are_neither_a_class_nor_masks_are_not_taken(
    asked: Asked, answer: object, capsys: pytest.CaptureFixture[str]
) -> None:
    (asked.folder / ANSWERS / f"{FIRST}.json").write_text(json.dumps({"1": answer}))
    for step in (1, 2):
        assert not asked.oracle.answers(asked.pending, step)
    assert "Expected a name or id of a class" in " ".join(capsys.readouterr().out.split())


def test_masks_count_inside_their_unit_alone(asked: Asked) -> None:
    name = asked.dataset.taxonomy.names[2]
    everything = [0, HEIGHT * WIDTH]
    answer = {"1": {"masks": [[name, everything]]}, "2": "void"}
    (asked.folder / ANSWERS / f"{FIRST}.json").write_text(json.dumps(answer))
    (found,) = asked.oracle.answers(asked.pending, 1)
    assert columns(found.labels) == [2] * HALF + [-1] * HALF


@pytest.mark.skipif(NO_BROWSER is not None, reason=str(NO_BROWSER))
def test_one_key_answers_with_what_is_painted(
    asked: Asked, session: SmallSession, tmp_path: Path, one_page: LabelPage
) -> None:
    questions = QuestionFolder(asked.folder, session)
    with serving(session, tmp_path / "exports", questions=questions) as server:
        page = one_page
        page.open(server.address)
        page.page.wait_until("snsLabel.questions.open.length === 3")
        assert page.page.value("document.getElementById('answers').hidden")
        page.keys("j")
        page.page.wait_until("snsLabel.view.question")
        assert not page.page.value("document.getElementById('answers').hidden")
        page.stroke((2.0, 2.0))
        page.keys("t")
        page.wait_until_saved()
        page.page.wait_until("document.getElementById('question-count').textContent.startsWith('1 of 3')")
        page.page.value("snsLabel.questions.goToUnit(snsLabel.questions.open[1]), 0")
        page.page.wait_until("document.getElementById('answer-guess').textContent.startsWith('All shown')")
        page.stroke((5.0, 5.0))
        # It is for good, so that no undo behind it is meant for it.
        assert page.page.value(
            "document.getElementById('answer-painted').click(), snsLabel.store.queue.at(-1).isForGood"
        )
        page.wait_until_saved()
        page.page.wait_until("document.getElementById('question-count').textContent.startsWith('2 of 3')")
    first, second = asked.oracle.answers(asked.pending, 1)
    assert 0 < (first.labels[:, :HALF] >= 0).sum() < HEIGHT * HALF
    assert 0 < (second.labels >= 0).sum() < HEIGHT * WIDTH
