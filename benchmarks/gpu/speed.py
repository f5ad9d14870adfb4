"""Stage `speed`: training and rendering of the methods, in one process, in turn; the phases of a step."""

import statistics
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from time import perf_counter
from typing import Any

import torch

from benchmarks.gpu.arms import NGP_ARM, SPEED_ARMS, Arm, configured, scene_of, trainer_on
from benchmarks.gpu.rows import Rows
from benchmarks.gpu.settings import Settings
from benchmarks.speed.turn import finish_device_work, take_steps

ROUNDS = 3
FRAME = (640, 480)
"""Width and height."""


def measure(settings: Settings, rows: Rows) -> None:
    """One row for each arm, and one for the phases of its step."""
    arms = {name: arm for name, arm in SPEED_ARMS.items() if not settings.tiny or name in _TINY_ARMS}
    for name, arm in arms.items():
        with rows.attempt(name):
            measure_arm(name, arm, settings, rows)


_TINY_ARMS = ("nerfacto of semantic-nerf's sizes, torch", "semantic-nerf, float32", "nerfacto, tiny-cuda-nn")


def measure_ngp(settings: Settings, rows: Rows) -> None:
    """Stage `ngp`: the same for semantic-ngp."""
    with rows.attempt("semantic-ngp, float32"):
        measure_arm("semantic-ngp, float32", NGP_ARM, settings, rows)


def measure_arm(name: str, arm: Arm, settings: Settings, rows: Rows) -> None:
    """Train, then time turns of training, the phases of a step and whole frames."""
    idle, counted = (2, 1) if settings.tiny else arm.steps
    rounds = 1 if settings.tiny else ROUNDS
    with trainer_on(configured(arm.config, settings), scene_of(settings), settings) as trainer:
        _forget_peak()
        take_steps(trainer, range(idle), arm.first_step)
        seconds = [
            take_steps(trainer, range(idle + turn * counted, idle + (turn + 1) * counted), arm.first_step)
            for turn in range(rounds)
        ]
        rays: int = trainer.pipeline.datamanager.get_train_rays_per_batch()
        step = statistics.median(seconds) / counted
        rows.add(
            name, rays_per_second=rays / step, milliseconds_per_step=1e3 * step, rays_per_step=rays,
            turns=[1e3 * turn / counted for turn in seconds], steps=[idle, counted],
            parameters=sum(parameter.numel() for parameter in trainer.pipeline.model.parameters()),
            training_peak_gib=_peak_gib(),
        )  # fmt: skip
        done = idle + rounds * counted
        phases = phases_of_step(trainer, range(done, done + (1 if settings.tiny else 20)), arm.first_step)
        rows.add(f"phases: {name}", milliseconds=phases)
        if arm.frames:
            _forget_peak()
            rows.add(f"frame: {name}", **frame_speed(trainer, settings, arm.frames), rendering_peak_gib=_peak_gib())


def _forget_peak() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def _peak_gib() -> float | None:
    return torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else None


def frame_speed(trainer: Any, settings: Settings, frames: int) -> dict[str, Any]:
    """Frames a second with all outputs, of a test camera widened to 640x480."""
    dataset, model = trainer.pipeline.datamanager.eval_dataset, trainer.pipeline.model
    camera = dataset.cameras[0:1].to(trainer.device)
    width, height = (24, 16) if settings.tiny else FRAME
    camera.rescale_output_resolution(width / int(camera.width))
    camera.height[:] = height
    camera.cy[:] = height / 2
    if settings.device == "cuda":
        model.config.eval_num_rays_per_chunk = max(model.config.eval_num_rays_per_chunk, 1 << 12)
    seconds, outputs = [], {}
    model.eval()
    for number in range(frames + 1):
        finish_device_work()
        start = perf_counter()
        outputs = model.get_outputs_for_camera(camera)
        finish_device_work()
        if number:
            seconds.append(perf_counter() - start)
    model.train()
    size = list(outputs["rgb"].shape[:2])
    return {"frames_per_second": 1 / statistics.median(seconds), "frame_seconds": seconds, "height_width": size}


@contextmanager
def _timed(owner: Any, method: str, phase: str, seconds: dict[str, float]) -> Iterator[None]:
    """Adds up the seconds of a method's calls, its work on the device included."""
    original = getattr(owner, method)
    was_own = method in vars(owner)

    def call(*arguments: Any, **options: Any) -> Any:
        finish_device_work()
        start = perf_counter()
        result = original(*arguments, **options)
        finish_device_work()
        seconds[phase] = seconds.get(phase, 0.0) + perf_counter() - start
        return result

    setattr(owner, method, call)
    try:
        yield
    finally:
        if was_own or isinstance(owner, type):
            setattr(owner, method, original)
        else:
            delattr(owner, method)


def phases_of_step(trainer: Any, steps: range, first_step: int) -> dict[str, float]:
    """Milliseconds of the parts of a step with the device at rest between them, and of all, without and with that.

    The parts add up to more than a step takes, in which the device works while the next parts are prepared.
    """
    pipeline, optimizers = trainer.pipeline, trainer.optimizers
    seconds: dict[str, float] = {"step": take_steps(trainer, steps, first_step)}
    # Time in which the CPU gives work away, were the device infinitely fast: without waiting for the last of it.
    watched = [
        (pipeline.datamanager, "next_train", "batch and rays"),
        (pipeline.model, "get_outputs", "forward"),
        (pipeline.model, "get_metrics_dict", "metrics"),
        (pipeline.model, "get_loss_dict", "losses"),
        (torch.Tensor, "backward", "backward"),
        (optimizers, "zero_grad_some", "zero gradients"),
        (optimizers, "optimizer_scaler_step_some", "optimisers"),
        (optimizers, "scheduler_step_all", "schedules"),
    ]
    with ExitStack() as stack:
        for owner, method, phase in watched:
            stack.enter_context(_timed(owner, method, phase, seconds))
        seconds["step with the device at rest between parts"] = take_steps(trainer, steps, first_step)
    return {phase: 1e3 * total / len(steps) for phase, total in seconds.items()}
