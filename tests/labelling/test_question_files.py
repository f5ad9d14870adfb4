"""Files in the folder of a run that do not fit: they are told with a sentence, and marks count."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from semantic_ns.active_learning.rounds.folder_oracle import ANSWERS
from semantic_ns.datasets.training_labels import frame_names
from semantic_ns.errors import SceneError
from semantic_ns.labelling.api import LabelApi
from semantic_ns.labelling.question_files import lock_answers
from semantic_ns.labelling.questions import QuestionFolder
from semantic_ns.labelling.surface import FrameInfo
from support.fresh_process import ROOT
from support.hand_made_scene import HEIGHT, WIDTH, load, write_scene
from support.label_questions import FIRST, Asked, listed, painted_box, posting, problem_of
from support.label_server import action
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


def test_folders_of_no_run_or_of_another_scene_are_refused(asked: Asked, tmp_path: Path) -> None:
    with pytest.raises(SceneError, match=r"found no run\.json in"):
        QuestionFolder(tmp_path, asked.session())
    with pytest.raises(SceneError, match=r"found a run of .* others"):
        QuestionFolder(asked.folder, SmallSession(height=HEIGHT, width=WIDTH))


def test_only_one_process_answers_the_questions_of_a_folder(asked: Asked) -> None:
    """The other one is killed, which frees them as well."""
    hold = "import sys\nfrom pathlib import Path\nfrom semantic_ns.labelling.question_files import lock_answers\n"
    hold += "lock_answers(Path(sys.argv[1]))\nprint('holds', flush=True)\nsys.stdin.read()"
    command = [sys.executable, "-c", hold, str(asked.folder)]
    pipe, paths = subprocess.PIPE, {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=paths) as other:
        assert other.stdout is not None
        try:
            assert other.stdout.readline() == "holds\n"
            message = rf"found that process {other.pid} on \S+ since .* answers those in .*end it first"
            with pytest.raises(SceneError, match=message):
                lock_answers(asked.folder)
        finally:
            other.kill()
    os.close(lock_answers(asked.folder))
    assert asked.oracle.answers(asked.pending, 1) == []  # the run does not mind the file


def test_questions_about_another_image_of_one_name_are_refused(asked: Asked, tmp_path: Path) -> None:
    other = load(write_scene(tmp_path / "other"))
    session = asked.session()
    names = frame_names(other)
    moved = [
        FrameInfo(name, HEIGHT, WIDTH, Path(path)) for name, path in zip(names, other.image_filenames, strict=True)
    ]
    session.frames = moved[::-1]
    assert problem_of(asked, session) is None  # the same scene, copied
    assert len(listed(asked, session)) == 2
    for info in moved:
        Image.fromarray(255 - np.asarray(Image.open(info.image))).save(info.image)
    assert listed(asked, session) == []
    assert "one about another image" in str(problem_of(asked, session))


SPOILED: dict[str, Any] = {
    "no classes": {"classes": None},
    "a class without an id": {"classes": [{"name": "wall"}]},
    "no image of units": {"image_of_units": None},
    "an image of units outside": {"image_of_units": "../secret.png"},
    "an absolute image of units": {"image_of_units": "/secret.png"},
    "fewer units than numbers": {"units": [0]},
    "no units": {"units": 5},
    "no id of void": {"void_id": "0"},
    "no image": {"image": 3},
    "a list": None,
}


@pytest.mark.parametrize("way", SPOILED)
def test_a_question_that_does_not_fit_is_told_and_marks_count(
    asked: Asked, session: SmallSession, tmp_path: Path, way: str
) -> None:
    path = asked.folder / f"{FIRST}.json"
    Image.fromarray(np.ones((HEIGHT, WIDTH), np.uint8)).save(asked.folder.parent / "secret.png")
    content = json.loads(path.read_text())
    path.write_text(json.dumps([] if SPOILED[way] is None else content | SPOILED[way]))
    api = LabelApi(session, "scene", tmp_path / "exports", QuestionFolder(asked.folder, session))
    body = json.dumps(action(0, mark=painted_box(session, 21, 0, WIDTH))).encode()
    assert api.post("/api/marks", body).status == 200
    answer = json.loads(api.get("/api/questions", {}).body)
    assert [one["name"] for one in answer["questions"]] == ["round-00_frame-0001"]
    assert FIRST in answer["problem"]
    path.write_text(json.dumps(content))
    assert json.loads(api.get("/api/questions", {}).body)["problem"] is None


@pytest.mark.parametrize("name", ["round-01_frame-copy.json", "round-x_frame-0000.json", "round-00_frame-0099.json"])
def test_a_stray_file_is_told_and_marks_count(
    asked: Asked, session: SmallSession, post: Callable[..., int], name: str
) -> None:
    (asked.folder / name).write_text((asked.folder / f"{FIRST}.json").read_text())
    assert post("/api/answer", 0, question=FIRST, unit=1, class_id=21) == 200
    assert (asked.folder / ANSWERS / f"{FIRST}.json").is_file()
    assert name in str(problem_of(asked, session))


@pytest.mark.parametrize("content", ["[]", '{"frames": 3}', '{"frames": [3]}', "{"])
def test_a_run_file_that_is_none_is_refused(asked: Asked, session: SmallSession, content: str) -> None:
    (asked.folder / "run.json").write_text(content)
    with pytest.raises(SceneError, match=r"run\.json"):
        QuestionFolder(asked.folder, session)


@pytest.mark.parametrize("content", ["[]", '{"taken": {"round-00_frame-0000.json": 5}}', "{"])
def test_answers_are_not_written_while_what_is_taken_cannot_be_read(
    asked: Asked, session: SmallSession, post: Callable[..., int], content: str
) -> None:
    path = asked.folder / ANSWERS / f"{FIRST}.json"
    path.write_text('{"2": 0}')
    (asked.folder / "taken.json").write_text(content)
    assert post("/api/answer", 0, question=FIRST, unit=1, class_id=21) == 200
    assert path.read_text() == '{"2": 0}'
    assert "taken.json" in str(problem_of(asked, session))


def test_answers_that_cannot_be_read_are_told_and_kept(asked: Asked, session: SmallSession) -> None:
    path = asked.folder / ANSWERS / f"{FIRST}.json"
    path.write_text("[1]")
    questions = QuestionFolder(asked.folder, session)
    session.add_mark(questions.mark(questions.find(FIRST), 1, 21), "a", 0)
    questions.update(None)
    assert path.read_text() == "[1]"
    assert FIRST in str(questions.problem)
    path.write_text("{}")
    questions.update([])  # another frame; what failed is tried again
    assert questions.problem is None
    assert json.loads(path.read_text()) == {"1": asked.dataset.taxonomy.source_ids[1]}
