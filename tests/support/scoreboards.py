"""Trials and results of a scoreboard, without a training."""

import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from semantic_ns.benchmark.runner.image_scores import worst_image
from semantic_ns.benchmark.runner.trials import (
    BenchmarkScene,
    Trial,
    trial_folder,
    write_done,
    write_failed,
    write_trial,
)
from semantic_ns.benchmark.scenes.plan import SceneTrial


def trial(name: str = "room", seed: int = 42, folder: str = "/data", **changes: Any) -> SceneTrial:
    found = {"scene": BenchmarkScene(Path(folder) / name, name), "method": "semantic-nerf", "mode": "all"}
    return SceneTrial(**{**found, "seed": seed, "num_steps": 0, **changes})


def outcome(miou: float, image_psnr: Iterable[float] = (30.0, 20.0), **changes: Any) -> dict[str, Any]:
    psnr = list(image_psnr)
    images = [{"image": f"{number}.png", "psnr": value} for number, value in enumerate(psnr)]
    scores = {"miou_present": miou, "psnr": statistics.fmean(psnr), "psnr_std": 7.0, "depth_l1": 1 - miou}
    return {
        "scores": {"test": scores, "train": {}}, "poses": "test", "images": images, "worst_image": worst_image(images),
        "training_seconds": 100.0, "milliseconds_per_step": 50.0, "steps": 2000, "threads": 1, "device": "cpu",
        "processor": "fast", "commit": "abc", "split": "halves", **changes,
    }  # fmt: skip


def write(output: Path, one: Trial, found: dict[str, Any] | str | None) -> None:
    """Write a trial as done, as failed (a text) or as open."""
    folder = trial_folder(output, one)
    write_trial(folder, one)
    if isinstance(found, str):
        write_failed(folder, one, found)
    elif found is not None:
        write_done(folder, one, found, one.arguments())
