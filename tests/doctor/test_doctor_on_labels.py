"""The doctor names label images that mean something else than they say: turned, interpolated, or of unclear values."""

import re
from pathlib import Path

import pytest

from semantic_ns.doctor.loading import load_scene, parser_config
from semantic_ns.doctor.report import examine
from semantic_ns.errors import SceneError
from semantic_ns.synthetic_scene import write_nerfstudio_scene
from support.mislabelled_scenes import MISLABELLED


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_nerfstudio_scene(tmp_path_factory.mktemp("labels") / "room", num_frames=12, width=64, height=48)


def said_of(folder: Path) -> list[str]:
    """All that a person is told: problems, remarks and what to change, or why the scene cannot be read."""
    try:
        report = examine(load_scene(parser_config("semantic-data", folder)), str(folder))
    except SceneError as error:
        return [str(error)]
    return [*report.problems, *report.remarks, *([report.mistake.sentence] if report.mistake else [])]


@pytest.mark.parametrize("mistake", MISLABELLED)
def test_what_is_odd_about_the_labels_is_said_in_one_sentence(labelled: Path, copy_scene, mistake: str) -> None:
    change, said = MISLABELLED[mistake]
    folder = copy_scene(labelled)
    change(folder)
    assert sum(re.search(said, sentence) is not None for sentence in said_of(folder)) == 1


def test_nothing_is_said_of_labels_that_mean_what_they_say(labelled: Path) -> None:
    assert said_of(labelled) == []
