"""The rounds of active learning in a training run: choose, ask, take answers, spread the labels anew."""

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from semantic_ns.active_learning.pool.pool import Pool, render_pool
from semantic_ns.active_learning.pool.ray_statistics import refuse_other_models
from semantic_ns.active_learning.pool.units import Units, divide
from semantic_ns.active_learning.rounds.folder_oracle import FolderOracle
from semantic_ns.active_learning.rounds.oracle import GroundTruthOracle, Oracle
from semantic_ns.active_learning.rounds.revealed_labels import RevealedLabels, spent
from semantic_ns.active_learning.rounds.schedule import ActiveConfig
from semantic_ns.active_learning.strategies.selection import initial_units, required_statistics, select
from semantic_ns.interfaces import SemanticModelLike, TrainingDataLike
from semantic_ns.io.console import announce
from semantic_ns.io.writing import write_errors_as_scene_error, write_json
from semantic_ns.propagation.stage import PropagationStage
from semantic_ns.run_snapshot import RunSnapshot

LABELS_FOLDER = "labels"
"""Folder beside a run's configuration: the labels that were revealed so far, for `train-labels` of other runs."""
LOG_FILE = "active.json"
"""File beside a run's configuration: what was asked and revealed in each round, and what it cost."""
_STEPS_BETWEEN_LOOKS = 10
"""Steps after which the run looks for answers again."""


def divide_pool(datamanager: TrainingDataLike, config: ActiveConfig) -> Units:
    """The training images in the units of the options."""
    dataset = datamanager.train_dataset
    images = [dataset.color_of(i).numpy() for i in range(len(dataset))]
    return divide(images, config.unit, config.region_pixels)


def make_oracle(datamanager: TrainingDataLike, units: Units, config: ActiveConfig, is_resumed: bool = False) -> Oracle:
    """Whoever answers by the options: the labels that there would be without active learning, or a folder.

    Args:
        datamanager: data manager of the training images.
        units: their division.
        config: who answers.
        is_resumed: whether the run goes on from a checkpoint.

    Raises:
        SceneError: if the folder cannot be used.
    """
    dataset = datamanager.train_dataset
    if config.oracle_folder is None:
        labels, classes = datamanager.training_labels.by_options, dataset.taxonomy.num_classes
        return GroundTruthOracle(labels, units, classes, config.error_rate, config.seed)
    return FolderOracle(config.oracle_folder, units, dataset, vars(config.selection), is_resumed)


def choose_units(
    model: SemanticModelLike,
    datamanager: TrainingDataLike,
    units: Units,
    revealed: RevealedLabels,
    config: ActiveConfig,
    shown: Callable[[], Pool] | None = None,
) -> Int64[ndarray, "chosen"]:
    """What the next round asks for; it knows no label but those that the model was trained with.

    Round 0 depends only on the cameras and the seed. A later round may spend what its budget leaves; its seed follows
    from that of the options and from its number.

    Args:
        model: The model that is trained.
        datamanager: The data manager of its training images.
        units: The division of these images.
        revealed: What was asked for so far.
        config: How to choose.
        shown: What the model shows of the images; without it, they are rendered.
    """
    number, cameras = len(revealed.rounds), datamanager.train_dataset.cameras
    if number == 0:
        return initial_units(cameras, units, config.unit, config.seed, config.budgets[0])
    # Lest rounding costs the last of some whole frames.
    budget = (1 + 1e-9) * config.budgets[number] * float(units.costs(config.cost).sum())
    # Round 0 may cost more than its budget: it has two frames at least.
    left = max(0.0, budget - spent(units, revealed.asked)[config.cost])
    if shown is not None:
        pool = shown()
    else:
        pool = render_pool(model, datamanager.train_ray_generator, cameras, needs=required_statistics(config.strategy))
    seed = int(np.random.SeedSequence([config.seed, number]).generate_state(1)[0])
    return select(pool, units, revealed.is_asked(len(units)), left, config.cost, config.selection, seed)


class ActiveRun(NamedTuple):
    """What the rounds of a run share, which its pipeline owns."""

    config: ActiveConfig
    """When to ask, for how many labels, and whom."""
    revealed: RevealedLabels
    """What was asked for and revealed so far."""
    snapshot: RunSnapshot
    """What a resumed run takes up."""
    schedule_step: Callable[[int], int] = lambda step: step
    """A function that returns the step at which schedules are in a step, see `RunClock`."""


