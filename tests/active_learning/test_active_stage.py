"""Active learning in a training run: what training sees, what selection may not see, and what a checkpoint keeps."""

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import torch

from semantic_ns.active_learning.rounds.reset_classes import reset_semantic_parameters
from semantic_ns.active_learning.rounds.schedule import ActiveConfig
from semantic_ns.active_learning.rounds.stage import LABELS_FOLDER, LOG_FILE, divide_pool
from semantic_ns.batch import LABELS, SOFT_LABELS
from semantic_ns.datamanagers.semantic_datamanager import SemanticDataManagerConfig
from semantic_ns.datasets.training_labels import read_label_folder
from semantic_ns.errors import SceneError
from semantic_ns.labels.taxonomy import VOID
from semantic_ns.methods.semantic_ngp.method import semantic_ngp
from semantic_ns.pipeline import SemanticPipelineConfig
from semantic_ns.run_snapshot import RunSnapshot
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
from support.registered import SMALL, configured


def cached_labels(datamanager: Any) -> dict[int, np.ndarray]:
    batch = datamanager.train_image_dataloader.cached_collated_batch
    return {
        int(number): labels[..., 0].numpy() for number, labels in zip(batch["image_idx"], batch[LABELS], strict=True)
    }


# What training sees


@dataclass(frozen=True)
class Ended:
    """A run that has ended, and what it saw: the batches of labels, and which propagated labels there were, by step."""

    trainer: Any
    batches: list[tuple[np.ndarray, np.ndarray, list[np.ndarray]]]
    propagated: list[int]


@pytest.fixture(scope="module")
def ended(smaller_scene: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ended]:
    """Read-only: several tests look at it."""
    config = config_of(smaller_scene, tmp_path_factory.mktemp("ended"))
    with trainer_of(config) as trainer:
        config.save_config()
        datamanager, found = trainer.pipeline.datamanager, Ended(trainer, [], [])
        assert all((labels == VOID).all() for labels in cached_labels(datamanager).values())
        original = datamanager.next_train

        def watched(step: int) -> Any:
            assert step == len(found.batches)
            rays, batch = original(step)
            assert (SOFT_LABELS in batch) == (datamanager.propagated is not None)
            given = [labels.copy() for labels in revealed_of(trainer).labels]
            found.batches.append((batch["indices"].numpy().copy(), batch[LABELS][:, 0].numpy().copy(), given))
            found.propagated.append(id(datamanager.propagated))
            return rays, batch

        datamanager.next_train = watched
        trainer.train()
        datamanager.next_train = original
        yield found


def test_training_sees_no_label_that_was_not_given(ended: Ended) -> None:
    trainer = ended.trainer
    datamanager, revealed = trainer.pipeline.datamanager, revealed_of(trainer)
    assert len(ended.batches) == STEPS
    for indices, labels, given in ended.batches:
        for (frame, row, column), label in zip(indices.tolist(), labels.tolist(), strict=True):
            assert label in (VOID, given[frame][row, column])
    assert [entry["step"] for entry in revealed.rounds] == [0, 24, 42]
    for number, labels in cached_labels(datamanager).items():
        np.testing.assert_array_equal(labels, revealed.labels[number])
        np.testing.assert_array_equal(datamanager.train_dataset.labels_of(number), revealed.labels[number])
        is_given = labels != VOID
        np.testing.assert_array_equal(labels[is_given], truth_of(trainer)[number][is_given])
    assert all(seen is own for seen, own in zip(datamanager.training_labels, revealed.labels, strict=True))


def test_rounds_keep_within_their_budgets_and_the_log_tells_what_they_cost(ended: Ended) -> None:
    log = json.loads((ended.trainer.base_dir / LOG_FILE).read_text())
    revealed, total = revealed_of(ended.trainer), 10 * 24 * 32
    assert log["rounds"] == revealed.rounds
    assert log["units_without_answer"] == 0
    for entry, budget in list(zip(revealed.rounds, ACTIVE.budgets, strict=True))[1:]:
        assert 0.5 * budget * total < entry["pixels"] <= budget * total
    num_given = sum(int((labels != VOID).sum()) for labels in revealed.labels)
    assert num_given <= revealed.rounds[-1]["pixels"]
    assert len(revealed.asked) == len(set(revealed.asked.tolist())) == revealed.rounds[-1]["clicks"]


