"""How good does the default training become on captures of kinds that rooms filmed all round are not?

Small captures are rendered (160x120 pixels, nerfstudio's format, with depth and labels): cameras that look outward from
one point or inward at an object, a street, a corridor, wrong depth images, and a single camera. Each is trained
with the default `semantic-nerf` and one thread, every fourth frame held out and scored. Finished trainings are not
repeated. Options of ns-train follow after --.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.captures.captures import CAPTURES, written_capture
from benchmarks.captures.report import write_report
from semantic_ns.benchmark.runner.backend import ProcessBackend
from semantic_ns.benchmark.runner.one_trial import KEEP_RUN, check_trials
from semantic_ns.benchmark.runner.place import register_uninstalled
from semantic_ns.benchmark.runner.run import locked, run_trials
from semantic_ns.benchmark.scenes.plan import ScenePlan, SceneTrial
from semantic_ns.benchmark.scenes.trial import MODULE
from semantic_ns.jobs.processes import with_threads

METHOD = "semantic-nerf"
WITHOUT_DEPTH = ("--pipeline.model.depth-loss-weight", "0")
SCENES = "captures"


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line; what follows after -- is in `options`."""
    words = list(arguments)
    place = words.index("--") if "--" in words else len(words)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="folder; a second call with the same one resumes")
    parser.add_argument(
        "--captures", nargs="+", choices=CAPTURES, default=list(CAPTURES), metavar="NAME",
        help=f"captures (default: all): {', '.join(CAPTURES)}",
    )  # fmt: skip
    parser.add_argument("--seeds", type=int, nargs="+", default=[42], help="seeds of the training (default: 42)")
    parser.add_argument("--without-depth", action="store_true", help="depth images do not train; they are scored")
    parser.add_argument("--max-num-iterations", type=int, default=0, help="training steps (default: the method's)")
    parser.add_argument("--keep-runs", action="store_true", help="keep the folder of each training")
    found = parser.parse_args(words[:place])
    found.options = tuple(words[place + 1 :])
    return found


def trials_of(options: argparse.Namespace) -> list[SceneTrial]:
    """The trainings that a command line asks for; their captures are written unless they are there."""
    scenes = tuple(written_capture(name, options.output.resolve() / SCENES) for name in options.captures)
    given = (*(WITHOUT_DEPTH if options.without_depth else ()), *options.options)
    label = " ".join(given) or "default"
    plan = ScenePlan(scenes, tuple(options.seeds), METHOD, ("all",), label, given, options.max_num_iterations)
    return plan.trials()


def train(options: argparse.Namespace, trials: Sequence[SceneTrial]) -> None:
    """Train what is not done, and write the table of all that is."""
    arguments = (*MODULE, KEEP_RUN) if options.keep_runs else MODULE
    with locked(options.output):
        run_trials(trials, options.output, ProcessBackend(1, arguments))
        print(f"Report: {write_report(options.output)}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what a command line asks for."""
    options = parse(sys.argv[1:] if arguments is None else arguments)
    register_uninstalled()
    os.environ |= with_threads(1)
    trials = trials_of(options)
    check_trials(METHOD, trials)
    train(options, trials)
