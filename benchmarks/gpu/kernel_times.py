"""Stage `profile`: which kernels take the device's time in a training step, and how much of the step it is at work."""

from typing import Any

from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu.arms import SPEED_ARMS, configured, scene_of, trainer_on
from benchmarks.gpu.rows import Rows
from benchmarks.gpu.settings import Settings
from benchmarks.speed.turn import take_steps

_ARMS = ("semantic-nerf, float32", "semantic-nerf, mixed", "semantic-nerf-big, mixed")
_TOP = 15


def measure(settings: Settings, rows: Rows) -> None:
    """One row for each of some arms."""
    for name in _ARMS[:1] if settings.tiny else _ARMS:
        with rows.attempt(f"kernels: {name}"):
            rows.add(f"kernels: {name}", **kernels_of(name, settings))


def kernels_of(name: str, settings: Settings) -> dict[str, Any]:
    """Shares of the kernels with most time, launches and busy milliseconds of a step."""
    idle, counted = (1, 1) if settings.tiny else (40, 10)
    arm = SPEED_ARMS[name]
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if settings.device == "cuda" else [])
    with trainer_on(configured(arm.config, settings), scene_of(settings), settings) as trainer:
        take_steps(trainer, range(idle), arm.first_step)
        plain = take_steps(trainer, range(idle, idle + counted), arm.first_step)
        with profile(activities=activities) as profiler:
            take_steps(trainer, range(idle + counted, idle + 2 * counted), arm.first_step)
    events = [(event.key, *_own_time(event, settings), event.count) for event in profiler.key_averages()]
    events = sorted((event for event in events if event[1] > 0), key=lambda event: -event[1])
    busy = sum(event[1] for event in events)
    launches = sum(event[3] for event in events if event[2])
    return {
        "milliseconds_per_step": 1e3 * plain / counted,
        "busy_milliseconds_per_step": 1e-3 * busy / counted,
        "busy_share": 1e-6 * busy / plain,
        "launches_per_step": launches / counted,
        "top": [
            {"kernel": key[:120], "share": time / busy, "milliseconds_per_step": 1e-3 * time / counted,
             "calls_per_step": count / counted}
            for key, time, _, count in events[:_TOP]
        ],
    }  # fmt: skip


def _own_time(event: Any, settings: Settings) -> tuple[float, bool]:
    """Microseconds on the device of what runs there, on the CPU of operations; and whether it is such a kernel."""
    if settings.device == "cpu":
        return float(event.self_cpu_time_total), True
    is_kernel = "CUDA" in str(event.device_type) and not getattr(event, "is_user_annotation", False)
    return (float(event.self_device_time_total) if is_kernel else 0.0), is_kernel
