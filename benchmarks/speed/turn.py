"""One turn of the speed benchmark, in a process of its own: train some steps, render some images, and time both."""

import os
import resource
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from nerfstudio.engine.callbacks import TrainingCallbackLocation
from nerfstudio.engine.trainer import Trainer
from nerfstudio.scripts.train import _set_random_seed
from nerfstudio.utils import writer

from benchmarks.speed.arms import Arm, NotMeasuredError
from semantic_ns.host import default_device, without_lpips_download


@contextmanager
def trainer_of(config: Any, scene: Path) -> Iterator[Trainer]:
    """The trainer that `ns-train` would make, ready for its first step; its folder goes with the context."""
    config.pipeline.datamanager.data = scene
    config.machine.device_type = default_device()
    config.vis = "tensorboard"
    config.logging.local_writer.enable = False
    config.set_timestamp()
    _set_random_seed(config.machine.seed)
    with TemporaryDirectory() as folder:
        config.output_dir = Path(folder)
        trainer = config.setup(local_rank=0, world_size=1)
        with without_lpips_download():
            trainer.setup(test_mode="val")
        trainer.pipeline.train()
        try:
            yield trainer
        finally:
            # nerfstudio keeps them for the whole process, and they would go on writing into the folder.
            for event_writer in writer.EVENT_WRITERS:
                if isinstance(event_writer, writer.TensorboardWriter):
                    event_writer.tb_writer.close()
            writer.EVENT_WRITERS.clear()


def finish_device_work() -> None:
    """Wait until a GPU has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def take_steps(trainer: Trainer, steps: range, callback_offset: int = 0) -> float:
    """Take training steps as the trainer does, callbacks included, and return their seconds."""
    finish_device_work()
    start = time.perf_counter()
    for step in steps:
        _call_back(trainer, callback_offset + step, TrainingCallbackLocation.BEFORE_TRAIN_ITERATION)
        trainer.train_iteration(step)
        _call_back(trainer, callback_offset + step, TrainingCallbackLocation.AFTER_TRAIN_ITERATION)
    finish_device_work()
    return time.perf_counter() - start


def _call_back(trainer: Trainer, step: int, location: TrainingCallbackLocation) -> None:
    for callback in trainer.callbacks:
        callback.run_callback_at_location(step, location)


def render_frames(trainer: Trainer, idle: int, counted: int) -> dict[str, Any]:
    """Render whole test images with all outputs; the first `idle` ones are not counted."""
    if counted == 0:
        return {}
    model: Any = trainer.pipeline.model
    dataset: Any = trainer.pipeline.datamanager.eval_dataset
    cameras = dataset.cameras.to(trainer.device)
    seconds, outputs = [], {}
    model.eval()
    with getattr(model, "raw_outputs", nullcontext)():
        for number in range(idle + counted):
            index = number % len(dataset)
            camera = cameras[index : index + 1]
            finish_device_work()
            start = time.perf_counter()
            outputs = model.get_outputs_for_camera(camera)
            finish_device_work()
            seconds.append(time.perf_counter() - start)
    model.train()
    height, width = outputs["rgb"].shape[:2]
    return {
        "frame_size": [width, height],
        "outputs": sorted(outputs),
        "frame_seconds": seconds[idle:],
        "seconds_per_frame": sum(seconds[idle:]) / counted,
        "rendering_rays_per_second": counted * height * width / sum(seconds[idle:]),
    }


def peak_gib() -> float:
    """The most memory that this process has had, GiB (Linux counts in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def process_age() -> float:
    """Seconds since this process was started (Linux)."""
    started_ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    return uptime - started_ticks / os.sysconf("SC_CLK_TCK")


def paired_turns(arms: Mapping[str, Arm], scene: Path, rounds: int, steps: int) -> dict[str, list[float]]:
    """Milliseconds a step of several arms that take a few steps each in turn, in this one process.

    A machine whose speed drifts by more than two arms differ says nothing about them from turn to turn of a process
    each; from one second to the next it drifts little.

    Args:
        arms: all for the CPU; each is trained its uncounted steps first.
        scene: what they train on.
        rounds: turns of each arm.
        steps: of a turn; even, so that every turn of an arm that trains classes in every second step does the same.
    """
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    with ExitStack() as stack:
        trainers = {name: stack.enter_context(trainer_of(arm.config(), scene)) for name, arm in arms.items()}
        for name, arm in arms.items():
            take_steps(trainers[name], range(arm.steps[0]), arm.first_step)
        for number in range(rounds):
            for name, arm in arms.items():
                first = arm.steps[0] + number * steps
                seconds[name].append(take_steps(trainers[name], range(first, first + steps), arm.first_step))
    return {name: [1000 * turn / steps for turn in turns] for name, turns in seconds.items()}


def one_turn(arm: Arm, scene: Path) -> dict[str, Any]:
    """Train and render as the arm says; gives `not_measured` and the reason where that is not possible."""
    if arm.needs_cuda and not torch.cuda.is_available():
        return {"not_measured": "no CUDA device"}
    try:
        config = arm.config()
    except NotMeasuredError as reason:
        return {"not_measured": str(reason)}
    idle, counted = arm.steps
    with trainer_of(config, scene) as trainer:
        take_steps(trainer, range(idle), arm.first_step)
        seconds = take_steps(trainer, range(idle, idle + counted), arm.first_step)
        rays: int = trainer.pipeline.datamanager.get_train_rays_per_batch()
        result = {
            "training_rays_per_second": counted * rays / seconds,
            "steps": list(arm.steps),
            "frames": list(arm.frames),
            "rays_per_step": rays,
            "peak_gib_training": peak_gib(),
            **render_frames(trainer, *arm.frames),
            "peak_gib": peak_gib(),
        }
        if torch.cuda.is_available():
            result["peak_gpu_gib"] = torch.cuda.max_memory_allocated() / 2**30
    return result
