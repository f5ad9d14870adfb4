"""The rounds of active learning in a training run: choose, ask, take answers, spread the labels anew."""

from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from semantic_ns.active_learning.pool.pool import Pool, render_pool
from semantic_ns.active_learning.pool.ray_statistics import refuse_other_models
from semantic_ns.active_learning.pool.units import Units, divide
from semantic_ns.active_learning.rounds.folder_oracle import FolderOracle
from semantic_ns.active_learning.rounds.oracle import GroundTruthOracle, Oracle
from semantic_ns.active_learning.rounds.revealed_labels import GivenLabels, spent
from semantic_ns.active_learning.rounds.schedule import ActiveConfig
from semantic_ns.active_learning.rounds.snapshot import RunMoment
from semantic_ns.active_learning.strategies.selection import initial_units, needs_of, select
from semantic_ns.interfaces import SemanticModelLike, TrainingDataLike
from semantic_ns.io.console import announce
from semantic_ns.io.writing import told_if_not_writable, write_json
from semantic_ns.propagation.stage import PropagationStage

LABELS_FOLDER = "labels"
"""Folder beside a run's configuration: the labels that were given so far, for `train-labels` of other runs."""
LOG_FILE = "active.json"
"""File beside a run's configuration: what was asked and given in each round, and what it cost."""
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
        datamanager: of the training images.
        units: their division.
        config: who answers.
        is_resumed: whether the run goes on from a checkpoint.

    Raises:
        SceneError: if the folder cannot be used.
    """
    dataset = datamanager.train_dataset
    if config.oracle_folder is None:
        labels, classes = datamanager.labels_by_options, dataset.taxonomy.num_classes
        return GroundTruthOracle(labels, units, classes, config.error_rate, config.seed)
    return FolderOracle(config.oracle_folder, units, dataset, vars(config.selection), is_resumed)


def choose_units(
    model: SemanticModelLike,
    datamanager: TrainingDataLike,
    units: Units,
    given: GivenLabels,
    config: ActiveConfig,
    shown: Callable[[], Pool] | None = None,
) -> Int64[ndarray, "chosen"]:
    """What the next round asks for; it knows no label but those that the model was trained with.

    Round 0 hangs on cameras and seed alone. A later round may spend what its budget leaves, its seed follows from that
    of the options and from its number.

    Args:
        model: what is trained.
        datamanager: of its training images.
        units: their division.
        given: what was asked for so far.
        config: how to choose.
        shown: what the model shows of the images; if not given, it is rendered.
    """
    number, cameras = len(given.rounds), datamanager.train_dataset.cameras
    if number == 0:
        return initial_units(cameras, units, config.unit, config.seed, config.budgets[0])
    # Lest rounding costs the last of some whole frames.
    budget = (1 + 1e-9) * config.budgets[number] * float(units.costs(config.cost).sum())
    # Round 0 may cost more than its budget: it has two frames at least.
    left = max(0.0, budget - spent(units, given.asked)[config.cost])
    if shown is not None:
        pool = shown()
    else:
        pool = render_pool(model, datamanager.train_ray_generator, cameras, needs=needs_of(config.strategy))
    seed = int(np.random.SeedSequence([config.seed, number]).generate_state(1)[0])
    return select(pool, units, given.is_asked(len(units)), left, config.cost, config.selection, seed)


class ActiveStage:
    """Runs the rounds at set fractions of a run, each once all before are answered, and never waits for an answer.

    Args:
        model: what is trained.
        datamanager: whose `given` labels grow.
        propagation: spreads labels anew when there are more; none: they do not spread.
        moment: what a resumed run takes up.
        num_steps: of the whole run.
        log_folder: where `active.json` is kept; none: nowhere.
        start_classes_over: called after each round, before training goes on; none: classes train on.

    Raises:
        SceneError: if the options do not fit each other, or the model is no semantic-nerf with classes; in the first
            step, if the oracle's folder cannot be used.
    """

    def __init__(
        self,
        model: SemanticModelLike,
        datamanager: TrainingDataLike,
        propagation: PropagationStage | None,
        moment: RunMoment,
        num_steps: int,
        *,
        log_folder: Path | None = None,
        start_classes_over: Callable[[], None] | None = None,
    ) -> None:
        self._config: ActiveConfig = datamanager.config.active
        self._steps = self._config.steps(num_steps)
        self._model, self._datamanager, self._propagation = model, datamanager, propagation
        self._moment, self._log_folder, self._start_over = moment, log_folder, start_classes_over
        self._given: GivenLabels = datamanager.given
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
        if not self._moment.is_loaded:
            return
        self._is_resumed = True
        self._datamanager.show_given_labels()
        if self._propagation is not None and self._moment.maps is not None:
            self._propagation.resume(step, self._moment.maps)
        if len(self._given.pending):
            self._oracle.ask(len(self._given.rounds) - 1, self._given.pending)
        self._moment.restore()

    def before_step(self, step: int) -> None:
        """Take what answers there are, ask if it is time."""
        if step % _STEPS_BETWEEN_LOOKS == 0:
            self._take_answers(step)
        number = len(self._given.rounds)
        if number < len(self._steps) and self._steps[number] <= step and not len(self._given.pending):
            self._ask(number, step)
            self._take_answers(step)
        if step == self._num_steps - 1 and len(self._given.pending):
            announce(
                "active learning",
                f"{len(self._given.pending)} questions are still open at the end of the run. Answer them in "
                f"{self._config.oracle_folder} and run the same command again: it takes all answers at its start.",
            )

    def note_spreading(self, step: int) -> None:
        """Remember the surface that labels have spread over; to come after propagation in a step."""
        del step
        if self._propagation is not None:
            self._moment.maps = None if self._datamanager.propagated is None else self._datamanager.propagated.maps

    def _ask(self, number: int, step: int) -> None:
        chosen = self._oracle.asked_in(number)
        if chosen is None:
            chosen = choose_units(self._model, self._datamanager, self._units, self._given, self._config)
        self._oracle.ask(number, chosen)
        self._given.ask(self._units, chosen, step)
        costs = self._given.rounds[-1]
        share = costs[self._config.cost] / float(self._units.costs(self._config.cost).sum())
        announce(
            "active learning",
            f"Round {number} at step {step}: {len(chosen)} units more; in all {costs['pixels']:.0f} pixels, "
            f"{costs['clicks']:.0f} clicks, {costs['frames']:.1f} frames, {share:.1%} of all {self._config.cost}.",
        )
        self._write_log()

    def _take_answers(self, step: int) -> None:
        pending = self._given.pending
        if not len(pending):
            return
        answers = self._oracle.answers(pending, step)
        if not answers:
            return
        num_open = len(pending)
        self._given.give(self._units, answers)
        self._datamanager.show_given_labels()
        if self._propagation is not None:
            self._propagation.labels_changed(step)
        if self._start_over is not None and not len(self._given.pending):
            self._start_over()
        still_open = len(self._given.pending)
        announce("active learning", f"{num_open - still_open} answers taken at step {step}, {still_open} still open.")
        if self._log_folder is not None:
            self._datamanager.write_given_labels(self._log_folder / LABELS_FOLDER)
        self._write_log()

    def _write_log(self) -> None:
        if self._log_folder is not None:
            content = {"rounds": self._given.rounds, "units_without_answer": len(self._given.pending)}
            with told_if_not_writable(self._log_folder):
                write_json(self._log_folder / LOG_FILE, content)
