"""A program that does with its arguments what sns-batch does, with steps of milliseconds in the place of trainings."""

import argparse
import sys
from pathlib import Path

from rich.console import Console

from semantic_ns.scene_batch.backend import LocalBackend
from semantic_ns.scene_batch.records import record_path
from semantic_ns.scene_batch.run import locked, run_batch, write_results
from support.batch_steps import FakeSteps, scoring, task
from support.fresh_process import ROOT, TESTS


def program(*arguments: str) -> list[str]:
    """The beginning of a command line; what is given here is described at `main`."""
    code = f"import sys; sys.path[:0] = {[str(ROOT), str(TESTS)]!r}; from support.batch_program import main; main()"
    return [sys.executable, "-c", code, *arguments]


def main() -> None:
    """Run a batch.

    `--hang 1,2`: in the first call into a folder `killed` the step 1 hangs, in the second one step 2, counted from 0.
    `--forget`: each call trains all scenes again. `--scores`: scores of a folder `killed` are others.
    """
    words = sys.argv[1 : sys.argv.index("--")]
    parser = argparse.ArgumentParser()
    parser.add_argument("scenes", type=Path, nargs="+")
    parser.add_argument("--output-dir", type=Path, required=True)
    parser.add_argument("--method", required=True)
    parser.add_argument("--jobs", type=int, required=True)
    parser.add_argument("--steps", nargs="+", required=True)
    parser.add_argument("--hang", default="")
    parser.add_argument("--forget", action="store_true")
    parser.add_argument("--scores", action="store_true")
    given = parser.parse_args(words)
    output, is_killed = given.output_dir, given.output_dir.name == "killed"
    hanging = given.hang.split(",")
    tasks = [
        task(output, scene.name, given.steps, data=scene, folder=output / "scenes" / scene.name)
        for scene in given.scenes
    ]
    with locked(output):
        journal = output / "calls.txt"
        number = len(journal.read_text()) if journal.exists() else 0
        journal.write_text("x" * (number + 1))
        steps = FakeSteps(output)
        each = [(one, step) for one in tasks for step in given.steps]
        for place, (one, step) in enumerate(each):
            code = scoring(one.folder, 0.25 if given.scores and is_killed else 0.5) if step == "eval" else ""
            hangs = is_killed and hanging[number : number + 1] == [str(place)]
            steps.codes[one.name, step] = "import signal; signal.pause()" if hangs else code
            if given.forget and step == "train":
                record_path(one.folder, step).unlink(missing_ok=True)
        write_results(output, run_batch(tasks, LocalBackend(given.jobs, steps), Console(quiet=True)))