class ActiveStage:
    """Runs the rounds at set fractions of a run, each once all before are answered, and never waits for an answer.

    Args:
        model: The model that is trained.
        datamanager: The data manager whose training labels grow.
        propagation: The stage that spreads labels anew when there are more, or None if they do not spread.
        run: Options, revealed labels and snapshot of the run.
        num_steps: The number of steps of the whole run.
        log_folder: The folder where `active.json` is kept, or None for nowhere.
        reset_classes: A function that is called after each round, before training goes on, or None if classes train on.

    Attributes:
        before_rendering: A function that is called before the model shows what to ask for, or None for nothing.

    Raises:
        SceneError: if the options do not fit each other, or the model is no semantic-nerf with classes; in the first
            step, if the oracle's folder cannot be used.
    """

    def __init__(
        self,
        model: SemanticModelLike,
        datamanager: TrainingDataLike,
        propagation: PropagationStage | None,
        run: ActiveRun,
        num_steps: int,
        *,
        log_folder: Path | None = None,
        reset_classes: Callable[[], None] | None = None,
    ) -> None:
        self._config, self._revealed, self._snapshot, self._at = run
        self._steps = self._config.steps(num_steps)
        self._model, self._datamanager, self._propagation = model, datamanager, propagation
        self._log_folder, self._reset_classes = log_folder, reset_classes
        self.before_rendering: Callable[[], None] | None = None
        self._num_steps, self._is_resumed = num_steps, False
        refuse_other_models(model)  # before hours of training, not at the first round

    # Both take their time, which whoever only sets up a run need not wait for.
    @cached_property
    def _units(self) -> Units:
        return divide_pool(self._datamanager, self._config)

    @cached_property
    def _oracle(self) -> Oracle:
        return make_oracle(self._datamanager, self._units, self._config, self._is_resumed)

    def resume(self, step: int) -> None:
        """Take up what a checkpoint holds, if one was loaded; to come before everything else in a step."""
        if not self._snapshot.is_loaded:
            return
        self._is_resumed = True
        self._datamanager.set_training_labels(self._revealed.labels)
        if self._propagation is not None:
            self._propagation.resume(step, self._snapshot.maps)
        if len(self._revealed.pending):
            self._oracle.ask(len(self._revealed.rounds) - 1, self._revealed.pending)
        self._snapshot.restore()

    def before_step(self, step: int) -> None:
        """Take what answers there are, ask if it is time."""
        if step % _STEPS_BETWEEN_LOOKS == 0:
            self._take_answers(step)
        number = len(self._revealed.rounds)
        if number < len(self._steps) and self._steps[number] <= self._at(step) and not len(self._revealed.pending):
            self._ask(number, step)
            self._take_answers(step)
        if step == self._num_steps - 1 and len(self._revealed.pending):
            announce(
                "active learning",
                f"{len(self._revealed.pending)} questions are still open at the end of the run. Answer them in "
                f"{self._config.oracle_folder} and run the same command again: it takes all answers at its start.",
            )

    def _ask(self, number: int, step: int) -> None:
        chosen = self._oracle.asked_in(number)
        if chosen is None:
            if number > 0 and self.before_rendering is not None:
                self.before_rendering()
            chosen = choose_units(self._model, self._datamanager, self._units, self._revealed, self._config)
        self._oracle.ask(number, chosen)
        self._revealed.ask(self._units, chosen, step)
        costs = self._revealed.rounds[-1]
        share = costs[self._config.cost] / float(self._units.costs(self._config.cost).sum())
        announce(
            "active learning",
            f"Round {number} at step {step}: {len(chosen)} units more; in all {costs['pixels']:.0f} pixels, "
            f"{costs['clicks']:.0f} clicks, {costs['frames']:.1f} frames, {share:.1%} of all {self._config.cost}.",
        )
        self._write_log()

    def _take_answers(self, step: int) -> None:
        pending = self._revealed.pending
        if not len(pending):
            return
        answers = self._oracle.answers(pending, step)
        if not answers:
            return
        num_open = len(pending)
        self._revealed.reveal(self._units, answers)
        self._datamanager.set_training_labels(self._revealed.labels)
        if self._propagation is not None:
            self._propagation.labels_changed(self._at(step))
        if self._reset_classes is not None and not len(self._revealed.pending):
            self._reset_classes()
        still_open = len(self._revealed.pending)
        announce("active learning", f"{num_open - still_open} answers taken at step {step}, {still_open} still open.")
        if self._log_folder is not None:
            self._datamanager.training_labels.write(self._log_folder / LABELS_FOLDER)
        self._write_log()

    def _write_log(self) -> None:
        if self._log_folder is not None:
            content = {"rounds": self._revealed.rounds, "units_without_answer": len(self._revealed.pending)}
            with write_errors_as_scene_error(self._log_folder):
                write_json(self._log_folder / LOG_FILE, content)
