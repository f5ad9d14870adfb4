"""Every score of a method that sees from source frames says what it saw: how many, which, their labels and cameras."""

import copy
from pathlib import Path
from typing import Any

import pytest

from semantic_ns.methods.gsnerf_small.method import gsnerf_small
from semantic_ns.methods.viewseg_small.method import viewseg_small
from support.new_rooms import keep_labels, without_labels, write_room
from support.rooms import parser_of


@pytest.fixture(scope="module")
def two_rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of 4 source frames and a scored one each; in the second room two of the five frames have labels."""
    folder = tmp_path_factory.mktemp("two_rooms")
    write_room(folder / "first", 1)
    keep_labels(write_room(folder / "second", 2), 2, 3)
    return folder


def pipeline_of(
    data: Path, noise: float = 0.0, label_space: str | None = None, method: Any = gsnerf_small, **model: Any
) -> Any:
    config: Any = copy.deepcopy(method.config.pipeline)
    config.datamanager.data, config.datamanager.camera_noise = data, noise
    config.datamanager.dataparser.label_space = label_space
    for name, value in ({"encoder": "unet"} | model).items():
        setattr(config.model, name, value)
    return config.setup(device="cpu", test_mode="test")


def test_the_results_and_the_console_say_what_images_were_rendered_from(
    two_rooms: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline = pipeline_of(two_rooms, num_source_views=2, far_plane=5.0)
    capsys.readouterr()
    sentence = pipeline.get_average_eval_image_metrics()["sources"]
    assert sentence == (
        "each image is rendered from 2 other frames of its scene, fewer where there are no more, chosen by the rule "
        "coverage for depths from 0.3 to 5 m; the labels of 6 of 8 source frames were carried over; cameras of the "
        "sources were as given"
    )
    assert f"sources: {sentence}" in capsys.readouterr().out
    pipeline.model.config.use_source_labels = False
    without = pipeline.model.sources_sentence()
    assert "; no labels of source frames were carried over (6 of 8 have some); " in without


def test_noise_of_cameras_the_rule_and_missing_labels_are_said(two_rooms: Path, tmp_path: Path) -> None:
    room, classes = without_labels(write_room(tmp_path / "room", 3)), parser_of(two_rooms).taxonomy.to_json()
    model = pipeline_of(room, noise=7.5, label_space=classes, source_selection="nearest").model
    sentence = model.sources_sentence()
    assert "3 other frames" in sentence
    assert "chosen by the rule nearest" in sentence
    assert "; none of 4 source frames has labels to carry over; " in sentence
    assert sentence.endswith("cameras of the sources were turned by up to 7.5 degrees about each axis")


@pytest.mark.parametrize("method", [gsnerf_small, viewseg_small])
def test_training_chooses_sources_for_the_planes_of_the_run_if_an_option_gives_one_of_them(
    method: Any, two_rooms: Path
) -> None:
    pipeline = pipeline_of(two_rooms, method=method, far_plane=20.0)
    rule = pipeline.model.source_rule
    assert pipeline.datamanager.range_m == (rule.near, rule.far) == (0.3, 20.0)
    assert pipeline_of(two_rooms, method=method).datamanager.range_m is None
