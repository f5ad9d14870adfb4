"""One training of a benchmark: what it is, where its result lies, and whether there is one."""

import hashlib
import json
import re
import shlex
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from semantic_ns.benchmark.runner.modes import TWO_FRAMES, Mode, find_mode
from semantic_ns.errors import SceneError
from semantic_ns.io.writing import write_errors_as_scene_error, write_json
from semantic_ns.moved import former_options, present_options

# Names in files are those of earlier versions, whose folders are taken up again.
TRIALS = "cells"
TRIAL = "cell.json"
RESULT = "result.json"
LOG = "log.txt"
BASE_VARIANT = "default"
DATAPARSER = "semantic-data"
_CORRUPTION = "--pipeline.datamanager.corruption."

State = Literal["done", "failed", "open"]


@dataclass(frozen=True)
class BenchmarkScene:
    """A scene of a benchmark.

    Attributes:
        data: its folder.
        name: name in the results, unique in a benchmark.
        options: options of the dataparser as on the command line, with its name first; may be empty.
        frames: the frames that keep their labels in the mode `two-frames`; empty: chosen by what they show.
        region_classes: classes whose instances region noise corrupts.
    """

    data: Path
    name: str
    options: tuple[str, ...] = ()
    frames: tuple[str, ...] = ()
    region_classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Trial:
    """A training: everything that decides its outcome.

    Attributes:
        scene: what it is trained and scored on.
        method: name of the method, as `ns-train` knows it.
        mode: name of the supervision mode.
        seed: seed of the trainer and of the corruption.
        num_steps: training steps; 0: the method's own number, without an option.
        variant: name of the options.
        options: more options of the method, as on the command line.
        score_stride: every n-th image of either poses is scored.
    """

    scene: BenchmarkScene
    method: str
    mode: str
    seed: int
    num_steps: int
    variant: str = BASE_VARIANT
    options: tuple[str, ...] = ()
    score_stride: int = 1

    def arguments(self, chosen: Sequence[str] = ()) -> list[str]:
        """The training as arguments of `ns-train`.

        Args:
            chosen: the frames that keep their labels in the mode `two-frames`, where the scene names none.

        Raises:
            SceneError: if the mode is unknown, or needs what the scene does not give.
        """
        mode = find_mode(self.mode)
        corruption = self._corruption(mode, (self.scene.frames or chosen) if self.mode == TWO_FRAMES else ())
        labels = [] if mode.train_labels is None else ["--pipeline.datamanager.train-labels", mode.train_labels]
        return [
            self.method,
            # Before options with one value: a list would take the dataparser's name, too.
            *corruption,
            *labels,
            *(("--max-num-iterations", str(self.num_steps)) if self.num_steps else ()),
            *("--machine.seed", str(self.seed)),
            *("--data", str(self.scene.data)),
            *self.options,
            *self.scene.options,
        ]

    def _corruption(self, mode: Mode, frames: Sequence[str]) -> list[str]:
        fields: dict[str, Any] = dict(mode.corruption)
        if frames:
            fields["label_frames"] = frames
        if mode.needs_region_classes:
            if not self.scene.region_classes:
                raise SceneError(
                    f"Expected the classes to corrupt in mode {mode.name}, found none for {self.scene.name}; name some "
                    "with --region-classes (or region_classes in the plan), such as chair."
                )
            fields["region_classes"] = self.scene.region_classes
        # Options of a variant may corrupt labels, too.
        if fields or any(option.startswith(_CORRUPTION) for option in self.options):
            fields["seed"] = self.seed
        found: list[str] = []
        for name, value in fields.items():
            values = value if isinstance(value, list | tuple) else [value]
            found += [_CORRUPTION + name.replace("_", "-"), *(str(item) for item in values)]
        return found

    @property
    def key(self) -> str:
        """Name of the trial's folder: readable, and different for trials that differ in anything."""
        said = f"{self.scene.name} {self.method} {self.mode} {self.variant} steps-{self.num_steps} seed-{self.seed}"
        how_scored = [] if self.score_stride == 1 else [self.score_stride]
        # By the former names of options: what was done before they moved stays done.
        identity = json.dumps([self.scene.name, self.variant, former_options(self.arguments()), *how_scored])
        digest = hashlib.sha256(identity.encode()).hexdigest()[:8]
        return f"{re.sub(r'[^A-Za-z0-9.%_-]+', '--', said.replace(' ', '__'))}__{digest}"

    def to_json(self) -> dict[str, Any]:
        """The trial as JSON has it."""
        found = asdict(self)
        found["scene"]["data"] = str(self.scene.data)
        return found

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Trial":
        """The trial that `to_json` told of."""
        scene = content["scene"]
        lists = {name: tuple(scene[name]) for name in ("options", "frames", "region_classes")}
        return cls(
            **content
            | {
                "scene": BenchmarkScene(**scene | lists | {"data": Path(scene["data"])}),
                "options": tuple(present_options(content["options"])),
            }
        )


