"""mIoU and PSNR over wall-clock seconds of training: `semantic-nerf` and the paper's own network on one scene.

Each trial (method, labels) is a process of its own; trials that are done are not run again, so the same command goes on
where it was stopped. At the end a plot and a page are written from all trials in the folder.
"""

import argparse
import os
from pathlib import Path

# A process starts with the memory that its parent had in use: this one must stay small, so it imports no torch.
from benchmarks.paper_network.report import WHOLE_SCHEDULE, write_report
from semantic_ns.benchmark.runner.backend import ProcessBackend
from semantic_ns.benchmark.runner.run import locked, run_trials
from semantic_ns.benchmark.runner.trials import BenchmarkScene, Trial

ROOT = Path(__file__).resolve().parents[2]
NUM_STEPS = {"semantic-nerf": 2000, "semantic-nerf-vanilla": 200_000}
"""The methods and the lengths of their runs, which decide their schedules; the budget may end a run before."""
MODES = ("click", "all")
SCENE = Path("rendered", "room_0")


def planned_trials(arguments: argparse.Namespace) -> list[Trial]:
    """The trials that the command line asks for; what is measured otherwise has another name."""
    budget = WHOLE_SCHEDULE if arguments.whole_schedule else f"{arguments.minutes:g}-minutes"
    scene = BenchmarkScene(arguments.scene.resolve(), arguments.scene.resolve().name)
    scored = f"{arguments.images}-images-every-{arguments.stride}-pixels"
    return [
        Trial(scene, method, mode, arguments.seed, NUM_STEPS[method], f"{budget}, {scored}")
        for mode in arguments.modes
        for method in arguments.methods
    ]


def one_trial_command(arguments: argparse.Namespace) -> tuple[str, ...]:
    """What measures a trial, as arguments of Python."""
    scored = ("--images", str(arguments.images), "--stride", str(arguments.stride))
    budget = () if arguments.whole_schedule else ("--minutes", str(arguments.minutes))
    return ("-W", "ignore", "-m", "benchmarks.paper_network.trial", *scored, *budget)


def parse_arguments(given: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = os.environ.get("SEMANTIC_NS_DATA")
    scene = Path(data) / SCENE if data else None
    parser.add_argument(
        "--scene", type=Path, default=scene, required=scene is None, help=f"default: {SCENE} of the data"
    )
    parser.add_argument("--output", type=Path, default=ROOT / "outputs" / "paper_network", help="folder of the results")
    parser.add_argument("--minutes", type=float, default=20.0, help="training time of each trial; scoring is not in it")
    parser.add_argument("--whole-schedule", action="store_true", help="train to the end instead; for a CUDA device")
    parser.add_argument("--methods", nargs="+", choices=NUM_STEPS, default=list(NUM_STEPS))
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES), help="one click a class, all labels")
    parser.add_argument("--seed", type=int, default=0, help="of the training and of the clicks")
    parser.add_argument("--images", type=int, default=20, help="test images to score, evenly spaced")
    parser.add_argument("--stride", type=int, default=8, help="score every so many pixels of every so many rows")
    parser.add_argument("--report", action="store_true", help="only write page and plot")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="where page and plot go")
    return parser.parse_args(given)


def main() -> None:
    """Measure what is missing, and write the report."""
    arguments = parse_arguments()
    if not arguments.report:
        with locked(arguments.output):
            counts = run_trials(
                planned_trials(arguments),
                arguments.output,
                ProcessBackend(1, one_trial_command(arguments)),
                lambda sentence: print(sentence, flush=True),
            )
        if missing := counts["failed"] + counts["open"]:
            raise SystemExit(f"{missing} trials are not done; log.txt and result.json below {arguments.output} say why")
    write_report(arguments.output, arguments.docs)


if __name__ == "__main__":
    main()
