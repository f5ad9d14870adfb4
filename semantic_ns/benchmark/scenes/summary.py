"""What a scoreboard says of one scene: means over seeds, the worst of them, and the worst image of all."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from semantic_ns.benchmark.runner.code_versions import code_of
from semantic_ns.benchmark.runner.results import Result, grouped
from semantic_ns.benchmark.runner.trials import (
    RESULT,
    TRIAL,
    TRIALS,
    Trial,
    read_result,
    read_trial_or_none,
    refuse_mixed,
)
from semantic_ns.errors import SceneError

IMAGES = "images"


class Row(NamedTuple):
    """What the results of a row have in common; the number of steps is 0 where it is the method's own."""

    scene: str
    method: str
    mode: str
    label: str
    num_steps: int = 0


@dataclass(frozen=True)
class Failed:
    """A trial that failed, and why."""

    trial: Trial
    error: str


@dataclass(frozen=True)
class Statistic:
    """A number over seeds.

    Attributes:
        mean: mean over seeds.
        worst: score of the worst seed.
        worst_seed: the seed with the worst score.
        spread: largest minus smallest.
    """

    mean: float
    worst: float
    worst_seed: int
    spread: float


@dataclass(frozen=True)
class Summary:
    """A row of the scoreboard.

    Attributes:
        row: what it is of.
        seeds: seeds of the finished trainings.
        failed: seeds of those that failed.
        miou_present, psnr, depth_l1: summaries over seeds; None where unknown. PSNR in dB, depth error in metres.
        psnr_between_images: mean over seeds of the standard deviation between images, dB.
        worst_image: `image`, `psnr` and `seed` of the worst image of all seeds.
        seconds: training time, mean over seeds.
        milliseconds_per_step: median of a training, mean over seeds.
        steps: number of steps of a training.
        code: versions of the code of the finished trainings, sorted.
    """

    row: Row
    seeds: tuple[int, ...]
    failed: tuple[int, ...]
    miou_present: Statistic | None
    psnr: Statistic | None
    depth_l1: Statistic | None
    psnr_between_images: float | None
    worst_image: dict[str, Any] | None
    seconds: float | None
    milliseconds_per_step: float | None
    steps: int | None
    code: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The row as JSON has it."""
        found = asdict(self)
        return found.pop("row")._asdict() | found


class Scoreboard(NamedTuple):
    """What lies in the folder of a scoreboard, in the order of the trials' names.

    Attributes:
        done: results.
        failed: failures.
        unfinished: trials without an end.
        unreadable: names of folders whose files cannot be read, as where copying was interrupted.
    """

    done: list[Result]
    failed: list[Failed]
    unfinished: list[Trial]
    unreadable: list[str]


def is_scoreboard(output: Path) -> bool:
    """Whether a folder holds results of `sns-benchmark scenes`."""
    results = (read_result(folder) for folder in (output / TRIALS).glob("*"))
    return any(result is not None and IMAGES in result for result in results)


def read_scoreboard(output: Path) -> Scoreboard:
    """Read the folder of a scoreboard.

    Raises:
        SceneError: if there is no result, or results of one row differ in more than seed and folder.
    """
    found = Scoreboard([], [], [], [])
    for folder in sorted({path.parent for name in (TRIAL, RESULT) for path in (output / TRIALS).glob(f"*/{name}")}):
        content = read_result(folder)
        if content is None:
            if (trial := read_trial_or_none(folder)) is None:
                found.unreadable.append(folder.name)
            else:
                found.unfinished.append(trial)
        elif content["state"] == "failed":
            found.failed.append(Failed(Trial.from_json(content["cell"]), content["error"]))
        else:
            found.done.append(Result(Trial.from_json(content["cell"]), content["scores"], content))
    if not found.done and not found.failed:
        raise SceneError(
            f"Expected results of sns-benchmark scenes in {output}, found none; run it with --output {output} first."
        )
    refuse_mixed_rows(result.trial for result in found.done)
    return found


def refuse_mixed_rows(trials: Iterable[Trial]) -> None:
    """Check that trials of one row differ in seed and folder alone: machines may have the scenes in different places.

    Raises:
        SceneError: naming what differs.
    """
    # As they are read back: trials that are planned may have the options by former names.
    read = (Trial.from_json(trial.to_json()) for trial in trials)
    refuse_mixed(replace(trial, scene=replace(trial.scene, data=Path())) for trial in read)


def row_of(trial: Trial) -> Row:
    """The row that a trial belongs to."""
    return Row(trial.scene.name, trial.method, trial.mode, trial.variant, trial.num_steps)


def summaries(results: Sequence[Result], failed: Sequence[Failed]) -> list[Summary]:
    """A row for each scene, method, mode, label and number of steps, sorted."""
    by_row = grouped(results, lambda result: row_of(result.trial))
    rows = sorted({*by_row, *(row_of(failure.trial) for failure in failed)})
    return [
        summary_of(row, by_row.get(row, []), [each.trial.seed for each in failed if row_of(each.trial) == row])
        for row in rows
    ]


def summary_of(row: Row, results: Sequence[Result], failed: Iterable[int] = ()) -> Summary:
    """A row from the results of its seeds."""
    images = [
        {"image": result.content["worst_image"]["image"], "psnr": result.content["worst_image"]["psnr"]}
        | {"seed": result.trial.seed}
        for result in results
        if result.content["worst_image"] is not None
    ]
    return Summary(
        row=row,
        seeds=tuple(sorted(result.trial.seed for result in results)),
        failed=tuple(sorted(failed)),
        miou_present=_statistic(results, "miou_present", min),
        psnr=_statistic(results, "psnr", min),
        depth_l1=_statistic(results, "depth_l1", max),
        psnr_between_images=_mean(_own(result).get("psnr_std") for result in results),
        worst_image=min(images, key=lambda image: image["psnr"], default=None),
        seconds=_mean(result.content["training_seconds"] for result in results),
        milliseconds_per_step=_mean(result.content["milliseconds_per_step"] for result in results),
        steps=results[0].content["steps"] if results else None,
        code=tuple(sorted({code_of(result.content) for result in results})),
    )


def _own(result: Result) -> dict[str, Any]:
    """Scores on the poses that the labels are compared by."""
    return result.scores[result.content["poses"]]


def _statistic(results: Sequence[Result], name: str, worst: Callable[..., Any]) -> Statistic | None:
    values = {result.trial.seed: _own(result)[name] for result in results if _own(result).get(name) is not None}
    if not values:
        return None
    seed = worst(sorted(values), key=lambda seed: values[seed])
    return Statistic(statistics.fmean(values.values()), values[seed], seed, max(values.values()) - min(values.values()))


def _mean(values: Iterable[float | None]) -> float | None:
    found = [value for value in values if value is not None]
    return statistics.fmean(found) if found else None
