"""Rays per second in training: methods in turn, each turn a process of its own, on one scene and one machine."""

import argparse
import copy
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
METHODS = ("nerfacto", "semantic-nerf")
# (steps that are not counted, steps that are): nerfacto takes seconds for a step on a CPU.
STEPS = {"nerfacto": (2, 6), "semantic-nerf": (60, 240)}
# Both are timed far behind the warm-up of their proposal networks, when these are trained every few steps only. To
# train that long would take nerfacto hours, so the callbacks are told that it is over.
FIRST_STEP = 20_000


def build(method: str, scene: Path) -> tuple[Any, Any]:
    """The pipeline and the optimisers of a method, as its trainer would make them."""
    import torch
    from nerfstudio.configs.method_configs import all_methods
    from nerfstudio.data.datamanagers.base_datamanager import VanillaDataManagerConfig
    from nerfstudio.engine.optimizers import Optimizers

    from semantic_ns.dataparsers.auto import AutoDataParserConfig
    from semantic_ns.host import without_lpips_download
    from semantic_ns.optimizers import scale_schedules_to_run

    torch.manual_seed(0)
    config = copy.deepcopy(all_methods[method])
    if method == "nerfacto":
        config.pipeline.datamanager = VanillaDataManagerConfig(
            train_num_rays_per_batch=config.pipeline.datamanager.train_num_rays_per_batch,
            dataparser=AutoDataParserConfig(),
        )
        config.pipeline.model.implementation = "torch"
    config.pipeline.datamanager.data = scene
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with without_lpips_download():
        pipeline = config.pipeline.setup(device=device, test_mode="val")
    groups = scale_schedules_to_run(config.optimizers, config.max_num_iterations)
    return pipeline, Optimizers(groups, pipeline.get_param_groups())


def one_turn(method: str, scene: Path) -> dict[str, Any]:
    """Train some steps as the trainer does and measure."""
    import torch
    from nerfstudio.engine.callbacks import TrainingCallbackAttributes, TrainingCallbackLocation

    pipeline, optimizers = build(method, scene)
    callbacks = pipeline.get_training_callbacks(
        TrainingCallbackAttributes(optimizers=None, grad_scaler=None, pipeline=pipeline, trainer=None)
    )
    pipeline.train()
    warm_up, counted = STEPS[method]
    start = 0.0
    for step in range(warm_up + counted):
        if step == warm_up:
            start = time.perf_counter()
        for callback in callbacks:
            callback.run_callback_at_location(FIRST_STEP + step, TrainingCallbackLocation.BEFORE_TRAIN_ITERATION)
        optimizers.zero_grad_all()
        _, losses, _ = pipeline.get_train_loss_dict(step)
        torch.stack([loss.reshape(()) for loss in losses.values()]).sum().backward()
        optimizers.optimizer_step_all()
        optimizers.scheduler_step_all(step)
        for callback in callbacks:
            callback.run_callback_at_location(FIRST_STEP + step, TrainingCallbackLocation.AFTER_TRAIN_ITERATION)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    rays = pipeline.datamanager.get_train_rays_per_batch()
    return {"rays_per_second": counted * rays / seconds, "steps": counted, "rays_per_step": rays}


def main() -> None:
    """Measure all methods in turn and print and write medians, spreads and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scene", type=Path, default=ROOT / "scripts" / "demo_scene")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=ROOT / "outputs" / "benchmark_speed.json")
    parser.add_argument("--one", choices=METHODS, help="measure one turn of this method and print it (internal)")
    arguments = parser.parse_args()
    if arguments.one:
        print("RESULT " + json.dumps(one_turn(arguments.one, arguments.scene)))
        return
    turns: dict[str, list[dict[str, Any]]] = {method: [] for method in METHODS}
    for _ in range(arguments.rounds):
        for method in METHODS:
            command = [sys.executable, "-W", "ignore", __file__, "--one", method, "--scene", str(arguments.scene)]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            turns[method].append(json.loads(output.split("RESULT ")[-1]))
            print(method, f"{turns[method][-1]['rays_per_second']:.0f} rays/s", flush=True)
    rates = {method: [turn["rays_per_second"] for turn in results] for method, results in turns.items()}
    ratios = [ours / theirs for ours, theirs in zip(rates["semantic-nerf"], rates["nerfacto"], strict=True)]
    report = {
        "machine": {"processor": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()},
        "methods": {
            m: {"median": statistics.median(r), "min": min(r), "max": max(r), **turns[m][0], "turns": r}
            for m, r in rates.items()
        },
        "semantic-nerf / nerfacto": {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)},
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report["semantic-nerf / nerfacto"]))


if __name__ == "__main__":
    main()
