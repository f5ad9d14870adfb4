"""Questions of a run, answered in the page: from the folder that the run writes to the answers that it reads."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from semantic_ns.active_learning.pool.units import Units
from semantic_ns.active_learning.rounds.folder_oracle import ANSWERS, FolderOracle
from semantic_ns.datasets.training_labels import frame_names
from semantic_ns.errors import SceneError
from semantic_ns.labelling.api import LabelApi
from semantic_ns.labelling.classes import LabelClass
from semantic_ns.labelling.questions import QuestionFolder
from semantic_ns.labelling.surface import FrameInfo
from support.hand_made_scene import HEIGHT, WIDTH, load, write_scene
from support.label_page import NO_BROWSER, LabelPage
from support.label_server import action, mark, serving
from support.label_session import SmallSession

FIRST = "round-00_frame-0000"


class Asked:
    """A run that asks about the left and the right half of its first image, and about the whole of its second one."""

    def __init__(self, tmp_path: Path) -> None:
        self.dataset = load(write_scene(tmp_path / "scene"))
        num_frames = len(self.dataset)
        halves = (np.arange(WIDTH) >= WIDTH // 2).astype(np.int32)[None].repeat(HEIGHT, axis=0)
        maps = [halves, *(np.full((HEIGHT, WIDTH), frame + 1, np.int32) for frame in range(1, num_frames))]
        frames = np.array([0, 0, *range(1, num_frames)], np.int32)
        sizes = np.array([HEIGHT * WIDTH // 2] * 2 + [HEIGHT * WIDTH] * (num_frames - 1))
        self.units = Units(maps, frames, sizes, np.ones(num_frames + 1, np.int64))
        self.folder = tmp_path / "questions"
        self.oracle = FolderOracle(self.folder, self.units, self.dataset, {"strategy": "random"})
        self.pending = np.arange(3)
        self.oracle.ask(0, self.pending)

    def session(self) -> SmallSession:
        """A session of the same frames in another order, with classes of other ids, one of them unknown to the run."""
        names = frame_names(self.dataset)
        session = SmallSession(num_frames=len(names), height=HEIGHT, width=WIDTH)
        session.frames = [FrameInfo(name, HEIGHT, WIDTH, Path(name)) for name in reversed(names)]
        titles = [*self.dataset.taxonomy.names, "unknown to the run"]
        session.classes = [LabelClass(20 + n, name.upper(), (n, 0, 0)) for n, name in enumerate(titles)]
        return session


@pytest.fixture
def asked(tmp_path: Path) -> Asked:
    return Asked(tmp_path)


@pytest.fixture
def session(asked: Asked) -> SmallSession:
    return asked.session()


@pytest.fixture
def post(asked: Asked, session: SmallSession, tmp_path: Path) -> Callable[..., int]:
    api = LabelApi(session, "scene", tmp_path / "exports", QuestionFolder(asked.folder, session))

    def posting(path: str, number: int, **parts: Any) -> int:
        return api.post(path, json.dumps(action(number, **parts)).encode()).status

    return posting


def listed(asked: Asked, session: SmallSession) -> list[dict]:
    api = LabelApi(session, "scene", asked.folder, QuestionFolder(asked.folder, session))
    return json.loads(api.get("/api/questions", {}).body)["questions"]


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
    frame, path = len(session.frames) - 1, asked.folder / ANSWERS / f"{FIRST}.json"
    path.write_text(json.dumps({"2": "void"}))  # of somebody else

    def box(right: float) -> dict:
        points = [[0, 0], [right, 0], [right, HEIGHT], [0, HEIGHT]]
        return {"frame": frame, "class_id": 21, "action": "paint", "shape": {"kind": "polygon", "points": points}}

    post("/api/marks", 0, mark=box(WIDTH / 4 - 1))
    assert json.loads(path.read_text()) == {"2": "void"}
    post("/api/marks", 1, mark=box(WIDTH / 4))
    assert json.loads(path.read_text()) == {"1": asked.dataset.taxonomy.source_ids[1], "2": "void"}
    post("/api/undo", 2)
    assert json.loads(path.read_text()) == {"2": "void"}


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


def test_folders_of_no_run_or_of_another_scene_are_refused(asked: Asked, tmp_path: Path) -> None:
    with pytest.raises(SceneError, match=r"found no run\.json in"):
        QuestionFolder(tmp_path, asked.session())
    with pytest.raises(SceneError, match=r"found a run of .* others"):
        QuestionFolder(asked.folder, SmallSession(height=HEIGHT, width=WIDTH))


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
