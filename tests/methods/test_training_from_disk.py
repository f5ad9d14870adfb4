"""A training whose frames are read anew in each step gives the weights of one that has all of them in memory."""

from pathlib import Path
from typing import Any

import pytest
import torch

from semantic_ns.multi_view import kept_stereo
from support.active_runs import train_with_breaks, trainer_of, weights_of
from support.registered import METHODS, SMALL, configured

NAME = "gsnerf-small"
STEPS, DEATHS = 3, [2]
"""There is a checkpoint after every step."""


def config_of(rooms: Path, output: Path, cache_mib: int) -> Any:
    config: Any = configured(METHODS[NAME], rooms, output, STEPS, **SMALL[NAME] | {"rays_per_target": 16})
    config.timestamp, config.steps_per_save = "run", 1
    config.pipeline.eval_images_at_end = 0
    manager = config.pipeline.datamanager
    manager.depth, manager.cache_mib, manager.max_image_width = "stereo", cache_mib, 24
    return config


def test_weights_are_equal_bit_by_bit_whatever_the_memory_and_with_breaks(
    rooms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_stereo, "user_cache_folder", lambda name: tmp_path / name)
    with trainer_of(config_of(rooms, tmp_path / "in_memory", 64)) as trainer:
        begun = weights_of(trainer)
        trainer.train()
        weights = weights_of(trainer)
        assert len(trainer.pipeline.datamanager.shelf.training_cache) > 0
    assert not all(torch.equal(value, begun[key]) for key, value in weights.items())
    for broken in train_with_breaks(config_of(rooms, tmp_path / "from_disk", 0), DEATHS):
        assert len(broken.pipeline.datamanager.shelf.training_cache) == 0
        found = weights_of(broken)
        assert found.keys() == weights.keys()
        assert [key for key, value in found.items() if not torch.equal(value, weights[key])] == []
