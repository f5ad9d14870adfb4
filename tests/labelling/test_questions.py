"""Questions of a run, answered in the page: from the folder that the run writes to the answers that it reads."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from semantic_ns.active_learning.rounds.folder_oracle import ANSWERS
from semantic_ns.labelling.api import LabelApi
from semantic_ns.labelling.questions import QuestionFolder, changed_answers
from support.hand_made_scene import HEIGHT, WIDTH
from support.label_page import NO_BROWSER, LabelPage
from support.label_questions import FIRST, Asked, listed, painted_box, posting
from support.label_server import action, mark, serving
from support.label_session import SmallSession


@pytest.fixture
def asked(tmp_path: Path) -> Asked:
    return Asked(tmp_path)


@pytest.fixture
def session(asked: Asked) -> SmallSession:
    return asked.session()


@pytest.fixture
def post(asked: Asked, session: SmallSession, tmp_path: Path) -> Callable[..., int]:
    return posting(asked, session, tmp_path / "exports")


def test_a_question_answered_through_the_api_is_taken_by_the_run(asked: Asked, post: Callable[..., int]) -> None:
    assert post("/api/answer", 0, question=FIRST, unit=1, class_id=21) == 200
    (found,) = asked.oracle.answers(asked.pending, 1)
    assert (found.frame, found.units.tolist()) == (0, [0])
    assert (found.labels[:, : WIDTH // 2] == 1).all()
    assert post("/api/answer", 1, question=FIRST, unit=2) == 200  # void
    (found,) = asked.oracle.answers(np.array([1]), 2)
    assert found.units.tolist() == [1]
    assert (found.labels[:, WIDTH // 2 :] == -1).all()


def test_a_whole_frame_is_answered_by_the_labels_that_it_shows(
    asked: Asked, session: SmallSession, post: Callable[..., int]
) -> None:
    frame = len(session.frames) - 2
    assert post("/api/marks", 0, mark=mark(frame, 20, 4, 4)) == 200
    assert post("/api/marks", 1, mark=mark(frame, 20 + len(asked.dataset.taxonomy.names), 20, 12)) == 200
    assert not asked.oracle.answers(asked.pending, 1)
    assert post("/api/answer", 2, question="round-00_frame-0001", unit=1) == 200
    (found,) = asked.oracle.answers(asked.pending, 2)
    assert (found.frame, found.units.tolist()) == (1, [2])
    shown = session.labels(frame)
    assert (shown == 20).any()
    np.testing.assert_array_equal(found.labels, np.where(shown == 20, 0, -1))


def test_painting_half_of_a_unit_answers_it_and_undo_takes_that_back(
    asked: Asked, session: SmallSession, post: Callable[..., int]
) -> None:
    path = asked.folder / ANSWERS / f"{FIRST}.json"
    path.write_text(json.dumps({"2": "void"}))  # of somebody else
    post("/api/marks", 0, mark=painted_box(session, 21, 0, WIDTH / 4 - 1))
    assert json.loads(path.read_text()) == {"2": "void"}
    post("/api/marks", 1, mark=painted_box(session, 21, 0, WIDTH / 4))
    assert json.loads(path.read_text()) == {"1": asked.dataset.taxonomy.source_ids[1], "2": "void"}
    post("/api/undo", 2)
    assert json.loads(path.read_text()) == {"2": "void"}


def test_ids_that_others_answered_stay_numbers_that_the_run_takes(
    asked: Asked, session: SmallSession, post: Callable[..., int]
) -> None:
    first, second = asked.dataset.taxonomy.source_ids[:2]
    path = asked.folder / ANSWERS / f"{FIRST}.json"
    path.write_text(json.dumps({"2": first}))
    assert post("/api/answer", 0, question=FIRST, unit=1, class_id=21) == 200
    assert json.loads(path.read_text()) == {"1": second, "2": first}
    (found,) = asked.oracle.answers(asked.pending, 1)
    assert found.units.tolist() == [0, 1]
    assert (found.labels == np.where(np.arange(WIDTH) < WIDTH // 2, 1, 0)).all()


def test_an_image_that_answers_is_left_alone(asked: Asked, post: Callable[..., int]) -> None:
    image = np.full((HEIGHT, WIDTH), asked.dataset.taxonomy.source_ids[0], np.uint8)
    Image.fromarray(image).save(asked.folder / ANSWERS / f"{FIRST}.png")
    assert post("/api/answer", 0, question=FIRST, unit=1, class_id=21) == 200
    assert [path.name for path in (asked.folder / ANSWERS).iterdir()] == [f"{FIRST}.png"]


def test_a_class_that_the_run_does_not_know_is_no_reason_to_answer_with_a_rare_one(
    asked: Asked, session: SmallSession, post: Callable[..., int]
) -> None:
    path, unknown = asked.folder / ANSWERS / f"{FIRST}.json", 20 + len(asked.dataset.taxonomy.names)
    half = WIDTH // 2
    post("/api/marks", 0, mark=painted_box(session, unknown, 0, half * 0.6))
    post("/api/marks", 1, mark=painted_box(session, 21, half - 1, half - 0.01))
    assert not path.exists()
    post("/api/marks", 2, mark=painted_box(session, 21, 0, half))
    assert json.loads(path.read_text()) == {"1": asked.dataset.taxonomy.source_ids[1]}


def test_undo_after_a_new_start_brings_back_what_others_had_answered(asked: Asked, tmp_path: Path) -> None:
    session, path = asked.session(), asked.folder / ANSWERS / f"{FIRST}.json"
    path.write_text(json.dumps({"1": 0, "2": "void"}))
    before = QuestionFolder(asked.folder, session, tmp_path)
    for number, unit in enumerate((1, 2)):
        session.add_mark(before.mark(before.find(FIRST), unit, 21), "a", number)
    before.update(None)
    second = asked.dataset.taxonomy.source_ids[1]
    assert json.loads(path.read_text()) == {"1": second, "2": second}
    again = QuestionFolder(asked.folder, session, tmp_path)
    session.undo("a", 2)
    again.update(None)
    assert json.loads(path.read_text()) == {"1": second, "2": "void"}
    session.undo("a", 3)
    again.update(None)
    assert json.loads(path.read_text()) == {"1": 0, "2": "void"}


def test_an_answer_that_the_run_has_taken_stays(asked: Asked, session: SmallSession, post: Callable[..., int]) -> None:
    path, second = asked.folder / ANSWERS / f"{FIRST}.json", asked.dataset.taxonomy.source_ids[1]
    post("/api/answer", 0, question=FIRST, unit=1, class_id=21)
    assert asked.oracle.answers(asked.pending, 1)
    post("/api/answer", 1, question=FIRST, unit=2, class_id=21)
    assert json.loads(path.read_text()) == {"1": second, "2": second}
    post("/api/undo", 2)
    post("/api/undo", 3)
    assert not session.marked_frames()
    assert json.loads(path.read_text()) == {"1": second}
    post("/api/answer", 4, question=FIRST, unit=1, class_id=20)
    assert json.loads(path.read_text()) == {"1": second}


VALUES = (None, 0, 1, "void")


@pytest.mark.parametrize("seed", range(20))
def test_answers_of_others_come_back_when_nothing_is_painted_any_more(seed: int) -> None:
    """Of many random paintings of three units: what is painted shows, and nothing is left of it in the end."""
    rng = np.random.default_rng(seed)

    def some() -> dict[str, Any]:
        chosen = {str(number): VALUES[rng.integers(4)] for number in (1, 2, 3)}
        return {number: value for number, value in chosen.items() if value is not None}

    first = some()
    answers, own = first, {}
    for _ in range(8):
        painted = some()
        answers, own = changed_answers(answers, painted, own, set())
        assert answers == {**first, **painted}
    assert changed_answers(answers, {}, own, set()) == (first, {})


def test_a_later_answer_of_others_stays_and_so_does_one_that_is_taken() -> None:
    answers, own = changed_answers({}, {"1": 4, "2": 4}, {}, set())
    assert (answers, own) == ({"1": 4, "2": 4}, {"1": [4], "2": [4]})
    assert changed_answers({"1": True, "2": "4"}, {"1": 4, "2": 4}, own, set())[0] == {"1": True, "2": "4"}
    assert changed_answers({"1": True, "2": "4"}, {}, own, set()) == ({"1": True, "2": "4"}, {})
    assert changed_answers(answers, {"2": 5}, own, {"1", "2"}) == (answers, own)


def test_a_frame_without_labels_that_the_run_knows_is_no_answer(
    asked: Asked, session: SmallSession, post: Callable[..., int]
) -> None:
    question, frame = "round-00_frame-0001", len(session.frames) - 2
    assert post("/api/answer", 0, question=question, unit=1) == 400
    assert post("/api/marks", 1, mark=mark(frame, 20 + len(asked.dataset.taxonomy.names), 20, 12)) == 200
    assert post("/api/answer", 2, question=question, unit=1) == 400
    assert not list((asked.folder / ANSWERS).iterdir())
    assert post("/api/marks", 3, mark={**mark(frame, 20, 4, 4), "class_id": None, "action": "void"}) == 200
    assert post("/api/answer", 4, question=question, unit=1) == 200
    (found,) = asked.oracle.answers(asked.pending, 1)
    assert (found.labels == -1).all()


def test_a_whole_frame_that_the_run_has_taken_is_not_answered_again(asked: Asked, post: Callable[..., int]) -> None:
    question = "round-00_frame-0001"
    (asked.folder / ANSWERS / f"{question}.json").write_text('{"1": "void"}')
    assert asked.oracle.answers(asked.pending, 1)
    assert post("/api/marks", 0, mark=mark(0, 20, 4, 4)) == 200
    assert post("/api/answer", 1, question=question, unit=1) == 400
    assert not (asked.folder / ANSWERS / f"{question}.png").exists()


def test_answers_of_several_threads_are_all_written(asked: Asked, session: SmallSession, tmp_path: Path) -> None:
    questions = QuestionFolder(asked.folder, session, tmp_path)
    api = LabelApi(session, "scene", tmp_path / "exports", questions)
    failed: list[object] = []

    def answer(client: int) -> None:
        for number in range(10):
            class_id = 20 + (client + number) % 2
            parts = {"question": FIRST, "unit": 1 + client % 2, "class_id": class_id, "client": f"c{client}"}
            found = api.post("/api/answer", json.dumps(action(number, **parts)).encode())
            if found.status != 200 or json.loads(api.get("/api/questions", {}).body)["problem"]:
                failed.append(found)

    threads = [threading.Thread(target=answer, args=(client,)) for client in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    question = questions.find(FIRST)
    layer = session.painted(question.frame)
    ids = {20 + place: number for place, number in enumerate(asked.dataset.taxonomy.source_ids)}
    expected = {str(unit): ids[int(layer[question.numbers == unit][0])] for unit in (1, 2)}
    assert json.loads((asked.folder / ANSWERS / f"{FIRST}.json").read_text()) == expected


def test_the_guess_is_the_class_that_most_of_a_unit_shows(asked: Asked, session: SmallSession) -> None:
    frame = len(session.frames) - 1
    assert [unit["guess"] for unit in listed(asked, session)[0]["units"]] == [None, None]
    questions = QuestionFolder(asked.folder, session)
    session.add_mark(questions.mark(questions.find(FIRST), 2, 22), "a", 0)
    first, second = listed(asked, session)
    assert (first["frame"], second["frame"], second["is_of_frame"]) == (frame, frame - 1, True)
    labels = session.labels(frame)
    for unit in first["units"]:
        half = labels[:, : WIDTH // 2] if unit["number"] == 1 else labels[:, WIDTH // 2 :]
        assert unit["share"] == (half == 22).mean()
        assert unit["guess"] == (22 if (half == 22).any() else None)


def test_what_is_not_asked_cannot_be_answered(asked: Asked, session: SmallSession, post: Callable[..., int]) -> None:
    unknown = 20 + len(asked.dataset.taxonomy.names)
    wrong = ("question", "round-07_frame-0000"), ("question", 5), ("unit", 3), ("unit", 0), ("class_id", unknown)
    for number, (name, value) in enumerate((*wrong, ("class_id", -1))):
        assert post("/api/answer", number, **{"question": FIRST, "unit": 1, "class_id": 20, name: value}) == 400
    assert session.revision == 0
    assert not list((asked.folder / ANSWERS).iterdir())


def test_an_answer_that_cannot_be_written_is_told_and_the_mark_counts(
    asked: Asked, session: SmallSession, tmp_path: Path
) -> None:
    api = LabelApi(session, "scene", tmp_path / "exports", QuestionFolder(asked.folder, session))
    (asked.folder / ANSWERS / f"{FIRST}.json").mkdir()
    body = json.dumps(action(0, question=FIRST, unit=1, class_id=21)).encode()
    assert api.post("/api/answer", body).status == 200
    assert session.revision == 1
    assert FIRST in json.loads(api.get("/api/questions", {}).body)["problem"]


@pytest.mark.skipif(NO_BROWSER is not None, reason=str(NO_BROWSER))
def test_the_page_shows_questions_and_one_key_confirms_the_guess(
    asked: Asked, session: SmallSession, tmp_path: Path, one_page: LabelPage
) -> None:
    frame = len(session.frames) - 1
    questions = QuestionFolder(asked.folder, session)
    with serving(session, tmp_path / "exports", questions=questions) as server:
        session.add_mark(questions.mark(questions.find("round-00_frame-0001"), 1, 21), "a", 0)  # colours all frames
        page = one_page
        page.open(server.address)
        page.page.wait_until("snsLabel.questions.open.length === 3")
        page.keys("j")
        page.page.wait_until("snsLabel.view.question")
        assert page.page.value("snsLabel.store.shown") == frame
        page.keys("y")
        page.wait_until_saved()
        page.page.wait_until("document.getElementById('question-count').textContent.startsWith('1 of 3')")
    assert Image.open(asked.folder / f"{FIRST}_units.png").size == (WIDTH, HEIGHT)
    (found,) = asked.oracle.answers(asked.pending, 1)
    assert (found.frame, found.units.tolist()) == (0, [0])


@pytest.mark.skipif(NO_BROWSER is not None, reason=str(NO_BROWSER))
def test_a_refused_answer_is_asked_for_again(
    asked: Asked, session: SmallSession, tmp_path: Path, one_page: LabelPage
) -> None:
    with serving(session, tmp_path / "exports", questions=QuestionFolder(asked.folder, session)) as server:
        page = one_page
        page.open(server.address)
        page.page.wait_until("snsLabel.questions.open.length === 3")
        page.page.value("snsLabel.questions.goToUnit(snsLabel.questions.open[2]), 0")
        page.page.wait_until("snsLabel.view.question")
        page.page.value("snsLabel.store.addEventListener('error', ({ detail }) => { snsLabel.told = detail; }), 0")
        page.keys("y")  # nothing is labelled
        page.page.wait_until("snsLabel.told?.includes('label it first')")
        page.wait_until_saved()
        page.page.wait_until("snsLabel.questions.sent.size === 0")
        assert page.page.value("snsLabel.questions.left.length") == 3
