"""The doctor names label images that mean something else than they say: turned, interpolated, or of unclear values."""

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from semantic_ns.doctor import loading
from semantic_ns.doctor.loading import load_scene, parser_config
from semantic_ns.doctor.report import examine
from semantic_ns.errors import SceneError
from semantic_ns.labels.class_table import ClassTable
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


def test_a_scene_that_is_refused_for_another_reason_than_ids_is_not_read_with_all_ids_there_are(
    labelled: Path, copy_scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sixty thousand classes take seconds, and are for label images with ids above 4095."""
    largest_ids, build = [], loading._with_every_id

    def noted(table: ClassTable, largest_id: int) -> dict[str, Any]:
        largest_ids.append(largest_id)
        return build(table, min(largest_id, 300))  # as far as they occur

    monkeypatch.setattr(loading, "_with_every_id", noted)
    folder = copy_scene(labelled)
    paths = sorted((folder / "semantics").iterdir())
    Image.open(paths[0]).rotate(90, expand=True).save(paths[0])
    with pytest.raises(SceneError, match="found 48x64"):
        load_scene(parser_config("semantic-data", folder))
    assert largest_ids == [255]
    largest_ids.clear()
    shutil.copyfile(paths[1], paths[0])
    ids = np.asarray(Image.open(paths[0])).astype(np.uint16)
    ids[:4, :4] = 300
    Image.fromarray(ids).save(paths[0])
    scene = load_scene(parser_config("semantic-data", folder))
    assert "found 300" in str(scene.refusal)
    assert largest_ids == [255, 4095]
