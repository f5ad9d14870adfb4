"""Short runs with active learning: their options, what they hold, and runs that are killed and resumed."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from nerfstudio.scripts.train import _set_random_seed

from semantic_ns.active_learning.rounds.schedule import ActiveConfig
from semantic_ns.host import allow_numpy_scalars_in_checkpoints
from semantic_ns.methods.semantic_nerf.method import semantic_nerf
from semantic_ns.propagation.config import PropagationConfig
from support.registered import SMALL, configured

ACTIVE = ActiveConfig(
    strategy="entropy", region_pixels=60, fractions=(0.0, 0.4, 0.7), budgets=(0.05, 0.15, 0.3), seed=2
)
STEPS = 60


class KilledError(Exception):
    """The end of a process, as far as its state in memory goes."""


def config_of(scene: Path, output: Path, active: ActiveConfig = ACTIVE, **options: Any) -> Any:
    sizes = SMALL["semantic-nerf"]
    config: Any = configured(semantic_nerf, scene, output, STEPS, **sizes)
    config.timestamp, config.steps_per_save = "run", 25
    config.pipeline.active = active
    config.pipeline.datamanager.train_num_rays_per_batch = 256
    config.pipeline.propagation = PropagationConfig(fractions=(0.5,), num_nodes=400, num_rays=4000)
    for name, value in options.items():
        setattr(config, name, value)
    return config


@contextmanager
def trainer_of(config: Any) -> Iterator[Any]:
    from nerfstudio.utils import writer  # nerfstudio's configurations import it and are imported by it

    allow_numpy_scalars_in_checkpoints()
    _set_random_seed(config.machine.seed)
    trainer = config.setup(local_rank=0, world_size=1)
    trainer.setup()
    try:
        yield trainer
    finally:
        for event_writer in writer.EVENT_WRITERS:
            if isinstance(event_writer, writer.TensorboardWriter):
                event_writer.tb_writer.close()
        writer.EVENT_WRITERS.clear()


def revealed_of(trainer: Any) -> Any:
    return trainer.pipeline.revealed_labels


def truth_of(trainer: Any) -> list[np.ndarray]:
    return trainer.pipeline.datamanager.training_labels.by_options


def weights_of(trainer: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in trainer.pipeline.model.state_dict().items()}


def assert_same_outcome(trainer: Any, revealed: Any, weights: dict[str, torch.Tensor]) -> None:
    """The same units in the same order, the same labels, and a model that is equal bit by bit."""
    found = revealed_of(trainer)
    assert found.asked.tolist() == revealed.asked.tolist()
    assert found.rounds == revealed.rounds
    for image, other in zip(revealed.labels, found.labels, strict=True):
        np.testing.assert_array_equal(other, image)
    for name, tensor in weights_of(trainer).items():
        torch.testing.assert_close(tensor, weights[name], rtol=0, atol=0, msg=name)


def killed_at(trainer: Any, step_of_death: int) -> None:
    datamanager = trainer.pipeline.datamanager
    original = datamanager.next_train

    def next_train(step: int) -> Any:
        if step == step_of_death:
            raise KilledError
        return original(step)

    datamanager.next_train = next_train


def train_with_breaks(config: Any, deaths: list[int], prepare: Any = lambda trainer: None) -> Iterator[Any]:
    """Start, be killed in the given steps and resumed each time; gives the trainer at the end."""
    for step in deaths:
        with trainer_of(config) as trainer:
            prepare(trainer)
            killed_at(trainer, step)
            with pytest.raises(KilledError):
                trainer.train()
            resume = trainer.base_dir / "resume.yml"
        config = yaml.load(resume.read_text(), Loader=yaml.Loader)
    with trainer_of(config) as trainer:
        prepare(trainer)
        trainer.train()
        yield trainer
