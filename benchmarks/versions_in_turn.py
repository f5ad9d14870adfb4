"""Milliseconds a step of two or more versions of the package, which take turns of a second within one measurement.

A machine may drift by 40 % from one training to the next, so that two trainings one after the other do not tell
versions apart. Here all of them are started, and one at a time runs while the others are stopped. Steps that a stop
interrupts do not count, nor does what nerfstudio does between two steps (callbacks, checkpoints, evaluation).

A version is a folder that `pip install --no-deps --target FOLDER CHECKOUT` has made, or a checkout:

    python -m benchmarks.versions_in_turn --data ROOM --arms "before OLD_FOLDER" "now ." \
        "now without depth . --pipeline.model.depth-loss-weight 0" --parser replica-data --split interval
"""

import argparse
import itertools
import os
import shlex
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.speed.run import RESULT

Interval = tuple[float, float]
"""Moments of the monotonic clock, seconds."""

NS_TRAIN = """
import time
import semantic_ns
from nerfstudio.engine.trainer import Trainer
from nerfstudio.scripts.train import entrypoint
print("PACKAGE", semantic_ns.__file__, flush=True)
train_iteration = Trainer.train_iteration
def timed(trainer, step):
    start = time.monotonic()
    result = train_iteration(trainer, step)
    print("RESULT", start, time.monotonic(), flush=True)
    return result
Trainer.train_iteration = timed
entrypoint()
"""
"""`ns-train`, which also says when each step was begun and finished, and whose package it is."""
_PACKAGE = "PACKAGE "
_LOOK = 0.02
"""Seconds between two looks at a process that runs."""


@dataclass(frozen=True)
class Arm:
    """A version with options of training; the name may hold spaces, the folder may not."""

    name: str
    folder: Path
    options: tuple[str, ...]

    @staticmethod
    def parse(words: str) -> "Arm":
        """The words of a name, the first word that is a folder, and options."""
        parts = shlex.split(words)
        for place, part in enumerate(parts):
            if place > 0 and (Path(part) / "semantic_ns" / "__init__.py").is_file():
                return Arm(" ".join(parts[:place]), Path(part).resolve(), tuple(parts[place + 1 :]))
        raise argparse.ArgumentTypeError(
            f"expected a name, a folder with semantic_ns/ in it, and options of ns-train, and found {words!r}"
        )


def uninterrupted(steps: Sequence[Interval], runs: Iterable[Interval]) -> list[float | None]:
    """Seconds of each step that lies within one of the intervals in which its process ran; None for the others."""
    inside = list(runs)
    return [
        end - start if any(first <= start and end <= last for first, last in inside) else None for start, end in steps
    ]


def line_of(name: str, seconds: Sequence[float | None], idle: int, parts: Sequence[int], reference: float) -> str:
    """A row of the table: medians in milliseconds between the steps of `parts`, the mean, and its ratio."""
    cells = []
    for first, last in itertools.pairwise((idle, *parts)):
        counted = [value for value in seconds[first:last] if value is not None]
        cells.append(f"{1000 * statistics.median(counted):.2f}" if counted else "-")
    mean = mean_after(seconds, idle)
    return f"| {name} | {' | '.join(cells)} | {1000 * mean:.2f} | {mean / reference:.3f} |"


def mean_after(seconds: Sequence[float | None], idle: int) -> float:
    """Mean of the steps that count, after those at the start that do not."""
    return statistics.fmean(value for value in seconds[idle:] if value is not None)


