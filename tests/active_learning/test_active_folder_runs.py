"""Runs that ask in a folder: answered by a script while they train or after they ended, killed, and not answered."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image

from semantic_ns.active_learning.rounds.folder_oracle import ANSWERS
from semantic_ns.dataparsers.nerfstudio_semantic import NerfstudioSemanticDataParserConfig
from semantic_ns.datasets.training_labels import frame_names
from semantic_ns.io.writing import write_json, write_png
from semantic_ns.labels.taxonomy import VOID
from support.active_runs import (
    ACTIVE,
    STEPS,
    assert_same_outcome,
    config_of,
    revealed_of,
    train_with_breaks,
    trainer_of,
    truth_of,
    weights_of,
)


def answers_of(folder: Path, names: list[str], trainer: Any) -> None:
    """A script that answers every question there is: with a class for each unit, or with a label image."""
    taxonomy = trainer.pipeline.datamanager.train_dataset.taxonomy
    for path in folder.glob("round-*_frame-*.json"):
        question = json.loads(path.read_text())
        labels = truth_of(trainer)[names.index(Path(question["image"]).stem)]
        if len(question["units"]) % 2:
            write_png(folder / ANSWERS / f"{path.stem}.png", taxonomy.decode(labels).astype(np.uint16))
            continue
        numbers = np.array(Image.open(folder / question["image_of_units"]))
        usual: dict[str, Any] = {}
        for number in range(1, len(question["units"]) + 1):
            counts = np.bincount(labels[numbers == number] + 1, minlength=2)
            usual[str(number)] = ["void", *taxonomy.names][int(counts.argmax())]
        write_json(folder / ANSWERS / f"{path.stem}.json", usual)


def answering(folder: Path) -> Any:
    """Has the script look at the folder every 7 steps of a run."""

    def prepare(trainer: Any) -> None:
        datamanager = trainer.pipeline.datamanager
        names, original = frame_names(datamanager.train_dataset), datamanager.next_train

        def next_train(step: int) -> Any:
            if step % 7 == 6:
                answers_of(folder, names, trainer)
            return original(step)

        datamanager.next_train = next_train

    return prepare


def test_a_run_answered_by_a_script_and_killed_twice_ends_with_the_labels_of_an_unbroken_one(
    smaller_scene: Path, tmp_path: Path
) -> None:
    folders = tmp_path / "questions", tmp_path / "questions of the broken run"
    active = replace(ACTIVE, oracle_folder=folders[0])
    with trainer_of(config_of(smaller_scene, tmp_path / "unbroken", active)) as trainer:
        answering(folders[0])(trainer)
        trainer.train()
        revealed, weights = revealed_of(trainer), weights_of(trainer)
    assert [entry["step"] for entry in revealed.rounds] == [0, 24, 42]
    assert revealed.is_answered.all()
    config = config_of(smaller_scene, tmp_path / "broken", replace(ACTIVE, oracle_folder=folders[1]), steps_per_save=15)
    for broken in train_with_breaks(config, [28, 52], answering(folders[1])):
        assert_same_outcome(broken, revealed, weights)


def test_a_scene_without_any_label_is_labelled_from_the_folder_alone(
    smaller_scene: Path, copy_scene: Any, tmp_path: Path
) -> None:
    scene, folder = copy_scene(smaller_scene), tmp_path / "questions"
    for labels in (scene / "semantics").glob("*.png"):
        labels.unlink()
    content = json.loads((scene / "transforms.json").read_text())
    for frame in content["frames"]:
        frame.pop("semantics_path", None)
    write_json(scene / "transforms.json", content)

    def answer_all_with_one_class(trainer: Any) -> int:
        taxonomy = trainer.pipeline.datamanager.train_dataset.taxonomy
        for path in folder.glob("round-*_frame-*.json"):
            units = range(1, 1 + len(json.loads(path.read_text())["units"]))
            write_json(folder / ANSWERS / path.name, dict.fromkeys(map(str, units), taxonomy.names[3]))
        return 3

    active = replace(ACTIVE, oracle_folder=folder)
    for run in ("first", "second"):  # answered after the end of the first, taken by the second
        config = config_of(scene, tmp_path / run, active)
        config.pipeline.datamanager.dataparser = NerfstudioSemanticDataParserConfig(data=scene, all_classes=True)
        with trainer_of(config) as trainer:
            trainer.train()
            revealed = revealed_of(trainer)
            known = {int(label) for image in revealed.labels for label in np.unique(image)}
            assert revealed.is_answered[: int(revealed.rounds[0]["units"])].all() == (run == "second")
            assert known == ({VOID} if run == "first" else {VOID, 3})
            assert answer_all_with_one_class(trainer) == 3


def test_without_answers_a_run_goes_on_and_asks_no_more(smaller_scene: Path, tmp_path: Path) -> None:
    config = config_of(smaller_scene, tmp_path, replace(ACTIVE, oracle_folder=tmp_path / "questions"))
    with trainer_of(config) as trainer:
        trainer.train()
        revealed = revealed_of(trainer)
        assert len(revealed.rounds) == 1
        assert len(revealed.pending) == len(revealed.asked) > 0
        assert all((labels == VOID).all() for labels in revealed.labels)
        assert all(torch.isfinite(tensor).all() for tensor in weights_of(trainer).values())
        # What was asked is shown again where somebody cleared the folder meanwhile.
        config = yaml.load((trainer.base_dir / "resume.yml").read_text(), Loader=yaml.Loader)
    shutil.rmtree(tmp_path / "questions")
    config.max_num_iterations = STEPS + 1
    with trainer_of(config) as trainer:
        trainer.train()
    assert list((tmp_path / "questions").glob("round-00_frame-*.json"))


# Checkpoints and options
