"""Speed of training, rendering and start-up on one scene and one machine; each turn is a process of its own.

Without a mode it times the arms in turn. The modes --paired, --startup and --curve add their part to the same JSON
file, which --report turns into tables and a plot.
"""

import argparse
import json
import math
import os
import platform
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

# A process starts with the memory that its parent had in use: this one must stay small, so it imports no torch.
from benchmarks.speed.arms import ARMS
from benchmarks.speed.statistics import arm_summaries, paired_summary, seconds_to, summary, turn_ratios

ROOT = Path(__file__).resolve().parents[2]
CURVE_STEPS = (100, 200, 300, 400, 500, 600, 800, 1000, 1250, 1500, 2000)
PAIRED_STEPS = 12
MIOU_THRESHOLDS = (0.80, 0.90, 0.95)
RESULT = "RESULT "

NS_TRAIN = """
import time
from nerfstudio.engine.trainer import Trainer
from nerfstudio.scripts.train import entrypoint
train_iteration = Trainer.train_iteration
def timed(trainer, step):
    result = train_iteration(trainer, step)
    print("RESULT", time.time(), flush=True)
    return result
Trainer.train_iteration = timed
entrypoint()
"""
"""`ns-train`, which also says when each step was finished."""


def child(arguments: argparse.Namespace, *options: str) -> dict[str, Any]:
    """Run this script again for one measurement and return it; what it prints meanwhile is passed on."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.speed", "--scene", str(arguments.scene), *options]
    result = None
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(RESULT):
                result = json.loads(line.removeprefix(RESULT))
            elif line.startswith("step "):
                print(line, end="", flush=True)
    if result is None or process.returncode != 0:
        raise SystemExit(f"{' '.join(options)} ended with status {process.returncode} and without a result")
    return result


def measure_arms(arguments: argparse.Namespace) -> dict[str, Any]:
    """All chosen arms in turn, as many rounds as asked for."""
    turns: dict[str, list[dict[str, Any]]] = {name: [] for name in arguments.arms}
    for _ in range(arguments.rounds):
        for name, results in turns.items():
            results.append(child(arguments, "--one", name, "--steps", str(arguments.steps)))
            said = results[-1].get("not_measured")
            figures = f"not measured: {said}" if said else _figures(results[-1])
            print(f"{name:>22} {figures}", flush=True)
    ratios = turn_ratios(turns)
    for name, ratio in ratios.items():
        print(f"{name}: {ratio['median']:.3g} ({ratio['min']:.3g} to {ratio['max']:.3g})")
    return {"rounds": arguments.rounds, "arms": arm_summaries(turns), "ratios": ratios}


def _figures(turn: dict[str, Any]) -> str:
    frame = turn.get("seconds_per_frame", math.nan)
    rate = turn["training_rays_per_second"]
    return f"{rate:9.0f} rays/s training, {frame:6.2f} s a frame, {turn['peak_gib']:.2f} GiB"


def measure_paired(arguments: argparse.Namespace) -> dict[str, Any]:
    """A few steps of each chosen arm in turn, in one process: for arms that hardly differ."""
    options = ("--paired", "--one", "paired", "--arms", ",".join(arguments.arms))
    options = (*options, "--steps", str(arguments.steps), "--rounds", str(arguments.rounds))
    measured = paired_summary(child(arguments, *options))
    for name, arm in measured.items():
        low, high = arm["quartiles"]
        print(
            f"{name:>28}: {arm['milliseconds_per_step']:.1f} ms a step, {arm['over_first']:.3f} of {arguments.arms[0]} "
            f"({low:.3f} to {high:.3f}; of sums {arm['of_sums']:.3f})"
        )
    return {"rounds": arguments.rounds, "steps": PAIRED_STEPS, "arms": measured}


def measure_startup(arguments: argparse.Namespace) -> dict[str, Any]:
    """Seconds from the launch of `ns-train` to the end of its first step; the first run only fills the caches."""
    seconds = []
    for _ in range(arguments.rounds + 1):
        with TemporaryDirectory() as folder:
            options = ["--vis", "tensorboard", "--max-num-iterations", "2", "--output-dir", folder]
            command = [sys.executable, "-W", "ignore", "-c", NS_TRAIN, "semantic-nerf", "--data", str(arguments.scene)]
            start = time.time()
            output = subprocess.run([*command, *options], check=True, stdout=subprocess.PIPE, text=True).stdout
        finished = [float(line.removeprefix(RESULT)) for line in output.splitlines() if line.startswith(RESULT)]
        seconds.append(finished[0] - start)
        print(f"start to first step: {seconds[-1]:.2f} s", flush=True)
    return {"before": seconds[0], **summary(seconds[1:])}


def measure_curve(arguments: argparse.Namespace) -> dict[str, Any]:
    """Quality over the training seconds of one run, and when it reached each threshold."""
    options = ["--curve", "--curve-method", arguments.curve_method, "--one", "curve"]
    for name in ("curve_images", "curve_iterations"):
        if getattr(arguments, name) is not None:
            options += [f"--{name.replace('_', '-')}", str(getattr(arguments, name))]
    options += ["--curve-steps", ",".join(map(str, arguments.curve_steps))]
    curve = child(arguments, *options)
    reached = {f"{t:.2f}": seconds_to(curve["points"], "miou_present", t) for t in MIOU_THRESHOLDS}
    print(json.dumps(reached))
    return curve | {"seconds_to_miou_present": reached}


def one(arguments: argparse.Namespace) -> dict[str, Any]:
    """The measurement of this process, which `child` started."""
    if arguments.curve:
        from benchmarks.speed.curve import one_curve

        return one_curve(
            arguments.curve_method,
            arguments.scene,
            arguments.curve_steps,
            arguments.curve_images,
            arguments.curve_iterations,
        )
    from benchmarks.speed.turn import one_turn, paired_turns

    if arguments.paired:
        arms = {name: ARMS[name].scaled(arguments.steps) for name in arguments.arms}
        return paired_turns(arms, arguments.scene, arguments.rounds, PAIRED_STEPS)
    return one_turn(ARMS[arguments.one].scaled(arguments.steps), arguments.scene)


def circumstances(scene: Path) -> dict[str, Any]:
    """Where, when and with what a part was measured."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    processor = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), None)
    return {
        "processor": processor or platform.machine(),
        "cores": os.cpu_count(),
        "gpu": _first_line("nvidia-smi", "--query-gpu=name", "--format=csv,noheader"),
        "python": platform.python_version(),
        **{package: _version(package) for package in ("torch", "nerfstudio", "numba", "triton", "nerfacc")},
        "commit": _first_line("git", "rev-parse", "HEAD"),
        "uncommitted_changes": _first_line("git", "status", "--porcelain", "--untracked-files=no") is not None,
        "time": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
        "scene": scene.resolve().name,
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _first_line(*command: str) -> str | None:
    """What a command says first; None if it says nothing, fails or does not exist."""
    try:
        output = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return next(iter(output.splitlines()), None)


def add_to(path: Path, part: str, measured: dict[str, Any]) -> None:
    """Write one part into the JSON file and keep its other parts."""
    parts = json.loads(path.read_text()) if path.exists() else {}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(parts | {part: measured}, indent=2) + "\n")


