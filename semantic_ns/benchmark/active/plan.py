"""Which trials a benchmark of active learning has: strategies x seeds x scenes, and the colour trainings below them."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import get_args

from semantic_ns.active_learning.config import Strategy, Unit
from semantic_ns.benchmark.runner.plan import refuse_equal_names
from semantic_ns.benchmark.runner.trials import BenchmarkScene, Trial
from semantic_ns.errors import SceneError

COLOR = "colour"
ALL_LABELS = "all-labels"
METHOD = "semantic-nerf"
PREFIX = "--pipeline.active."
"""Start of the options of `ns-train` that are of active learning."""
_SEMANTICS_OFF = ("--pipeline.model.use-semantics", "False")
_PARTS = ("discard-unsure-depth", "use-entropy", "count-views", "damp-near-labels", "greedy-coverage")
_BY_SURFACE: tuple[Strategy, ...] = ("geometry", "reach")


def _without(strategy: Strategy, *parts: str) -> tuple[str, ...]:
    return ("--strategy", strategy, *(word for part in parts for word in (f"--{part}", "False")))


VARIANTS: dict[str, tuple[str, ...]] = {
    **{name: ("--strategy", name) for name in get_args(Strategy)},
    **{f"geometry-without-{part}": _without("geometry", part) for part in _PARTS},
    **{f"reach-without-{part}": _without("reach", part) for part in _PARTS if part != "use-entropy"},
    "geometry-greedy-coverage-alone": _without("geometry", *_PARTS[:-1]),
    **{f"{name}-with-balanced-creases": ("--strategy", name, "--balance-creases", "True") for name in _BY_SURFACE},
}
"""Strategies, and those by surface without one of their parts: options of active learning."""
SHARES = (0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32)
"""Budgets of pixels and regions, of the pixels of the pool."""
FRAME_SHARES = tuple(2**power / 90 for power in range(7))
"""Budgets of frames: 2, 4, 8 ... 128 of 180."""


@dataclass(frozen=True)
class ActivePlan:
    """A benchmark of active learning.

    Attributes:
        scenes: what is trained on.
        strategies: names of `VARIANTS`.
        units: what is asked for.
        seeds: seeds of the colour training, of the acquisition, and of the training of classes.
        num_steps: number of steps of the colour training.
        budgets: cumulative budget after each round, as shares of the pool; if empty, the default of the unit.
        error_rate: share of the units that are answered wrongly.
    """

    scenes: tuple[BenchmarkScene, ...]
    strategies: tuple[str, ...]
    units: tuple[Unit, ...]
    seeds: tuple[int, ...]
    num_steps: int
    budgets: tuple[float, ...] = ()
    error_rate: float = 0.0

    def color_trials(self) -> list[Trial]:
        """The trainings of geometry and colours, one for each scene and seed.

        Raises:
            SceneError: if there is nothing to train.
        """
        for what, given in (("scene", self.scenes), ("strategy", self.strategies), ("seed", self.seeds)):
            if not given:
                raise SceneError(f"Expected at least one {what}, found none; name one.")
        refuse_equal_names(self.scenes)
        return [color_trial(scene, seed, self.num_steps) for seed, scene in product(self.seeds, self.scenes)]

    def trials(self) -> list[Trial]:
        """All rounds of each strategy, and the upper bound with all labels, seed by seed.

        Raises:
            SceneError: if a strategy is unknown.
        """
        if unknown := [name for name in self.strategies if name not in VARIANTS]:
            raise SceneError(f"Expected a strategy among {', '.join(VARIANTS)}, found {unknown[0]!r}; choose one.")
        options = {ALL_LABELS: (*_lists((1.0,)), "--strategy", "random", "--unit", "pixel")} | {
            f"{unit}-{name}": (*self._options(unit), *VARIANTS[name], "--unit", unit)
            for unit, name in product(self.units, self.strategies)
        }
        return [
            Trial(scene, METHOD, "all", seed, self.num_steps, name, _words(words, seed))
            for seed, (name, words), scene in product(self.seeds, options.items(), self.scenes)
        ]

    def _options(self, unit: Unit) -> tuple[str, ...]:
        budgets = self.budgets or (FRAME_SHARES if unit == "frame" else SHARES)
        cost = "frames" if unit == "frame" else "pixels"
        return (*_lists(budgets), "--cost", cost, "--error-rate", str(self.error_rate))


def color_trial(scene: BenchmarkScene, seed: int, num_steps: int) -> Trial:
    """The training that all strategies of a scene and seed start from; it sees no label."""
    return Trial(scene, METHOD, "all", seed, num_steps, COLOR, _SEMANTICS_OFF)


def _lists(budgets: Sequence[float]) -> tuple[str, ...]:
    shares = [repr(float(budget)) for budget in budgets]
    # When is of no matter here: each round has the steps that it is given.
    return ("--budgets", *shares, "--fractions", *("0.0" for _ in shares))


def _words(words: Sequence[str], seed: int) -> tuple[str, ...]:
    """Options of `ns-train`; one with a single value comes last: a list would take the dataparser's name, too."""
    return tuple(f"{PREFIX}{word[2:]}" if word.startswith("--") else word for word in (*words, "--seed", str(seed)))
