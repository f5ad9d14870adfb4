"""How well do Gaussians made from the depth images of a scene show it, and how fast?

For each supervision mode of `sns-benchmark labels` the training images of a scene become Gaussians with classes, from
its depth images, and are scored on the images that were not trained on, against clean labels. Scores: mean PSNR, file
name and PSNR of the worst image, mean error of expected planar depth over pixels of known depth, pooled `miou_present`
without void. Seconds are those of the processor: for the octree, with the labels that spread before it; for training;
for classes; for a frame with colour and depth, and with all classes. NUMBA_NUM_THREADS says with how many threads.
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numba
import torch

from semantic_ns.benchmark.runner.modes import find_mode
from semantic_ns.dataparsers.auto import AutoDataParserConfig
from semantic_ns.datasets.semantic_dataset import SemanticDataset
from semantic_ns.datasets.training_labels import corrupted_labels
from semantic_ns.errors import SceneError
from semantic_ns.evaluation.worst_images import short_names
from semantic_ns.export.splat import (
    Splat,
    given_depths,
    score_splat,
    used_labels,
    views_of,
)
from semantic_ns.labels.corruption import CorruptionConfig
from semantic_ns.splatting.class_updates import ClassUpdates
from semantic_ns.splatting.first_gaussians import OF_IMAGES
from semantic_ns.splatting.fit import View, fit
from semantic_ns.splatting.fit_config import COMMON_BLUR, FINE_BLUR, FitConfig
from semantic_ns.splatting.outlined_labels import outlined_start
from semantic_ns.splatting.project import Gaussians
from semantic_ns.splatting.rasterize import rasterize


def views_and_labels(config: AutoDataParserConfig, split: str) -> tuple[SemanticDataset, list[View]]:
    """Images of a split of a scene, with their depth."""
    dataset = SemanticDataset(config.setup().get_dataparser_outputs(split))
    depths = given_depths(dataset)
    if depths is None:
        raise SceneError(f"Expected depth images in {config.data}, found none; choose a scene that has them.")
    return dataset, views_of(dataset, depths)


@torch.no_grad()
def frame_ms(splat: Splat, views: Sequence[View]) -> dict[str, float]:
    """Median milliseconds of the processor for a frame: colour and depth, and all classes."""
    found = {}
    for name, features in (("color_ms", splat.colors), ("classes_ms", splat.probabilities)):
        times = []
        for view in views:
            start = time.process_time()
            rasterize(splat.gaussians, features, view.camera)
            times.append(1000 * (time.process_time() - start))
        found[name] = sorted(times)[len(times) // 2]
    return found


@dataclass(frozen=True)
class Scene:
    """A scene whose training and scored images are read once for all trials.

    Attributes:
        train: the training images.
        views: the same, with their depth.
        scored: the scored images.
        others: the same, with their depth.
    """

    train: SemanticDataset
    views: list[View]
    scored: SemanticDataset
    others: list[View]

    @classmethod
    def of(cls, config: AutoDataParserConfig) -> "Scene":
        """Read both splits of a scene."""
        return cls(*views_and_labels(config, "train"), *views_and_labels(config, "val"))

    def trained(
        self, labels: Sequence[torch.Tensor], seed: int, steps: int, blur: float
    ) -> tuple[Gaussians, torch.Tensor, float, float]:
        """Gaussians made along the outlines of labels, their colours, and seconds of octree and training."""
        start, num_classes = time.process_time(), self.train.taxonomy.num_classes
        begin = outlined_start(self.views, labels, num_classes, leaves=replace(OF_IMAGES, blur=blur))
        octree_s, start = time.process_time() - start, time.process_time()
        config = FitConfig(steps=steps, seed=seed)
        gaussians, colors = fit(begin.gaussians, begin.colors, self.views, config, outlines=begin.outlines)
        return gaussians, colors, octree_s, time.process_time() - start


def trial(scene: Scene, mode: str, seed: int, steps: int, blur: float) -> dict[str, Any]:
    """Make and score the Gaussians of one mode and seed."""
    train, views = scene.train, scene.views
    clean = [train.read_labels(index) for index in range(len(train))]
    corruption = CorruptionConfig(seed=seed, **find_mode(mode).corruption)
    labels = [torch.from_numpy(image.astype("int32")) for image in corrupted_labels(train, clean, corruption)]
    labels = used_labels(views, labels)
    gaussians, colors, octree_s, fit_s = scene.trained(labels, seed, steps, blur)
    start = time.process_time()
    splat = Splat(gaussians, colors, ClassUpdates().update(gaussians, views, labels, train.taxonomy.num_classes))
    classes_s = time.process_time() - start
    metres = float(scene.scored.metadata["metres_per_unit"])
    found: dict[str, Any] = {
        "mode": mode,
        "seed": seed,
        "gaussians": len(gaussians),
        "threads": numba.get_num_threads(),
    }
    found |= {"blur": blur, "octree_s": octree_s, "fit_s": fit_s, "classes_s": classes_s}
    for poses, dataset, scored_views in (("test", scene.scored, scene.others), ("train", train, views)):
        truth = [torch.from_numpy(dataset.read_labels(index).astype("int32")) for index in range(len(dataset))]
        scores = score_splat(splat, scored_views, truth, metres)
        assert scores.classes is not None
        found[poses] = {
            "psnr": scores.psnr,
            "worst_psnr": scores.worst_psnr,
            "worst_image": short_names(dataset.image_filenames)[scores.worst_image],
            "depth_l1_m": scores.depth_l1_m,
            "miou_present": scores.classes.miou_present,
            "pixel_accuracy": scores.classes.pixel_accuracy,
        }
        if poses == "test" and blur != COMMON_BLUR:
            shown = replace(splat, gaussians=replace(gaussians, blur=COMMON_BLUR))
            found["common_viewers"] = asdict(score_splat(shown, scored_views, truth, metres))
            found["common_viewers"].pop("classes")
    return found | frame_ms(splat, scene.others)


def markdown(trials: Sequence[dict[str, Any]]) -> str:
    """A row for each trial."""
    lines = [
        "| mode | seed | Gaussians | PSNR | worst image | depth L1, m | `miou_present` | training poses "
        "| octree, s | fit, s | classes, s | frame, ms | classes, ms |",
        "|" + "---|" * 13,
    ]
    for one in trials:
        test = one["test"]
        cells = [one["mode"], str(one["seed"]), str(one["gaussians"])]
        cells += [f"{test['psnr']:.2f}", f"{test['worst_image']}, {test['worst_psnr']:.2f}"]
        cells += [f"{value:.3f}" for value in (test["depth_l1_m"], test["miou_present"], one["train"]["miou_present"])]
        cells += [f"{one[key]:.1f}" for key in ("octree_s", "fit_s", "classes_s", "color_ms", "classes_ms")]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Make, score and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scene", type=Path, help="scene with depth images")
    parser.add_argument("--split", default="auto", help="split of semantic-data (default: auto)")
    parser.add_argument("--eval-interval", type=int, default=8, help="frames per scored frame (split interval)")
    parser.add_argument("--modes", nargs="+", default=["all"], help="modes of sns-benchmark labels (default: all)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[42], help="seeds of labels and training")
    parser.add_argument("--steps", type=int, default=FitConfig.steps, help="steps of the training (default: 1000)")
    parser.add_argument("--blur", type=float, default=FINE_BLUR, help="pixels² that images add (default: 0.05)")
    parser.add_argument("--output", type=Path, help="JSON file for all numbers")
    options = parser.parse_args(arguments)
    config = AutoDataParserConfig(data=options.scene, split=options.split, eval_interval=options.eval_interval)
    scene, trials = Scene.of(config), []
    for seed in options.seeds:
        for mode in options.modes:
            trials.append(trial(scene, mode, seed, options.steps, options.blur))
            if options.output is not None:
                options.output.write_text(json.dumps(trials, indent=1) + "\n")
    print(markdown(trials))


if __name__ == "__main__":
    main()