class Training:
    """A process that trains, in a group of its own, stopped or running."""

    def __init__(self, arm: Arm, options: argparse.Namespace, folder: Path) -> None:
        self.arm, self._log = arm, folder / "said.txt"
        self._runs: list[Interval] = []
        words = ["semantic-nerf" if options.method is None else options.method, "--vis", "tensorboard"]
        words += ["--viewer.quit-on-train-completion", "True", "--max-num-iterations", str(options.steps)]
        words += ["--output-dir", str(folder), *arm.options, "--data", str(options.data.resolve()), *options.parser]
        # The version comes first on the path, before the package that the environment has.
        environment = os.environ | {"PYTHONPATH": str(arm.folder)}
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-P", "-c", NS_TRAIN, *words],
            env=environment,
            stdout=self._log.open("w"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def wait_for_first_step(self) -> None:
        """Until steps are made; the process is stopped then."""
        while not self.steps() and self.is_alive():
            time.sleep(_LOOK)
        self._signal(signal.SIGSTOP)

    def run(self, seconds: float) -> None:
        """Run for so long, or to the end, and stop."""
        self._signal(signal.SIGCONT)
        start = time.monotonic()
        while time.monotonic() - start < seconds and self.is_alive():
            time.sleep(_LOOK)
        self._runs.append((start, time.monotonic()))
        self._signal(signal.SIGSTOP)

    def is_alive(self) -> bool:
        """Whether the process has not ended; ends with what it said where it failed."""
        if self._process.poll() not in (None, 0):
            raise SystemExit(f"The training {self.arm.name!r} failed:\n{self._log.read_text()[-2000:]}")
        return self._process.returncode is None

    def steps(self) -> list[Interval]:
        """Begin and end of each step so far."""
        lines = (line.split() for line in self._log.read_text().splitlines() if line.startswith(RESULT))
        return [(float(words[1]), float(words[2])) for words in lines if len(words) == 3]

    def seconds(self) -> list[float | None]:
        """Of each step; None where it was interrupted."""
        return uninterrupted(self.steps(), self._runs)

    def package(self) -> Path:
        """The folder whose package was trained."""
        said = next(line for line in self._log.read_text().splitlines() if line.startswith(_PACKAGE))
        return Path(said.removeprefix(_PACKAGE)).parents[1]

    def end(self) -> None:
        """Whatever state it is in."""
        self._signal(signal.SIGKILL)
        self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, number)


def main() -> None:
    """Measure, and print a table in markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="scene to train on")
    parser.add_argument("--arms", nargs="+", type=Arm.parse, required=True, metavar="'NAME FOLDER [OPTION ...]'")
    parser.add_argument("--method", help="semantic-nerf by default")
    parser.add_argument("--steps", type=int, default=2000, help="of each training")
    parser.add_argument("--idle-steps", type=int, default=20, help="steps at the start that do not count")
    parser.add_argument("--turn-seconds", type=float, default=0.7)
    parser.add_argument("--parser", nargs=argparse.REMAINDER, default=[], help="dataparser and its options; comes last")
    options = parser.parse_args()
    if not 0 <= options.idle_steps < options.steps:
        parser.error("--idle-steps must lie between 0 and --steps")
    # Whoever ends this process ends the trainings, which are in sessions of their own and may be stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with TemporaryDirectory() as folder:
        trainings: list[Training] = []
        try:
            for number, arm in enumerate(options.arms):
                (Path(folder) / str(number)).mkdir()
                trainings.append(Training(arm, options, Path(folder) / str(number)))
                trainings[-1].wait_for_first_step()
                if trainings[-1].package() != arm.folder:
                    raise SystemExit(f"{arm.name!r} trained the package in {trainings[-1].package()}.")
            while alive := [training for training in trainings if training.is_alive()]:
                for training in alive:
                    training.run(options.turn_seconds)
            seconds = [training.seconds() for training in trainings]
        finally:
            for training in trainings:
                training.end()
    parts = [step for step in (100, 300, 1000, 2000) if options.idle_steps < step < options.steps] + [options.steps]
    print(f"| ms a step | {' | '.join(f'to step {step}' for step in parts)} | mean | ratio |")
    print("|---" * (len(parts) + 3) + "|")
    reference = mean_after(seconds[0], options.idle_steps)
    for training, found in zip(trainings, seconds, strict=True):
        print(line_of(training.arm.name, found, options.idle_steps, parts, reference))


if __name__ == "__main__":
    main()