def test_void_pixels_are_charged(smaller_scene: Path, tmp_path: Path) -> None:
    active = replace(ACTIVE, strategy="random", fractions=(0.0,), budgets=(0.9,))
    with trainer_of(config_of(smaller_scene, tmp_path, active, max_num_iterations=1)) as trainer:
        trainer.train()
        revealed, maps = revealed_of(trainer), divide_pool(trainer.pipeline.datamanager, active).maps
        num_asked = sum(int(np.isin(numbers, revealed.asked).sum()) for numbers in maps)
    assert revealed.rounds[0]["pixels"] == num_asked > sum(int((labels != VOID).sum()) for labels in revealed.labels)


def test_labels_spread_after_each_round_from_the_first_fraction_of_propagation_on(ended: Ended) -> None:
    found = ended.propagated
    assert [step for step in range(1, STEPS) if found[step] != found[step - 1]] == [30, 42]


# What selection sees


def poison(trainer: Any, asked: np.ndarray) -> None:
    """Replace all labels outside the units asked for."""
    datamanager, draw = trainer.pipeline.datamanager, np.random.default_rng(9)
    units = divide_pool(datamanager, trainer.config.pipeline.active)
    for labels, numbers in zip(truth_of(trainer), units.maps, strict=True):
        labels[...] = np.where(np.isin(numbers, asked), labels, draw.integers(-1, 5, labels.shape))


@pytest.mark.parametrize("strategy", ["disagreement", "core-set", "geometry", "reach"])
def test_labels_of_units_that_are_not_chosen_change_nothing(smaller_scene: Path, tmp_path: Path, strategy: Any) -> None:
    active = replace(ACTIVE, strategy=strategy)
    with trainer_of(config_of(smaller_scene, tmp_path / "clean", active, max_num_iterations=20)) as trainer:
        trainer.train()
        clean, weights = revealed_of(trainer), weights_of(trainer)
    with trainer_of(config_of(smaller_scene, tmp_path / "poisoned", active, max_num_iterations=20)) as trainer:
        poison(trainer, clean.asked)
        trainer.train()
        assert_same_outcome(trainer, clean, weights)


# Breaks


@pytest.mark.parametrize("active", [ACTIVE, replace(ACTIVE, strategy="geometry", restart=True, error_rate=0.2)])
def test_a_run_that_is_killed_twice_ends_as_an_unbroken_one(smaller_scene: Path, tmp_path: Path, active: Any) -> None:
    with trainer_of(config_of(smaller_scene, tmp_path / "unbroken", active, max_num_iterations=36)) as trainer:
        trainer.train()
        revealed, weights = revealed_of(trainer), weights_of(trainer)
    # Checkpoints are after the steps 9, 18 and 27: between rounds, and with labels that have spread.
    config = config_of(smaller_scene, tmp_path / "broken", active, max_num_iterations=36, steps_per_save=9)
    for broken in train_with_breaks(config, [13, 29]):
        assert_same_outcome(broken, revealed, weights)


def test_checkpoints_of_runs_without_active_learning_know_nothing_of_it(smaller_scene: Path, tmp_path: Path) -> None:
    with trainer_of(config_of(smaller_scene, tmp_path, ActiveConfig())) as trainer:
        assert not any("revealed_labels" in name for name in trainer.pipeline.state_dict())
        assert trainer.pipeline.revealed_labels is None
        assert not (trainer.base_dir / LABELS_FOLDER).exists()
        for seen, own in zip(trainer.pipeline.datamanager.training_labels, truth_of(trainer), strict=True):
            np.testing.assert_array_equal(seen, own)
        state = trainer.pipeline.state_dict()
        names = [callback.func.__qualname__ for callback in trainer.callbacks]
    assert not any("ActiveStage" in name for name in names)
    with trainer_of(config_of(smaller_scene, tmp_path / "other")) as trainer:
        trainer.pipeline.load_pipeline(state, 0)
        assert not len(revealed_of(trainer).asked)


def test_configurations_from_before_active_learning_are_without_it() -> None:
    old = SemanticPipelineConfig.__new__(SemanticPipelineConfig)
    old.__setstate__({"datamanager": SemanticDataManagerConfig.__new__(SemanticDataManagerConfig)})
    assert old.active.strategy is None
    assert not old.datamanager.starts_without_labels  # pyright: ignore[reportAttributeAccessIssue]


