"""What each part of the way labels spread brings, in each supervision mode, on the surface of a trained run.

The surface of the training images is found once, as a training finds it. For each mode and seed their labels are made
few or wrong, and spread with all parts and with each part left out; scored are the classes that the surface then gives
to random pixels of all training images, against the clean labels, whatever label the pixel itself has. The field that
would learn them has no part in it.
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nerfstudio.utils.eval_utils import eval_setup
from rich.console import Console

from semantic_ns.benchmark.runner.modes import TWO_FRAMES, Mode, find_mode
from semantic_ns.benchmark.runner.one_trial import clean_training_dataset
from semantic_ns.benchmark.runner.scoring import chosen_frames
from semantic_ns.datasets.semantic_dataset import SemanticDataset
from semantic_ns.datasets.training_labels import corrupted_labels, read_label_folder
from semantic_ns.evaluation.metrics import confusion_matrix, segmentation_scores
from semantic_ns.io.writing import write_json
from semantic_ns.labels.corruption import CorruptionConfig
from semantic_ns.labels.taxonomy import VOID
from semantic_ns.propagation.config import PropagationConfig, SpreadingConfig
from semantic_ns.propagation.stage import PropagationStage
from semantic_ns.propagation.targets import PropagatedLabels

CONSOLE = Console(soft_wrap=True, highlight=False)
ALL_PARTS = "all parts"


def variants() -> Iterator[tuple[str, PropagationConfig]]:
    """All parts, and each left out; at the last, finest turn of a run."""
    yield ALL_PARTS, PropagationConfig(fractions=())
    for part in fields(SpreadingConfig):
        spreading = SpreadingConfig(**{part.name: False})
        yield f"without {part.name}", PropagationConfig(fractions=(), spreading=spreading)


def given_labels(
    dataset: SemanticDataset, clean: list[np.ndarray], mode: Mode, seed: int, options: argparse.Namespace
) -> list[np.ndarray]:
    """The labels of a mode, as a benchmark's training would see them."""
    if mode.train_labels is not None:
        return read_label_folder(mode.train_labels, dataset, options.scene)
    corruption = dict(mode.corruption)
    if mode.needs_region_classes:
        corruption["region_classes"] = tuple(options.region_classes)
    if mode.name == TWO_FRAMES:
        corruption["label_frames"] = tuple(chosen_frames(dataset))
    return corrupted_labels(dataset, clean, CorruptionConfig(seed=seed, **corruption))


@dataclass(frozen=True)
class ScoredPixels:
    """Random pixels of all training images.

    Attributes:
        pixels: frame, row and column.
        colors: RGB in 0..1.
        classes: clean labels, -1 for void.
    """

    pixels: torch.Tensor
    colors: torch.Tensor
    classes: torch.Tensor

    @classmethod
    def draw(cls, dataset: SemanticDataset, clean: Sequence[np.ndarray], count: int, seed: int) -> "ScoredPixels":
        """So many of each frame."""
        generator, pixels, colors, classes = np.random.default_rng(seed), [], [], []
        for frame, labels in enumerate(clean):
            places = np.sort(generator.choice(labels.size, min(count, labels.size), replace=False))
            rows, columns = np.divmod(places, labels.shape[1])
            pixels.append(np.stack([np.full_like(rows, frame), rows, columns], axis=-1))
            colors.append(dataset.color_of(frame).numpy()[rows, columns])
            classes.append(labels[rows, columns].astype(np.int64))
        return cls(*(torch.from_numpy(np.concatenate(parts)) for parts in (pixels, colors, classes)))

    def scores(self, propagated: PropagatedLabels, ray_generator: Any) -> dict[str, float]:
        """Scores of the surface's classes; where nothing is known counts as class 0."""
        rays = ray_generator(self.pixels)
        unknown = torch.full_like(self.classes, VOID)
        found = propagated.targets((rays.origins, rays.directions), self.pixels, self.colors, unknown)
        scores = segmentation_scores(confusion_matrix(found.argmax(dim=-1), self.classes, found.shape[1]))
        return {"miou_present": scores.miou_present, "pixel_accuracy": scores.pixel_accuracy}


def measure(pipeline: Any, clean: list[np.ndarray], options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A row per mode, seed and variant; scores of None: all labels stand as they are, nothing spreads."""
    datamanager = pipeline.datamanager
    dataset, generator = datamanager.train_dataset, datamanager.train_ray_generator
    maps = PropagationStage(PropagationConfig(fractions=()), pipeline.model, datamanager, 1).maps()
    for seed in options.seeds:
        pixels = ScoredPixels.draw(dataset, clean, options.num_pixels, seed)
        for name in options.modes:
            dataset.replace_labels(clean)
            dataset.replace_labels(given_labels(dataset, clean, find_mode(name), seed, options))
            for variant, config in variants():
                started = time.perf_counter()
                propagated = PropagationStage(config, pipeline.model, datamanager, 1).propagate(maps)
                seconds = time.perf_counter() - started
                scores = None if propagated is None else pixels.scores(propagated, generator)
                row = {"mode": name, "seed": seed, "variant": variant, "scores": scores, "seconds": seconds}
                CONSOLE.print(row)
                yield row
                if propagated is None:
                    break


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Means over seeds, in Markdown: a row per mode, a column per variant."""
    names = [name for name, _ in variants()]
    lines = ["| mode | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for mode in dict.fromkeys(row["mode"] for row in rows):
        found = {
            name: [
                row["scores"]["miou_present"]
                for row in rows
                if (row["mode"], row["variant"]) == (mode, name) and row["scores"]
            ]
            for name in names
        }
        cells = [f"{np.mean(found[name]):.3f}".removeprefix("0") if found[name] else "" for name in names]
        if not any(cells):
            cells[0] = "labels stand as they are"
        lines.append(f"| {mode} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Render, then spread."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="config.yml of a trained run")
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--modes", nargs="+", default=["click", "10%", "pixel-noise-50%"], help="as of sns-benchmark")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="of the corruption and of the scored pixels")
    parser.add_argument("--region-classes", nargs="*", default=[], help="whose instances region noise corrupts")
    parser.add_argument("--num-pixels", type=int, default=3000, help="scored in each training image")
    options = parser.parse_args()
    _, pipeline, _, _ = eval_setup(options.config, test_mode="test")
    datamanager: Any = pipeline.datamanager
    options.scene = Path(datamanager.get_datapath())
    truth = clean_training_dataset(datamanager)
    rows = list(measure(pipeline, [truth.labels_of(index) for index in range(len(truth))], options))
    content = {
        "config": str(options.config),
        "seeds": options.seeds,
        "num_pixels": options.num_pixels,
        "miou_rule": "one confusion matrix over drawn pixels of all training images; over classes with ground truth",
        "void_rule": "pixels whose clean label is void are not scored",
        "rows": rows,
    }
    write_json(options.output, content)
    CONSOLE.print(table(rows), markup=False)


if __name__ == "__main__":
    main()
