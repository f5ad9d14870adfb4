"""A training that is killed and resumed ends with the weights that it would have had without the break."""

from pathlib import Path
from typing import Any

import pytest
import torch

from semantic_ns.labels.corruption import CorruptionConfig
from semantic_ns.propagation.config import PropagationConfig
from support.active_runs import train_with_breaks, trainer_of, weights_of
from support.registered import METHODS, SMALL, configured

STEPS, DEATHS = 20, [9, 17]
"""Checkpoints are after the steps 6, 12 and 18; labels spread before the steps 8 and 14."""


def config_of(name: str, scene: Path, output: Path, percentage: float | None) -> Any:
    config: Any = configured(METHODS[name], scene, output, STEPS, **SMALL[name])
    config.timestamp, config.steps_per_save = "run", 6
    config.pipeline.eval_images_at_end = 0
    config.pipeline.datamanager.train_num_rays_per_batch = 256
    config.pipeline.datamanager.corruption = CorruptionConfig(propagation=percentage)
    # With dense labels the first turn leaves them as they are, so that there is none later.
    config.pipeline.propagation = PropagationConfig(
        fractions=(0.4, 0.7), num_nodes=400, num_rays=4000, clean_noise_rate=1.0
    )
    return config


@pytest.mark.parametrize(
    ("name", "percentage"),
    [("semantic-nerf", None), ("semantic-nerf", 10.0), ("semantic-ngp", 10.0), ("semantic-nerf-vanilla", None)],
)
def test_a_training_that_is_killed_twice_ends_with_the_weights_of_an_unbroken_one(
    name: str, percentage: float | None, replica_scene: Path, tmp_path: Path
) -> None:
    with trainer_of(config_of(name, replica_scene, tmp_path / "unbroken", percentage)) as trainer:
        trainer.train()
        weights, propagated = weights_of(trainer), trainer.pipeline.datamanager.propagated
    assert (propagated is None) == (percentage is None)
    for broken in train_with_breaks(config_of(name, replica_scene, tmp_path / "broken", percentage), DEATHS):
        found = weights_of(broken)
        assert found.keys() == weights.keys()
        assert [key for key, value in found.items() if not torch.equal(value, weights[key])] == []