def trial_folder(output: Path, trial: Trial) -> Path:
    """Where the files of a trial lie."""
    return output / TRIALS / trial.key


def write_trial(folder: Path, trial: Trial) -> None:
    """Write what the trial in a folder is; a result of before goes, since the trial starts over."""
    with write_errors_as_scene_error(folder):
        (folder / RESULT).unlink(missing_ok=True)
        write_json(folder / TRIAL, trial.to_json())


def read_trial(folder: Path) -> Trial:
    """What the trial in a folder is."""
    return Trial.from_json(json.loads((folder / TRIAL).read_text("utf8")))


def read_trial_or_none(folder: Path) -> Trial | None:
    """What the trial in a folder is; None where that cannot be read, as where copying was interrupted."""
    try:
        return read_trial(folder)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def done_trials(output: Path) -> list[Trial]:
    """The trials in a benchmark's folder that have a result."""
    folders = [path.parent for path in sorted((output / TRIALS).glob(f"*/{RESULT}"))]
    results = [read_result(folder) for folder in folders]
    return [Trial.from_json(read["cell"]) for read in results if read is not None and read["state"] == "done"]


def refuse_mixed(trials: Iterable[Trial]) -> None:
    """Check that trials of one name in tables differ in their seeds alone: they are averaged.

    Raises:
        SceneError: naming what differs.
    """
    first: dict[tuple[Any, ...], dict[str, Any]] = {}
    for trial in trials:
        content = replace(trial, seed=0).to_json()
        name = (trial.scene.name, trial.method, trial.num_steps, trial.mode, trial.variant)
        other = first.setdefault(name, content)
        if other != content:
            what = next(key for key in content if other[key] != content[key])
            raise SceneError(
                f"Expected results of {trial.scene.name}, {trial.mode}, {trial.variant} that differ in their seeds "
                f"alone, found {what} {other[what]} and {content[what]}; choose another --output, or another name for "
                "the variant (--variants, or --label of sns-benchmark scenes)."
            )


def read_result(folder: Path) -> dict[str, Any] | None:
    """The result in a trial's folder; None if there is none that can be read, or it is not of what it says it is."""
    try:
        result = json.loads((folder / RESULT).read_text("utf8"))
    except (OSError, ValueError):  # the latter of JSON that is cut off, and of bytes that are no text
        return None
    if not isinstance(result, dict) or not {"state", "cell"} <= result.keys() or _is_of_all_labels(result):
        return None
    return result


def _is_of_all_labels(result: dict[str, Any]) -> bool:
    """Whether the mode of two frames was trained with all labels, as earlier versions did in a scoreboard."""
    return (
        result["state"] == "done"
        and result["cell"]["mode"] == TWO_FRAMES
        and f"{_CORRUPTION}label-frames" not in result.get("command", "")
    )


def state_of(folder: Path) -> State:
    """Whether the trial in a folder is done, failed, or neither (never started, or only half-finished)."""
    result = read_result(folder)
    return "open" if result is None else result["state"]


def write_done(folder: Path, trial: Trial, outcome: dict[str, Any], arguments: Sequence[str]) -> None:
    """Write the result of a trial that came to its end."""
    write_json(folder / RESULT, _head("done", trial) | {"command": _command(arguments)} | outcome)


def write_failed(folder: Path, trial: Trial, error: str) -> None:
    """Write why a trial came to no end."""
    write_json(folder / RESULT, _head("failed", trial) | {"error": error})


def _head(state: State, trial: Trial) -> dict[str, Any]:
    return {"state": state, "cell": trial.to_json(), "versions": versions()}


def _command(arguments: Sequence[str]) -> str:
    return shlex.join(["ns-train", *arguments])


def versions() -> dict[str, str]:
    """Versions of what decides the numbers."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": sys.version.split()[0]}
    for name in ("semantic-ns", "nerfstudio", "torch", "numpy", "numba"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
