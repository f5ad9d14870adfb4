"""A training of a scoreboard in a process of its own: `python -m semantic_ns.benchmark.scenes.trial FOLDER`."""

import statistics
import sys
import time
from pathlib import Path
from typing import Any

from semantic_ns.benchmark.runner.image_scores import scores_and_images, worst_image
from semantic_ns.benchmark.runner.modes import find_mode
from semantic_ns.benchmark.runner.one_trial import (
    KEEP_RUN,
    circumstances,
    clean_training_dataset,
    label_frames,
    run_trial,
    started_trainer,
)
from semantic_ns.benchmark.runner.place import processor
from semantic_ns.benchmark.runner.trials import Trial
from semantic_ns.dataparsers import metadata as keys
from semantic_ns.interfaces import ScoredPipeline

MODULE = ("-m", "semantic_ns.benchmark.scenes.trial")
"""What runs a trial, as arguments of Python."""
_BLOCK = 20
"""Steps of which the time is taken together: not every step trains classes."""


def train_and_score(trial: Trial, folder: Path) -> tuple[dict[str, Any], list[str]]:
    """Train a trial and score it on the poses that its labels are compared by, image by image.

    Args:
        trial: what to train.
        folder: folder for the run, which is emptied first.

    Returns:
        Scores and circumstances, and the arguments of `ns-train`.
    """
    arguments = trial.arguments(label_frames(trial))
    trainer = started_trainer(trial, arguments, folder)
    milliseconds = _watched_steps(trainer)
    started = time.perf_counter()
    trainer.train()
    trained = time.perf_counter()
    outcome = _scores(trainer.pipeline, find_mode(trial.mode).poses, trial.score_stride)
    outcome |= {
        "steps": trainer.config.max_num_iterations,
        "training_seconds": trained - started,
        "milliseconds_per_step": statistics.median(milliseconds()) if milliseconds() else None,
        "scoring_seconds": time.perf_counter() - trained,
        **circumstances(trainer.config),
        "processor": processor(),
    }
    return outcome, arguments


def _scores(pipeline: ScoredPipeline, poses: str, stride: int) -> dict[str, Any]:
    manager = pipeline.datamanager
    scores: dict[str, dict[str, Any]] = {"test": {}, "train": {}}
    dataset = manager.eval_dataset if poses == "test" else clean_training_dataset(manager)
    scores[poses], images = scores_and_images(pipeline, dataset, stride)
    rule = {"miou_rule": scores[poses].pop("miou_rule")}
    said = {name: str(dataset.metadata[name]) for name in (keys.SPLIT, keys.VOID_RULE) if name in dataset.metadata}
    return {"scores": scores, "poses": poses, "images": images, "worst_image": worst_image(images), **said, **rule}


def _watched_steps(trainer: Any) -> Any:
    """A function that gives the milliseconds a step of each block of steps that has been taken."""
    original, moments = trainer.train_iteration, []

    def train_iteration(step: int) -> Any:
        result = original(step)
        moments.append(time.perf_counter())
        return result

    trainer.train_iteration = train_iteration
    return lambda: [1000 * (b - a) / _BLOCK for a, b in zip(moments[::_BLOCK], moments[_BLOCK::_BLOCK], strict=False)]


def main(folder: Path, keep_run: bool) -> None:
    """Train and score the trial in a folder, image by image."""
    run_trial(folder, keep_run, train_and_score)


if __name__ == "__main__":
    main(Path(sys.argv[-1]), KEEP_RUN in sys.argv)
