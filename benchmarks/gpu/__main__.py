"""Measure all of CUDA: `python -m benchmarks.gpu`, or print what a folder holds: `python -m benchmarks.gpu report DIR`.

Each stage runs in a process of its own, for at most so many seconds, and writes its rows as they come: what stops a
stage, or this command, loses nothing that was measured. A table is printed last. Without a GPU, `--device cpu --tiny`
goes through all of it in half a minute.
"""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from benchmarks.gpu import ROOT
from benchmarks.gpu.report import markdown, write_results
from benchmarks.gpu.runner import Outcome, run_stages
from benchmarks.gpu.settings import Settings, default_scenes
from benchmarks.gpu.stages import GROUPS, STAGES, chosen, names


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    listed = "\n".join(f"  {stage.name:>9}  {stage.seconds:4.0f} s  {stage.what}" for stage in STAGES)
    letters = "; ".join(f"{letter}: {', '.join(members)}" for letter, members in GROUPS.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"stages, in this order, with their bounds:\n{listed}\n\nletters for several: {letters}",
    )  # fmt: skip
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="smallest sizes, to see that everything runs")
    parser.add_argument("--stages", nargs="+", choices=names(), default=[], metavar="STAGE", help="all if left out")
    parser.add_argument("--output", type=Path, default=ROOT / "outputs" / "gpu", help="folder of the results")
    parser.add_argument("--data", nargs="+", type=Path, help="scene folders of the full runs; the first is timed, too")
    parser.add_argument("--budget", type=float, default=540.0, help="seconds for all stages together")
    parser.add_argument(
        "--seconds", nargs="+", type=_bound, default=[], metavar="STAGE=SECONDS", help="other bounds of stages"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--nerfacc-jobs", type=int, default=8, help="compilers at work at once")
    return parser.parse_args(arguments)


def _bound(text: str) -> tuple[str, float]:
    name, _, seconds = text.partition("=")
    if name not in {stage.name for stage in STAGES}:
        raise argparse.ArgumentTypeError(f"there is no stage {name}")
    return name, float(seconds)


def _interrupt(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise KeyboardInterrupt


def measure(options: argparse.Namespace) -> int:
    """Run the stages; the status is 0 if all of them ended well."""
    if options.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # before any process asks for devices
    output = options.output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    scenes = tuple(path.resolve() for path in options.data) if options.data else default_scenes()
    settings = Settings(options.device, options.tiny, output, scenes, options.seed, options.nerfacc_jobs)
    outcomes: list[Outcome] = []

    def tell(outcome: Outcome) -> None:
        outcomes.append(outcome)
        write_results(output, outcomes)
        how = outcome.reason or "ended well"
        print(f"{outcome.stage}: {len(outcome.rows)} rows in {outcome.seconds:.1f} s; {how}", flush=True)

    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        run_stages(chosen(options.stages, dict(options.seconds), settings), settings, options.budget, tell)
    except KeyboardInterrupt:
        print("The run was stopped; what was measured is in the folder.", flush=True)
    finally:
        signal.signal(signal.SIGTERM, before)
    print(markdown(output), flush=True)
    return 0 if outcomes and all(outcome.reason is None for outcome in outcomes) else 1


def main(arguments: Sequence[str]) -> int:
    """Entry point."""
    if arguments[:1] == ["report"]:
        if len(arguments) != 2 or not Path(arguments[1]).is_dir():
            print("Expected the folder of a run: python -m benchmarks.gpu report FOLDER", file=sys.stderr)
            return 2
        print(markdown(Path(arguments[1])))
        return 0
    return measure(parse(arguments))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