def test_labels_given_to_a_run_are_those_of_its_evaluation(ended: Ended) -> None:
    from nerfstudio.utils.eval_utils import eval_setup

    _, pipeline, _, _ = eval_setup(ended.trainer.base_dir / "config.yml", test_mode="inference")
    evaluated: Any = pipeline.datamanager
    for image, other in zip(revealed_of(ended.trainer).labels, evaluated.training_labels, strict=True):
        np.testing.assert_array_equal(other, image)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"budgets": (0.1,)}, "one budget for each round"),
        ({"fractions": (0.4, 0.1, 0.5)}, "ascending shares"),
        ({"budgets": (0.1, 0.2, 1.5)}, "ascending shares"),
        ({"error_rate": 2.0}, "error-rate"),
        ({"region_pixels": 0}, "region_pixels"),
    ],
)
def test_options_that_do_not_fit_are_said(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(SceneError, match=message):
        replace(ACTIVE, **wrong).steps(100)


@pytest.mark.parametrize("unit", ["frame", "pixel"])
def test_frames_and_pixels_are_asked_for_within_budgets_that_round_0_may_have_spent(
    smaller_scene: Path, tmp_path: Path, unit: Any
) -> None:
    active = replace(ACTIVE, unit=unit, strategy="geometry", cost="frames" if unit == "frame" else "pixels")
    with trainer_of(config_of(smaller_scene, tmp_path, replace(active, budgets=(0.05, 0.15, 0.4)))) as trainer:
        trainer.train()
        revealed = revealed_of(trainer)
    # Two of ten frames in the first round, whatever its budget: nothing is left for the second.
    expected = [2, 0, 2] if unit == "frame" else [384, 768, 1920]
    assert [entry["units"] for entry in revealed.rounds] == expected
    assert revealed.is_answered.all()


def test_labels_that_were_given_lie_beside_the_run_and_can_be_read_back(ended: Ended, tmp_path: Path) -> None:
    trainer = ended.trainer
    dataset, folder = trainer.pipeline.datamanager.train_dataset, trainer.base_dir / LABELS_FOLDER
    for image, other in zip(
        revealed_of(trainer).labels, read_label_folder(str(folder), dataset, tmp_path), strict=True
    ):
        np.testing.assert_array_equal(other, image)


def test_a_model_that_cannot_be_asked_is_refused_before_it_trains(smaller_scene: Path, tmp_path: Path) -> None:
    config: Any = configured(semantic_ngp, smaller_scene, tmp_path, STEPS, **SMALL["semantic-ngp"])
    config.pipeline.active = ACTIVE
    with pytest.raises(SceneError, match="a run of semantic-nerf"), trainer_of(config):
        pass


def test_active_learning_without_classes_is_refused(smaller_scene: Path, tmp_path: Path) -> None:
    config = config_of(smaller_scene, tmp_path)
    config.pipeline.model.use_semantics = False
    with pytest.raises(SceneError, match="use-semantics"), trainer_of(config):
        pass


# Parts


def test_starting_over_changes_classes_alone_and_forgets_their_moments(smaller_scene: Path, tmp_path: Path) -> None:
    with trainer_of(config_of(smaller_scene, tmp_path)) as trainer:
        trainer.train()
        before, optimizers = weights_of(trainer), trainer.optimizers.optimizers
        reset_semantic_parameters(trainer.pipeline.model.field.head, optimizers)
        changed = {name for name, tensor in weights_of(trainer).items() if (tensor != before[name]).any()}
        own = {f"field.{name}" for name, _ in trainer.pipeline.model.field.named_parameters() if "semantic" in name}
        assert changed == own
        for optimizer in optimizers.values():
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    is_own = any(parameter is p for n, p in trainer.pipeline.model.named_parameters() if n in own)
                    assert (parameter in optimizer.state) == (not is_own)
        trainer.train_iteration(STEPS)


class FakeSampling:
    """A model whose sampling counts nothing."""

    sampling_turns: Mapping[str, int] = MappingProxyType({})


def test_a_resumed_snapshot_draws_what_would_have_been_drawn() -> None:
    state = RunSnapshot(FakeSampling()).state_dict()
    drawn = random.random(), float(np.random.normal()), float(torch.rand(()))
    other = RunSnapshot(FakeSampling())
    other.load_state_dict(state)
    assert other.is_loaded
    other.restore()
    assert (random.random(), float(np.random.normal()), float(torch.rand(()))) == drawn
    assert not other.is_loaded
