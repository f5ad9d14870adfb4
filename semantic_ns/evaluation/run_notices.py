"""What a training tells about itself: veils before its cameras, and the worst evaluation images at its end."""

from collections.abc import Callable
from typing import Any

from nerfstudio.data.utils.dataloaders import FixedIndicesEvalDataloader
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackLocation
from nerfstudio.utils.rich_utils import CONSOLE

from semantic_ns.errors import SceneError
from semantic_ns.evaluation.quick_psnr import quick_scores
from semantic_ns.evaluation.veil_of_model import find_veils_of
from semantic_ns.evaluation.worst_images import NamedImages, short_names
from semantic_ns.interfaces import ScoredPipeline, can
from semantic_ns.labels.corruption_frames import evenly_spaced
from semantic_ns.processes import present
from semantic_ns.run_clock import schedule_step_of

_LOOK_AFTER = 0.6
_LEAST_STEPS = 500
_NUM_CAMERAS, _NUM_RAYS = 40, 64


class EndScores:
    """Scores some evaluation images when a training is over, and prints the worst ones.

    The others, which may hide behind a veil, are compared in some of their pixels, where the model renders rays.

    A training that a signal ends is not over: nerfstudio's callbacks of the end do not run then.

    Args:
        pipeline: a `SemanticPipeline`.
        trainer: trainer of the run.
        num_images: largest number of images, evenly spaced; all of them where the run evaluates all images anyway
            (`steps_per_eval_all_images` within its length); 0: none.

    Raises:
        SceneError: if `num_images` is negative.
    """

    def __init__(self, pipeline: ScoredPipeline, trainer: Any, num_images: int) -> None:
        if num_images < 0:
            raise SceneError(
                f"Expected a number of images for --pipeline.eval-images-at-end, found {num_images}; 0 scores none."
            )
        self._pipeline, self._trainer = pipeline, trainer
        config = trainer.config
        self._scores_all = num_images > 0 and 0 < config.steps_per_eval_all_images <= config.max_num_iterations
        self._num_images = num_images

    def after_train(self, step: int) -> None:
        """Score and print."""
        del step
        # Processes that train together share the images, and each has to take its own.
        is_idle = self._trainer.local_rank != 0 and present().world == 1
        if self._num_images == 0 or is_idle or _is_interrupted(self._trainer):
            return
        state = self._pipeline.model.evaluation_state
        images = NamedImages(self._images(), state, is_over=lambda: _is_interrupted(self._trainer))
        if len(images):
            with self._trainer.train_lock:  # the viewer renders meanwhile
                self._pipeline.get_average_image_metrics(images, "eval")
                dataset = self._pipeline.datamanager.eval_dataset
                if can(self._pipeline.model, "renders_rays") and len(images) < len(dataset):
                    self._compare_all(dataset)

    def _images(self) -> Any:
        """Gives the images that are scored: evenly spaced ones of all scored scenes, where there are several."""
        manager: Any = self._pipeline.datamanager
        if can(manager, "scores_many_scenes"):
            return manager.some_scored_images(None if self._scores_all else self._num_images)
        dataset = manager.eval_dataset
        count = len(dataset) if self._scores_all else min(self._num_images, len(dataset))
        chosen: Any = tuple(int(i) for i in evenly_spaced(count, len(dataset)))  # declared as a tuple of one number
        return FixedIndicesEvalDataloader(dataset, image_indices=chosen, device=self._pipeline.device)

    def _compare_all(self, dataset: Any) -> None:
        if (sentence := quick_scores(self._pipeline.model, dataset).sentence()) is not None:
            said = f"{sentence}; ns-eval scores them whole."
            CONSOLE.print(said, markup=False, highlight=False, soft_wrap=True)

    def callbacks(self) -> list[TrainingCallback]:
        """The call at the end of the training."""
        return [_callback(TrainingCallbackLocation.AFTER_TRAIN, self.after_train)]


class VeilWarnings:
    """Warns of veils before training cameras, see `find_veils`: after 60 % of a run and at its end.

    It looks through 64 pixels of 40 cameras at most and draws no random number. A run of fewer than 500 steps has no
    surfaces yet and is not judged.

    Args:
        pipeline: a `SemanticPipeline`.
        trainer: trainer of the run.

    Raises:
        SceneError: if the model does not render single rays.
    """

    def __init__(self, pipeline: ScoredPipeline, trainer: Any) -> None:
        if not can(pipeline.model, "renders_rays"):
            raise SceneError(
                "Expected a model that renders single rays with --pipeline.warn-of-veils True, found a "
                f"{type(pipeline.model).__name__}; leave the option out."
            )
        self._pipeline, self._trainer = pipeline, trainer
        self._num_steps, self._at, self._is_due = trainer.config.max_num_iterations, schedule_step_of(trainer), True

    def before_step(self, step: int) -> None:
        """Look, if it is time."""
        if self._is_due and self._at(step) >= _LOOK_AFTER * self._num_steps:
            self._is_due = False
            self._look()

    def after_train(self, step: int) -> None:
        """Look once more."""
        del step
        if not _is_interrupted(self._trainer):
            with self._trainer.train_lock:  # the viewer renders meanwhile
                self._look()

    def _look(self) -> None:
        if self._num_steps < _LEAST_STEPS or self._trainer.local_rank != 0:
            return
        model, manager = self._pipeline.model, self._pipeline.datamanager
        dataset = manager.train_dataset
        cameras = dataset.cameras.to(model.device)
        veils = find_veils_of(model, cameras, short_names(dataset.image_filenames), _NUM_CAMERAS, _NUM_RAYS)
        if veils is not None and (sentence := veils.sentence()) is not None:
            run = self._trainer.base_dir / "config.yml"
            said = (
                f"Warning: {sentence}. Train again with {veils.remedy}, "
                f"or see all of them: sns-doctor {manager.get_datapath()} --trained {run}"
            )
            CONSOLE.print(said, style="bold yellow", markup=False, highlight=False, soft_wrap=True)

    def callbacks(self) -> list[TrainingCallback]:
        """The calls before each step and at the end of the training."""
        return [
            _callback(TrainingCallbackLocation.BEFORE_TRAIN_ITERATION, self.before_step),
            _callback(TrainingCallbackLocation.AFTER_TRAIN, self.after_train),
        ]


def _is_interrupted(trainer: Any) -> bool:
    """Whether somebody has ended the training; nerfstudio's own trainer knows no other end before the last step."""
    return getattr(trainer, "is_interrupted", trainer.stop_training)


def _callback(location: TrainingCallbackLocation, function: Callable[[int], None]) -> TrainingCallback:
    return TrainingCallback([location], function, update_every_num_iters=1)
