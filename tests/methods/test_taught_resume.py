"""A training that is held to the classes of its weights stays so when it is resumed, though the weights are gone."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from support.active_runs import train_with_breaks, trainer_of, weights_of
from support.new_rooms import keep_labels, write_room
from support.registered import METHODS, SMALL, configured

STEPS, DEATHS = 4, [2]
"""There is a checkpoint after every step."""


def config_of(name: str, room: Path, output: Path, weights: Path | None) -> Any:
    config: Any = configured(METHODS[name], room, output, STEPS, **SMALL[name] | {"weights": weights})
    config.timestamp, config.steps_per_save = "run", 1
    config.optimizers["network"]["optimizer"].lr = 1e-2
    return config


@pytest.mark.parametrize("name", ["gsnerf-small", "viewseg-small"])
def test_a_resumed_training_without_its_weights_ends_as_an_unbroken_one(name: str, tmp_path: Path) -> None:
    with trainer_of(config_of(name, write_room(tmp_path / "first", 1), tmp_path / "rooms", None)) as trainer:
        trainer.train()
        trainer.config.save_config()
        begun = trainer.base_dir
    room = keep_labels(write_room(tmp_path / "room", 2))
    with trainer_of(config_of(name, room, tmp_path / "unbroken", begun)) as trainer:
        trainer.train()
        weights, teacher = weights_of(trainer), trainer.pipeline.model.teacher
    assert teacher is not None

    def lose_weights(trainer: Any) -> None:
        assert trainer.pipeline.model.teacher is not None
        shutil.rmtree(begun, ignore_errors=True)

    for broken in train_with_breaks(config_of(name, room, tmp_path / "broken", begun), DEATHS, lose_weights):
        assert not begun.exists()
        found = weights_of(broken)
        assert [key for key, value in found.items() if not torch.equal(value, weights[key])] == []
        for key, value in broken.pipeline.model.teacher.state().items():
            assert torch.equal(value, teacher.state()[key])
