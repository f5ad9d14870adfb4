"""A run that is started anew in the folder of another one, while the page is open."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from semantic_ns.active_learning.pool.units import Units
from semantic_ns.active_learning.rounds.folder_oracle import FolderOracle
from semantic_ns.labelling.questions import QuestionFolder
from support.hand_made_scene import HEIGHT, WIDTH
from support.label_questions import Asked
from support.label_session import SmallSession


@pytest.fixture
def asked(tmp_path: Path) -> Asked:
    return Asked(tmp_path)


@pytest.fixture
def session(asked: Asked) -> SmallSession:
    return asked.session()


def begin_anew(asked: Asked, strategy: str) -> FolderOracle:
    """A run that asks about the upper and the lower half of the first image, and nothing else."""
    shutil.rmtree(asked.folder)
    num_frames = len(asked.dataset)
    halves = (np.arange(HEIGHT) >= HEIGHT // 2).astype(np.int32)[:, None].repeat(WIDTH, axis=1)
    maps = [halves, *(np.full((HEIGHT, WIDTH), frame + 1, np.int32) for frame in range(1, num_frames))]
    units = Units(maps, asked.units.frames, asked.units.num_pixels, np.ones(num_frames + 1, np.int64))
    oracle = FolderOracle(asked.folder, units, asked.dataset, {"strategy": strategy})
    oracle.ask(0, np.arange(2))
    return oracle


@pytest.mark.parametrize("strategy", ["random", "entropy"])
def test_the_units_of_the_new_run_are_listed_and_answered(asked: Asked, session: SmallSession, strategy: str) -> None:
    questions = QuestionFolder(asked.folder, session)
    assert len(questions.questions()) == 2
    oracle = begin_anew(asked, strategy)
    (question,) = questions.questions()
    assert [unit.box for unit in questions.units(question)] == [
        (0, 0, WIDTH, HEIGHT // 2),
        (0, HEIGHT // 2, WIDTH, HEIGHT),
    ]
    session.add_mark(questions.mark(question, 1, session.classes[1].id), "a", 0)
    questions.update(None)
    (found,) = oracle.answers(np.arange(2), 1)
    assert found.units.tolist() == [0]
    assert (found.labels[: HEIGHT // 2] == 1).all()


def test_a_folder_without_a_run_is_told_until_one_asks_again(asked: Asked, session: SmallSession) -> None:
    questions = QuestionFolder(asked.folder, session)
    shutil.move(asked.folder, asked.folder.with_name("away"))
    assert questions.questions() == []
    assert "found no run.json" in str(questions.problem)
    shutil.move(asked.folder.with_name("away"), asked.folder)
    assert len(questions.questions()) == 2
    assert questions.problem is None
