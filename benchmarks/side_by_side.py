"""Milliseconds a step of one training alone and of several side by side, started as a user starts `ns-train`.

Three arms in turn: as shipped; with the spinning that GNU's OpenMP library does by itself; and with OMP_WAIT_POLICY set
before the start, which is the best that a user can do. The machine must have nothing else to do. The processor's time
of a step, over all threads, is less easily disturbed: what spins uses it up.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.speed.run import RESULT, ROOT, circumstances

ARMS: dict[str, dict[str, str]] = {
    "as shipped": {},
    "spinning": {"GOMP_SPINCOUNT": "300000"},
    "OMP_WAIT_POLICY=PASSIVE": {"OMP_WAIT_POLICY": "PASSIVE"},
}
"""Further environment of each arm. The number is libgomp's own; a user who gives one is obeyed."""
NS_TRAIN = """
import time
from nerfstudio.engine.trainer import Trainer
from nerfstudio.scripts.train import entrypoint
train_iteration = Trainer.train_iteration
def timed(trainer, step):
    result = train_iteration(trainer, step)
    print("RESULT", time.time(), time.process_time(), flush=True)
    return result
Trainer.train_iteration = timed
entrypoint()
"""
"""`ns-train`, which also says when each step was finished, and how long the process has been running on all cores."""
_ENVIRONMENT_OF_THREADS = ("OMP_", "GOMP_", "NUMBA_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def plain_environment() -> dict[str, str]:
    """The environment without what says how threads run."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_ENVIRONMENT_OF_THREADS)}


def common_milliseconds(moments: Sequence[Sequence[tuple[float, float]]], idle: int) -> list[tuple[float, float]]:
    """Milliseconds a step of each training while all of them train: of the clock, and of the processor.

    Args:
        moments: both times at the end of each step of each training, seconds.
        idle: steps at the start of each that do not count.
    """
    start = max(finished[idle][0] for finished in moments)
    end = min(finished[-1][0] for finished in moments)
    found = []
    for finished in moments:
        inside = [both for both in finished if start <= both[0] <= end]
        if len(inside) <= 1:
            raise SystemExit("The trainings were never all under way at once; raise --max-num-iterations.")
        of_clock, of_processor = zip(inside[0], inside[-1], strict=True)
        found.append(tuple(1000 * (last - first) / (len(inside) - 1) for first, last in (of_clock, of_processor)))
    return found


def train(count: int, arm: str, options: argparse.Namespace) -> tuple[float, float]:
    """Milliseconds a step, of the clock and of the processor: means of some trainings that are started at once."""
    words = [options.method, "--vis", "tensorboard", "--max-num-iterations", str(options.max_num_iterations)]
    words += ["--data", str(options.scene.resolve()), *options.words]
    with TemporaryDirectory() as folder:
        processes = [
            subprocess.Popen(
                [sys.executable, "-W", "ignore", "-c", NS_TRAIN, *words, "--output-dir", f"{folder}/{number}"],
                env=plain_environment() | ARMS[arm],
                stdout=(Path(folder) / f"{number}.txt").open("w"),
                stderr=subprocess.STDOUT,
            )
            for number in range(count)
        ]
        failed = [process for process in processes if process.wait() != 0]  # all are waited for
        if failed:
            raise SystemExit(f"A training failed:\n{(Path(folder) / '0.txt').read_text()[-2000:]}")
        said = [(Path(folder) / f"{number}.txt").read_text() for number in range(count)]
    lines = [[line.split() for line in text.splitlines() if line.startswith(RESULT)] for text in said]
    moments = [[(float(words[1]), float(words[2])) for words in of_one] for of_one in lines]
    of_clock, of_processor = zip(*common_milliseconds(moments, options.idle_steps), strict=True)
    return statistics.fmean(of_clock), statistics.fmean(of_processor)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All arms in turn, alone and side by side, as many rounds as asked for."""
    turns: dict[str, dict[int, list[tuple[float, float]]]] = {
        arm: {1: [], options.trainings: []} for arm in options.arms
    }
    for _ in range(options.rounds):
        for arm, counts in turns.items():
            for count, found in counts.items():
                found.append(train(count, arm, options))
                of_clock, of_processor = found[-1]
                print(
                    f"{arm}, {count} at a time: {of_clock:.1f} ms a step, {of_processor:.1f} ms of the processor",
                    flush=True,
                )
    return {arm: summary(*counts.values()) for arm, counts in turns.items()}


def summary(alone: Sequence[tuple[float, float]], together: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """Medians over the rounds, and of the ratios of the rounds."""
    found: dict[str, Any] = {}
    for place, name in enumerate(("clock", "processor")):
        first, second = ([turn[place] for turn in turns] for turns in (alone, together))
        ratios = [b / a for a, b in zip(first, second, strict=True)]
        rounds = {"alone_ms": first, "together_ms": second, "ratio": ratios}
        found[name] = {key: statistics.median(values) for key, values in rounds.items()} | {"rounds": rounds}
    return found


def main() -> None:
    """Measure, print a table in markdown and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scene", type=Path, default=ROOT / "scripts" / "demo_scene")
    parser.add_argument("--method", default="semantic-nerf", help="method of the trainings")
    parser.add_argument("words", nargs="*", metavar="-- OPTIONS", help="further options of ns-train")
    parser.add_argument("--output", type=Path, default=ROOT / "outputs" / "benchmark_side_by_side.json")
    parser.add_argument("--trainings", type=int, default=2, help="at a time")
    parser.add_argument("--max-num-iterations", type=int, default=300, help="steps of each training")
    parser.add_argument("--idle-steps", type=int, default=60, help="steps at the start that do not count")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    options = parser.parse_args()
    if options.trainings <= 1 or not 0 < options.idle_steps < options.max_num_iterations:
        parser.error("--trainings must be above 1, and --idle-steps between 0 and --max-num-iterations")
    measured = measure(options)
    print(f"\n| {options.trainings} trainings at a time | measured by | alone, ms a step | side by side | ratio |")
    print("|---|---|---|---|---|")
    for arm, found in measured.items():
        for name, times in found.items():
            print(f"| {arm} | {name} | {times['alone_ms']:.1f} | {times['together_ms']:.1f} | {times['ratio']:.2f} |")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    started = {"method": options.method, "options": options.words}
    content = {
        "circumstances": circumstances(options.scene),
        **started,
        "trainings": options.trainings,
        "arms": measured,
    }
    options.output.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
