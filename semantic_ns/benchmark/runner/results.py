"""Results of trials, and means over their seeds."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, get_args

from semantic_ns.benchmark.runner.modes import find_mode
from semantic_ns.benchmark.runner.trials import TRIALS, Trial, read_result
from semantic_ns.errors import SceneError
from semantic_ns.fusion.label_fusion import Rule

SCORES = ("miou_present", "miou", "class_accuracy", "pixel_accuracy")
ECE = "ece"
_AVERAGED = (*SCORES, ECE, "psnr", "depth_l1", "num_images")
INPUT = "input"
TRAINS_WITH_DEPTH = "trains_with_depth"
"""Whether depth images trained, in a result and as what a data manager states."""
PREDICTIONS = "predictions"
"""The predictions as they are, their classes that the scene does not have counted as wrong: so fused ones and a field's
are scored."""
DEPTHS = ("given", "rendered")


def baseline_name(rule: str, depth: str) -> str:
    """Where the scores of a fusion stand in a result."""
    return f"{rule}_{depth}_depth"


BASELINES = tuple(baseline_name(rule, depth) for rule, depth in product(get_args(Rule), DEPTHS))


@dataclass(frozen=True)
class Result:
    """A trial that is done.

    Attributes:
        trial: what was trained.
        scores: scores of `test` and `train` poses, and of `input`, the labels that it was trained with.
        content: all that its JSON file says.
    """

    trial: Trial
    scores: dict[str, dict[str, Any]]
    content: dict[str, Any]

    @property
    def has_semantics(self) -> bool:
        """Whether classes were trained."""
        return self.content["semantics"]


@dataclass(frozen=True)
class Failure:
    """A trial that failed: its name and why."""

    key: str
    error: str


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation over seeds (0 for one)."""

    mean: float
    deviation: float
    count: int

    def text(self, digits: int = 3) -> str:
        """Such as 0.652 ± 0.011; without a deviation for one seed."""
        text = f"{self.mean:.{digits}f}"
        return f"{text} ± {self.deviation:.{digits}f}" if self.count > 1 else text


def spread(values: Iterable[float | None]) -> Spread | None:
    """Mean and deviation of the values that exist; None if none does."""
    found = [value for value in values if value is not None]
    if not found:
        return None
    return Spread(statistics.fmean(found), statistics.stdev(found) if len(found) > 1 else 0.0, len(found))


def score(results: Iterable[Result], place: str, name: str) -> Spread | None:
    """A score over the results of several seeds.

    Args:
        results: results that differ in their seed alone.
        place: `test`, `train` or `input`.
        name: name of the score.
    """
    return spread(result.scores[place].get(name) for result in results)


def own_score(results: Sequence[Result], name: str = "miou_present") -> Spread | None:
    """A score on the poses that the mode of these results is compared by."""
    return score(results, find_mode(results[0].trial.mode).poses, name) if results else None


def read_results(output: Path) -> tuple[list[Result], list[Failure]]:
    """All results below a benchmark's folder, in the order of the trials' names.

    Raises:
        SceneError: if there is none.
    """
    done, failed = [], []
    for folder in sorted((output / TRIALS).glob("*")):
        content = read_result(folder)
        if content is None:
            continue
        if content["state"] == "done":
            done.append(Result(Trial.from_json(content["cell"]), content["scores"], content))
        else:
            failed.append(Failure(folder.name, content["error"]))
    if not done and not failed:
        raise SceneError(
            f"Expected results of sns-benchmark labels in {output}, found none; run it with --output {output} first."
        )
    return done, failed


def grouped(results: Iterable[Result], key: Callable[[Result], Any]) -> dict[Any, list[Result]]:
    """Results by a key, in the order in which the keys first come."""
    found: dict[Any, list[Result]] = {}
    for result in results:
        found.setdefault(key(result), []).append(result)
    return found


def mean_over_scenes(results: Sequence[Result], name: str) -> list[Result]:
    """Results of a scene that does not exist: the scores of each seed averaged over the scenes.

    Args:
        results: results of one method and number of steps.
        name: name of that scene.

    Returns:
        One for each variant, mode and seed that every scene has.
    """
    scenes = {result.trial.scene.name for result in results}
    found = []
    for same in grouped(results, lambda result: (result.trial.variant, result.trial.mode, result.trial.seed)).values():
        if {result.trial.scene.name for result in same} != scenes:
            continue
        first = same[0]
        scene = replace(first.trial.scene, name=name)
        seconds = statistics.fmean(result.content["training_seconds"] for result in same)
        found.append(
            Result(
                replace(first.trial, scene=scene),
                {place: _mean_scores(same, place) for place in first.scores},
                first.content | {"training_seconds": seconds},
            )
        )
    return found


def _mean_scores(results: Sequence[Result], place: str) -> dict[str, Any]:
    """The means of the scores that every result has."""
    found = {}
    for name in _AVERAGED:
        mean = score(results, place, name)
        if mean is not None and mean.count == len(results):
            found[name] = mean.mean
    return found
