"""What several processes that train one model gain, and how they end: the figures of docs/results/distributed.md.

Trains `gsnerf-small` on two small rooms that it makes itself, by torchrun on this machine: the same steps in one
process and in two, each pinned to a core of its own, in turn; then two processes of which one gets SIGTERM, and two of
which one is killed. Prints what it finds, and how busy the machine was.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
import yaml

from semantic_ns.synthetic_scene import write_nerfstudio_scene

METHOD, WIDTH, HEIGHT, NUM_FRAMES = "gsnerf-small", 96, 72, 10
WARM_UP = 3
"""Steps that are not timed: rooms are read in them."""


def write_rooms(folder: Path) -> Path:
    """Two rooms, once."""
    for seed in (1, 2):
        if not (folder / f"room_{seed}").exists():
            write_nerfstudio_scene(folder / f"room_{seed}", NUM_FRAMES, WIDTH, HEIGHT, seed=seed)
    return folder


class Sizes(NamedTuple):
    """What is trained: samples in a step, least and largest number of sources of a sample, steps."""

    samples: int = 2
    sources: tuple[int, int] = (2, 5)
    steps: int = 1_000_000


def write_config(output: Path, name: str, sizes: Sizes) -> Path:
    """The configuration of a run."""
    (point,) = (p for p in entry_points(group="nerfstudio.method_configs") if p.name == METHOD)
    config = point.load().config
    config.output_dir, config.experiment_name, config.timestamp = output, "rooms", name
    config.max_num_iterations, config.samples_per_step = sizes.steps, sizes.samples
    config.pipeline.datamanager.train_sources = sizes.sources
    config.vis, config.machine.device_type = "tensorboard", "cpu"
    config.viewer.quit_on_train_completion = True
    config.pipeline.datamanager.data = output / "data"
    config.pipeline.model.encoder, config.pipeline.eval_images_at_end = "unet", 0
    path = output / f"{name}.yml"
    path.write_text(yaml.dump(config))
    return path


def work(config: Path, sent: int) -> None:
    """Train as one of the processes; note when each step ends. Rank 1 may send itself a signal in the sixth step."""
    from semantic_ns.cli.main import run_command
    from semantic_ns.methods.many_scenes_trainer import ManyScenesTrainer
    from semantic_ns.processes import Place
    from semantic_ns.train import train

    torch.set_num_threads(1)
    place, patched = Place.of_environment(), cast(Any, ManyScenesTrainer)
    step_of_trainer = patched.train_iteration
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[place.local_rank % len(cores)]})
    ends: list[tuple[float, float]] = []

    def train_iteration(trainer: ManyScenesTrainer, step: int) -> Any:
        if sent and step == 5 and place.rank == 1:
            config.with_suffix(".sent").write_text(repr(time.time()))
            os.kill(os.getpid(), sent)
        result = step_of_trainer(trainer, step)
        ends.append((time.perf_counter(), time.process_time()))
        return result

    patched.train_iteration = train_iteration
    run_command(lambda: train(yaml.load(config.read_text(), Loader=yaml.Loader), place))
    if place.rank == 0:
        config.with_suffix(".json").write_text(json.dumps(ends))


def start(config: Path, num_processes: int, sent: int = 0) -> "subprocess.CompletedProcess[str]":
    """Train by torchrun; returns when all processes have ended."""
    command = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", str(num_processes), "-m", "benchmarks.distributed", "--work", str(config)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    return subprocess.run([*command, "--sent", str(sent)], env=environment, capture_output=True, text=True, check=False)


def timed(output: Path, name: str, num_processes: int, sizes: Sizes) -> tuple[float, float]:
    """Seconds, and CPU seconds of the first process, that a step of a training takes, in the mean."""
    config = write_config(output, name, sizes)
    done = start(config, num_processes)
    if done.returncode != 0:
        raise SystemExit(done.stderr[-3000:])
    first, *_, last = json.loads(config.with_suffix(".json").read_text())[WARM_UP - 1 :]
    count = sizes.steps - WARM_UP
    return (last[0] - first[0]) / count, (last[1] - first[1]) / count


def difference(one: Path, other: Path) -> float:
    """Largest difference of two checkpoints' weights."""
    first, second = (torch.load(path, weights_only=False)["pipeline"] for path in (one, other))
    names = [name for name, value in first.items() if isinstance(value, torch.Tensor) and value.numel() > 0]
    return max(float((first[name].double() - second[name].double()).abs().max()) for name in names)


def ended(output: Path, name: str, sent: signal.Signals) -> str:
    """Seconds from a signal to rank 1 to the end of torchrun, and what the first process said last."""
    config = write_config(output, name, Sizes())
    done = start(config, 2, int(sent))
    sent_at, ended_at = float(config.with_suffix(".sent").read_text()), time.time()
    found = sorted((output / "rooms" / METHOD / name / "nerfstudio_models").iterdir())
    said = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith(("Stopped by", "Error:"))]
    return (
        f"checkpoint after {found[0].stat().st_mtime - sent_at:.1f} s, all ended after {ended_at - sent_at:.1f} s; "
        f"{', '.join(path.name for path in found)}; {' '.join(said)}"
    )


def main() -> None:
    """Measure and print, or work as one of the processes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, help="folder for the rooms and the runs")
    parser.add_argument("--steps", type=int, default=20, help="steps of each training")
    parser.add_argument("--samples", type=int, default=2, help="samples in a step")
    parser.add_argument("--sources", type=int, nargs=2, default=[2, 5], help="least and largest number of sources")
    parser.add_argument("--repetitions", type=int, default=2, help="trainings in one process and in two, in turn")
    parser.add_argument("--parts", nargs="+", default=["speed", "ends"], choices=["speed", "ends"], help="what to run")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--sent", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work is not None:
        work(options.work, options.sent)
        return
    output: Path = options.output.resolve()
    write_rooms(output / "data")
    if "speed" in options.parts:
        least, largest = options.sources
        measure_speed(output, Sizes(options.samples, (least, largest), options.steps), options.repetitions)
    if "ends" in options.parts:
        for sent in (signal.SIGTERM, signal.SIGKILL):
            print(f"{sent.name} to rank 1: {ended(output, f'by_{sent.name}', sent)}", flush=True)


def measure_speed(output: Path, sizes: Sizes, repetitions: int) -> None:
    """Print how long the steps of one process and of two take, and how their weights differ."""
    ratios = []
    for repetition in range(repetitions):
        wall = []
        for count in (1, 2):
            before = os.getloadavg()[0]
            seconds, cpu_seconds = timed(output, f"{count}_processes_{repetition}", count, sizes)
            wall.append(seconds)
            print(
                f"{count} process(es): {seconds:.3f} s a step, {cpu_seconds:.3f} CPU s of the first; load {before:.1f} "
                f"before, {os.getloadavg()[0]:.1f} after",
                flush=True,
            )
        ratios.append(wall[0] / wall[1])
    print(f"steps per second of two processes over those of one: {', '.join(f'{ratio:.2f}' for ratio in ratios)}")
    last = Path("nerfstudio_models") / f"step-{sizes.steps - 1:09d}.ckpt"
    runs = [output / "rooms" / METHOD / f"{count}_processes_0" / last for count in (1, 2)]
    print(f"weights after {sizes.steps} steps differ by {difference(*runs):.1e} at most")


if __name__ == "__main__":
    main()
