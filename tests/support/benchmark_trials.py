"""Trials of a benchmark that train nothing: as a backend in this process, and as a program."""

import os
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from semantic_ns.benchmark.runner.backend import TrialEnd
from semantic_ns.benchmark.runner.trials import BenchmarkScene, Trial, read_trial, write_done, write_failed


def trial(mode: str = "click", seed: int = 0, **changes: Any) -> Trial:
    scene = BenchmarkScene(Path("/data/room"), "room", ("semantic-data", "--split", "all"), region_classes=("chair",))
    return Trial(**{"scene": scene, "method": "semantic-nerf", "mode": mode, "seed": seed, "num_steps": 100} | changes)


def outcome(miou: float, **changes: Any) -> dict[str, Any]:
    """What `train_and_score` gives."""
    scores = dict.fromkeys(("miou_present", "miou", "class_accuracy", "pixel_accuracy"), miou)
    return {
        "scores": {
            "test": {**scores, "ece": 0.02, "psnr": 30.0 + miou, "depth_l1": 0.1, "num_images": 20.0},
            "train": {**scores, "ece": 0.02, "miou_present": miou + 0.05, "num_images": 40.0},
            "input": {**scores, "miou_present": 0.25, "labelled_share": 0.5},
        },
        "split": "every second frame", "void_rule": "void is not scored", "miou_rule": "pooled", "input_rule": "pooled",
        "training_seconds": 10.0, "scoring_seconds": 1.0, "semantics": True, "device": "cpu", "threads": 1,
        "frames": {"training": 60, "labelled": 2}, **changes,
    }  # fmt: skip


class FakeBackend:
    """Ends each trial at once; those of some seeds fail, and it stops after a number of trials."""

    def __init__(self, failing: Sequence[int] = (), stop_after: int | None = None) -> None:
        self.failing, self.stop_after = failing, stop_after
        self.ran: list[Path] = []

    def run(self, folders: Sequence[Path]) -> Iterator[TrialEnd]:
        for folder in folders[: self.stop_after]:
            self.ran.append(folder)
            found = read_trial(folder)
            if found.seed in self.failing:
                write_failed(folder, found, "Traceback ...\nValueError: no luck")
            else:
                write_done(folder, found, outcome(0.5 + found.seed / 10), found.arguments())
            yield TrialEnd(folder)


def main(folder: Path) -> None:
    """Do what the trial's method says."""
    found = read_trial(folder)
    fifo = folder.parent / "fifo"
    if found.method == "works":
        print(os.environ["NUMBA_NUM_THREADS"])
        write_done(folder, found, outcome(0.5), [])
    elif found.method == "dies":
        print("the last words", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    elif found.method == "loses-its-folder":
        shutil.rmtree(folder)
        folder.touch()
    elif found.method == "waits":
        (folder / "pid").write_text(str(os.getpid()))
        fifo.open("wb").close()
        signal.pause()
    elif found.method == "works-when-another-waits":
        fifo.open("rb").close()
        write_done(folder, found, outcome(0.5), [])


if __name__ == "__main__":
    main(Path(sys.argv[-1]))


def train_warm(arguments: Sequence[str], folder: Path) -> None:
    """Train the trial of a folder as `ProcessBackend` does, in a process that has imported what the trial imports.

    Args:
        arguments: arguments of Python that run a module, `-m`, its name and what it is given before the folder.
        folder: its folder, where its result is afterwards.
    """
    from support.fresh_process import run_module_warm  # not on the path where this module is the program of a trial

    ended = run_module_warm([*arguments, str(folder)])
    assert ended.returncode == 0, ended.stderr
