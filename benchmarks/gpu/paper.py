"""Stage `paper`: semantic-nerf-vanilla at the sizes that were published."""

from typing import Any

import torch

from benchmarks.gpu.arms import configured, of_method, scene_of, trainer_on
from benchmarks.gpu.rows import Rows
from benchmarks.gpu.settings import Settings
from benchmarks.gpu.speed import frame_speed
from benchmarks.speed.arms import registered
from benchmarks.speed.turn import take_steps

_WAYS: dict[str, tuple[str, bool]] = {
    "float32": ("highest", False), "TF32 products": ("high", False), "mixed precision": ("highest", True),
}  # fmt: skip
"""How torch multiplies matrices in single precision, and whether in half precision."""


def measure(settings: Settings, rows: Rows) -> None:
    """Rays a second and the hours of the whole run, as published and in two faster ways."""
    published = registered("semantic-nerf-vanilla").max_num_iterations
    for way, (precision, is_mixed) in list(_WAYS.items())[: 1 if settings.tiny else None]:
        name = f"semantic-nerf-vanilla, {way}"
        with rows.attempt(name):
            torch.set_float32_matmul_precision(precision)
            rows.add(name, **speed(settings, is_mixed, published))
    torch.set_float32_matmul_precision("highest")


def speed(settings: Settings, is_mixed: bool, published: int) -> dict[str, Any]:
    """What one way takes."""
    idle, counted = (1, 1) if settings.tiny else (20, 60)
    config = configured(of_method("semantic-nerf-vanilla", {"mixed_precision": is_mixed}), settings)
    with trainer_on(config, scene_of(settings), settings) as trainer:
        take_steps(trainer, range(idle))
        step = take_steps(trainer, range(idle, idle + counted)) / counted
        rays = trainer.pipeline.datamanager.get_train_rays_per_batch()
        peak = torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else None
        return {
            "rays_per_second": rays / step,
            "milliseconds_per_step": 1e3 * step,
            "rays_per_step": rays,
            "hours_of_the_published_run": published * step / 3600,
            "published_steps": published,
            "peak_gib": peak,
            **frame_speed(trainer, settings, 1),
        }
