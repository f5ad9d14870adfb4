"""One trial of `benchmarks.paper_network`: trains for a time, scores on the way, and leaves its result in its folder.

Seconds are those of training steps with all that happens between them; loading, scoring and rendering are not in it.
"""

import argparse
import math
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from nerfstudio.engine.trainer import Trainer

from benchmarks.speed.run import circumstances
from benchmarks.speed.turn import peak_gib, take_steps, trainer_of
from semantic_ns.benchmark.runner.trials import Trial, read_trial, write_done, write_failed
from semantic_ns.jobs.training_arguments import training_config

MARKS = (5.0, 10.0, 20.0, 30.0, 45.0, 60.0, 90.0, 150.0, 300.0, 600.0, 1200.0)
"""Training seconds after which a run is scored; from the last one on, each time they have doubled."""
SCORES = ("miou_present", "miou", "pixel_accuracy", "psnr_pooled", "depth_l1")


def marks_until(budget: float) -> list[float]:
    """The training seconds of the scores, ascending, with the budget last.

    Args:
        budget: training seconds; infinite for a run to its end.
    """
    longest = 30 * 24 * 3600.0
    marks = list(MARKS)
    while marks[-1] < longest:
        marks.append(2 * marks[-1])
    return [*(mark for mark in marks if mark < budget), budget]


def measure(trial: Trial, marks: Sequence[float], num_images: int, stride: int) -> tuple[dict[str, Any], list[str]]:
    """Train a trial up to the last mark or the end of its run, and score it at each mark.

    Args:
        trial: what to train.
        marks: training seconds after which to score, ascending.
        num_images: test images to score, evenly spaced.
        stride: of the scored pixels, in both directions.

    Returns:
        The result, and the arguments of `ns-train`.
    """
    arguments = trial.arguments()
    config = training_config(arguments)
    if hasattr(config.pipeline.model, "depth_loss_weight"):  # the paper's network reads no depth
        config.pipeline.model.depth_loss_weight = 0.0
    points: list[dict[str, float]] = []
    with trainer_of(config, trial.scene.data) as trainer:
        first = seconds = take_steps(trainer, range(1))
        done, training_peak = 1, 0.0
        for mark in marks:
            while seconds < mark and done < trial.num_steps:
                seconds += take_steps(trainer, range(done, done + 1))
                done += 1
            training_peak = training_peak or peak_gib()
            if not points or points[-1]["step"] < done:
                points.append({"step": done, "seconds": seconds, **scores(trainer, num_images, stride)})
                print(", ".join(f"{name} {value:.4g}" for name, value in points[-1].items()), flush=True)
        rays: int = trainer.pipeline.datamanager.get_train_rays_per_batch()
        later = (done - 1, seconds - first) if done > 1 else (1, first)
        outcome = {
            "scores": {"test": points[-1], "train": {}},
            "points": points,
            "num_steps_taken": done,
            "training_seconds": seconds,
            "first_step_seconds": first,
            "rays_per_step": rays,
            "training_rays_per_second": later[0] * rays / later[1],
            "peak_gib_training": training_peak,
            "peak_gib": peak_gib(),
            "num_parameters": sum(p.numel() for p in trainer.pipeline.model.parameters()),
            "num_test_images": num_images,
            "stride": stride,
            "threads": torch.get_num_threads(),
            "device": config.machine.device_type,
            "circumstances": circumstances(trial.scene.data),
        }
        if torch.cuda.is_available():
            outcome["peak_gpu_gib"] = torch.cuda.max_memory_allocated() / 2**30
    return outcome, arguments


def scores(trainer: Trainer, num_images: int, stride: int) -> dict[str, float]:
    """Pooled scores over every so many pixels of some test images: those of the paper's network take minutes each."""
    pipeline: Any = trainer.pipeline
    model, dataset = pipeline.model, pipeline.datamanager.eval_dataset
    chosen = torch.linspace(0, len(dataset) - 1, min(num_images, len(dataset))).round().int().tolist()
    start = time.perf_counter()
    model.eval()
    model.evaluation_state.reset()
    # How often a run is scored must not change its random draws.
    with torch.random.fork_rng(), torch.no_grad(), model.raw_outputs():
        for index in chosen:
            _score_image(model, dataset, index, slice(stride // 2, None, stride))
    model.train()
    found = model.evaluation_state.result(model.taxonomy.names)
    finite = {name: found[name] for name in SCORES if name in found and math.isfinite(found[name])}
    return finite | {"num_images": len(chosen), "scoring_seconds": time.perf_counter() - start}


def _score_image(model: Any, dataset: Any, index: int, pixels: slice) -> None:
    item, camera = dataset[index], dataset.cameras[index : index + 1].to(model.device)
    rays = camera.generate_rays(camera_indices=0, keep_shape=True)[pixels, pixels]
    outputs = model.get_outputs_for_camera_ray_bundle(rays)
    true = {name: value[pixels, pixels] for name, value in item.items() if isinstance(value, torch.Tensor)}
    model.evaluation_state.add_color(outputs["rgb"], true["image"][..., :3])
    model.evaluation_state.add_labels(outputs["semantics_labels"], true["semantics"])
    if "depth_image_m" in true:
        model.evaluation_state.add_depth(outputs["planar_depth"], true["depth_image_m"])


def main() -> None:
    """Measure the trial in a folder; what goes wrong is its result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=math.inf)
    parser.add_argument("--images", type=int, required=True)
    parser.add_argument("--stride", type=int, required=True)
    options = parser.parse_args()
    trial = read_trial(options.folder)
    try:
        outcome, arguments = measure(trial, marks_until(60 * options.minutes), options.images, options.stride)
        write_done(options.folder, trial, outcome, arguments)
    except Exception:
        write_failed(options.folder, trial, traceback.format_exc())


if __name__ == "__main__":
    main()
