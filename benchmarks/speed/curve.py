"""Quality over training time: one run with its schedule, scored now and then; only its steps are timed."""

import time
from collections.abc import Sequence, Sized
from pathlib import Path
from typing import Any, cast

import torch
from nerfstudio.data.utils.dataloaders import FixedIndicesEvalDataloader
from nerfstudio.engine.trainer import Trainer

from benchmarks.speed.arms import registered
from benchmarks.speed.turn import peak_gib, process_age, render_frames, take_steps, trainer_of

SCORES = ("miou_present", "miou", "pixel_accuracy", "psnr", "psnr_pooled", "ssim", "depth_l1")


def scored_steps(steps: Sequence[int], num_iterations: int) -> list[int]:
    """The steps that the run reaches, ascending, and its end."""
    return sorted({step for step in steps if 0 < step < num_iterations} | {num_iterations})


def one_curve(
    method: str, scene: Path, steps: Sequence[int], num_images: int | None, num_iterations: int | None
) -> dict[str, Any]:
    """Train a method with its default run, or a shorter one, and score it after the given numbers of steps.

    Seconds are those of training steps alone. The first is in them, and with it the loading or compiling of kernels.
    """
    config = registered(method)
    default_iterations = config.max_num_iterations
    config.max_num_iterations = num_iterations or default_iterations
    points: list[dict[str, float]] = []
    with trainer_of(config, scene) as trainer:
        startup = process_age()
        first = seconds = take_steps(trainer, range(1))
        done = 1
        for end in scored_steps(steps, config.max_num_iterations):
            seconds += take_steps(trainer, range(done, end))
            done = end
            points.append({"step": done, "seconds": seconds, **_scores(trainer, done, num_images)})
            print(f"step {done}: " + ", ".join(f"{name} {value:.3f}" for name, value in points[-1].items()), flush=True)
        return {
            "num_iterations": config.max_num_iterations,
            "default_iterations": default_iterations,
            "num_test_images": len(cast(Sized, trainer.pipeline.datamanager.eval_dataset)),
            "seconds_before_first_step": startup,
            "first_step_seconds": first,
            "training_seconds": seconds,
            "rays_per_step": trainer.pipeline.datamanager.get_train_rays_per_batch(),
            "points": points,
            "rendering": render_frames(trainer, 1, 10),
            "peak_gib": peak_gib(),
        }


def _scores(trainer: Trainer, step: int, num_images: int | None) -> dict[str, float]:
    """What `ns-eval` reports, over all test images or as many of them, evenly spaced."""
    pipeline: Any = trainer.pipeline
    loader = pipeline.datamanager.fixed_indices_eval_dataloader
    if num_images is not None and num_images < len(loader.image_indices):
        chosen = torch.linspace(0, len(loader.image_indices) - 1, num_images).round().int().tolist()
        loader = FixedIndicesEvalDataloader(loader.input_dataset, tuple(chosen), trainer.device)
    start = time.perf_counter()
    # How often a run is scored must not change its random draws.
    with torch.random.fork_rng():
        metrics = pipeline.get_average_image_metrics(loader, "eval", step)
    scores = {name: metrics[name] for name in SCORES if name in metrics}
    return scores | {"num_images": len(loader.image_indices), "scoring_seconds": time.perf_counter() - start}