def report(arguments: argparse.Namespace) -> None:
    """Write tables and plot, with what `benchmarks.encoding` may have left beside the JSON file."""
    from benchmarks.speed.report import encoding_ratio, write_report

    parts = json.loads(arguments.output.read_text())
    encodings = arguments.output.with_name("benchmark_encoding.json")
    if encodings.exists():
        parts["encoding"] = encoding_ratio(json.loads(encodings.read_text()))
    write_report(parts, arguments.docs)


def arm_names(text: str) -> list[str]:
    """Names separated by commas."""
    names = text.split(",")
    if unknown := set(names) - ARMS.keys():
        raise argparse.ArgumentTypeError(f"no arm {', '.join(sorted(unknown))}; there are {', '.join(ARMS)}")
    return names


def step_numbers(text: str) -> list[int]:
    """Whole numbers separated by commas."""
    return [int(number) for number in text.split(",")]


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scene", type=Path, default=ROOT / "scripts" / "demo_scene")
    parser.add_argument("--output", type=Path, default=ROOT / "outputs" / "benchmark_speed.json")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--arms", type=arm_names, default=list(ARMS), help=f"of {','.join(ARMS)}")
    parser.add_argument("--name", default="", help="of these turns, to keep them beside others in the same file")
    parser.add_argument("--steps", type=float, default=1.0, help="factor of each arm's numbers of steps and frames")
    modes = parser.add_mutually_exclusive_group()
    modes.add_argument("--startup", action="store_true", help="time from ns-train to its first step")
    modes.add_argument("--curve", action="store_true", help="mIoU and PSNR over the training seconds of one run")
    modes.add_argument("--paired", action="store_true", help="arms in one process, a few steps each in turn")
    modes.add_argument("--report", action="store_true", help="tables and plot in docs/ from the JSON file")
    parser.add_argument("--curve-method", default="semantic-nerf")
    parser.add_argument("--curve-steps", type=step_numbers, default=list(CURVE_STEPS), help="when to score")
    parser.add_argument("--curve-images", type=int, help="test images to score; all if not given")
    parser.add_argument("--curve-iterations", type=int, help="length of the run, with its schedule; else the default")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="where --report writes")
    parser.add_argument("--one", choices=(*ARMS, "curve", "paired"), help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Measure what the command line asks for."""
    arguments = parse_arguments()
    if arguments.one:
        print(RESULT + json.dumps(one(arguments)), flush=True)
        return
    if arguments.report:
        report(arguments)
        return
    if arguments.startup:
        part, measured = "startup", measure_startup(arguments)
    elif arguments.paired:
        part, measured = f"paired {arguments.name}".strip(), measure_paired(arguments)
    elif arguments.curve:
        part, measured = f"curve {arguments.curve_method}", measure_curve(arguments)
    else:
        part, measured = f"turns {arguments.name}".strip(), measure_arms(arguments)
    add_to(arguments.output, part, {"circumstances": circumstances(arguments.scene)} | measured)
    print(f"{part}: written to {arguments.output}")


if __name__ == "__main__":
    main()
