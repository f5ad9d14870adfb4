"""Train a scene from one click per class and image, and read its scores.

A run of `ns-train` is a configuration that is set up and trained. This script takes the one of `semantic-nerf`, keeps
one labelled pixel of each class in each training image, trains, and scores against all labels. It prints the path of
the run's config.yml, which the later examples take.

    python examples/01_train_few_clicks.py --data SCENE
"""

import argparse
import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nerfstudio.plugins.registry import discover_methods
from nerfstudio.scripts.train import main as train
from nerfstudio.utils.eval_utils import eval_setup

from semantic_ns.labels.corruption import CorruptionConfig

BUNDLED_SCENE = Path(__file__).resolve().parent.parent / "scripts" / "demo_scene"


def few_click_config(data: Path, output: Path, steps: int | None) -> Any:
    """The configuration of `semantic-nerf` for a scene with one click per class and image."""
    methods, _ = discover_methods()
    config: Any = copy.deepcopy(methods["semantic-nerf"])
    config.output_dir = output
    config.experiment_name = "few-clicks"
    config.vis = "tensorboard"  # no viewer, so that training ends by itself
    config.pipeline.datamanager.data = data
    # Per cent of the pixels of each class that keep their label in each image; 0 is one click.
    config.pipeline.datamanager.corruption = CorruptionConfig(propagation=0.0, seed=0)
    if steps is not None:
        config.max_num_iterations = steps
    return config


def train_few_clicks(data: Path, output: Path, steps: int | None) -> tuple[Path, dict[str, Any]]:
    """Train and score; the path of config.yml, and the scores of the evaluation images against all labels."""
    config = few_click_config(data, output, steps)
    train(config)
    path = config.get_base_dir() / "config.yml"
    pipeline: Any = eval_setup(path)[1]
    return path, pipeline.get_average_eval_image_metrics()


def main(arguments: Sequence[str] | None = None) -> None:
    """Train on a scene, and print its scores and where the run lies."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=BUNDLED_SCENE, help="folder of the scene")
    parser.add_argument("--output", type=Path, default=Path("outputs"), help="folder of the runs")
    parser.add_argument("--steps", type=int, help="length of the run; by default that of the method")
    options = parser.parse_args(arguments)
    path, scores = train_few_clicks(options.data, options.output, options.steps)
    for name in ("miou_present", "pixel_accuracy", "psnr"):
        print(f"{name}: {float(scores[name]):.3f}")
    print(f"Run: {path}")


if __name__ == "__main__":
    main()
