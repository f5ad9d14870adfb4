"""The pipeline that adds pooled scores to what `ns-eval` and the trainer report."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes, TrainingCallbackLocation
from nerfstudio.pipelines.base_pipeline import VanillaPipeline, VanillaPipelineConfig
from nerfstudio.utils.rich_utils import CONSOLE
from torch.cuda.amp.grad_scaler import GradScaler

from semantic_ns.active_learning.rounds.reset_classes import start_classes_over
from semantic_ns.dataparsers import metadata as keys
from semantic_ns.errors import SceneError
from semantic_ns.evaluation.calibration import reliability_diagram
from semantic_ns.evaluation.captions import draw_legend
from semantic_ns.evaluation.run_notices import EndScores, VeilWarnings
from semantic_ns.evaluation.worst_images import NamedImages, worst_as_json, worst_table
from semantic_ns.host import guard_viewer
from semantic_ns.interfaces import SemanticModelLike, TrainingDataLike
from semantic_ns.io.writing import write_png
from semantic_ns.propagation.config import PropagationConfig

if TYPE_CHECKING:  # compile kernels, which registration must not
    from semantic_ns.active_learning.rounds.snapshot import RunMoment
    from semantic_ns.active_learning.rounds.stage import ActiveStage
    from semantic_ns.propagation.stage import PropagationStage

MIOU_RULE = (
    "one confusion matrix over all scored pixels of all evaluated images; "
    "miou: mean IoU over classes with ground truth or prediction; miou_present: over classes with ground truth"
)


@dataclass
class SemanticPipelineConfig(VanillaPipelineConfig):
    """Configuration of `SemanticPipeline`."""

    _target: type = field(default_factory=lambda: SemanticPipeline)
    propagation: PropagationConfig = field(default_factory=PropagationConfig)
    """How labels spread over the surface while the model trains."""
    eval_images_at_end: int = 8
    """Evaluation images, evenly spaced, that are scored when a training is over, to name the worst; 0: none. All are
    where --steps-per-eval-all-images is within the run."""
    warn_of_veils: bool = True
    """Look at 60 % and at the end of a training whether something hangs close before cameras that no other one sees."""


class SemanticPipeline(VanillaPipeline):
    """A `VanillaPipeline` whose evaluation pools labels and depth over all images.

    nerfstudio averages per-image numbers, from which the mIoU of a scene cannot be had. Only that one method is
    extended; training is the parent's.
    """

    def __init__(
        self,
        config: VanillaPipelineConfig,
        device: str | torch.device,
        test_mode: Literal["test", "val", "inference"] = "val",
        world_size: int = 1,
        local_rank: int = 0,
        grad_scaler: GradScaler | None = None,
    ) -> None:
        # The parent says str, but is given a torch.device by nerfstudio's eval_setup.
        super().__init__(config, cast(str, device), test_mode, world_size, local_rank, grad_scaler)
        eval_dataset = getattr(self.datamanager, "eval_dataset", None)
        if hasattr(eval_dataset, "load_depth"):
            cast(Any, eval_dataset).load_depth = True
        self.moment = _moment_of(self._data, self._semantic_model)
        # nerfstudio opens the viewer next; the model's panel has loaded viser.
        guard_viewer(warn_of_network=True)

    @property
    def _semantic_model(self) -> SemanticModelLike:
        return cast(SemanticModelLike, self.model)

    @property
    def _data(self) -> TrainingDataLike:
        return cast(TrainingDataLike, self.datamanager)

    def get_training_callbacks(
        self, training_callback_attributes: TrainingCallbackAttributes
    ) -> list[TrainingCallback]:
        """The parent's, the rounds of active learning, the spreading of labels, and what a run tells about itself."""
        callbacks = super().get_training_callbacks(training_callback_attributes)
        trainer = training_callback_attributes.trainer
        if trainer is None:
            return callbacks
        config = cast(SemanticPipelineConfig, self.config)
        notices = EndScores(self, trainer, config.eval_images_at_end).callbacks()
        if config.warn_of_veils:
            notices = [*VeilWarnings(self, trainer).callbacks(), *notices]
        return [*self._with_class_callbacks(callbacks, trainer), *notices]

    def _with_class_callbacks(self, callbacks: list[TrainingCallback], trainer: Any) -> list[TrainingCallback]:
        config = cast(SemanticPipelineConfig, self.config).propagation
        if not getattr(self.model.config, "use_semantics", False):
            self._refuse_to_ask()
            return callbacks
        callbacks += self._geometry_teaching(trainer.config.max_num_iterations)
        from semantic_ns.propagation.stage import PropagationStage

        stage = PropagationStage(config, self._semantic_model, self._data, trainer.config.max_num_iterations)
        spreading = [_before_each_step(stage.before_step)] if config.enabled else []
        if self.moment is None:
            return [*callbacks, *spreading]
        active = self._active_stage(trainer, stage if config.enabled else None)
        # First the resumed state: the model's own callbacks may draw random numbers.
        resume, ask, note = (_before_each_step(f) for f in (active.resume, active.before_step, active.note_spreading))
        return [resume, *callbacks, ask, *spreading, note]

    def _geometry_teaching(self, num_steps: int) -> list[TrainingCallback]:
        """Labels that can be trusted train the geometry, too, in the first part of a run."""
        model = self._semantic_model
        config = model.config
        fraction = getattr(config, "geometry_fraction", 0.0)
        if not 0 <= fraction <= 1:
            raise SceneError(
                f"Expected a share from 0 to 1 for --pipeline.model.geometry-fraction, found {fraction}; 0 is never."
            )
        # Labels that are asked for are few in that part of a run, and a resumed run would judge by others.
        if fraction == 0 or self.moment is not None or not self._data.has_complete_labels:
            return []

        def teach(step: int) -> None:
            model.pass_semantic_gradients = config.pass_semantic_gradients or step < fraction * num_steps

        return [_before_each_step(teach)]

    def _refuse_to_ask(self) -> None:
        if self.moment is not None:
            raise SceneError(
                "Expected a model with classes to ask for labels, found --pipeline.model.use-semantics False; leave it "
                "out, or --pipeline.datamanager.active.strategy."
            )

    def _active_stage(self, trainer: Any, propagation: "PropagationStage | None") -> "ActiveStage":
        from semantic_ns.active_learning.rounds.stage import ActiveStage

        start_over = None
        if self._data.config.active.restart:
            start_over = partial(start_classes_over, self._semantic_model.field, trainer.optimizers.optimizers)
        return ActiveStage(
            self._semantic_model, self._data, propagation, cast("RunMoment", self.moment),
            trainer.config.max_num_iterations, log_folder=trainer.base_dir, start_classes_over=start_over,
        )  # fmt: skip

    def get_average_image_metrics(
        self,
        data_loader: Any,
        image_prefix: str,
        step: int | None = None,
        output_path: Path | None = None,
        get_std: bool = False,
    ) -> dict[str, Any]:
        """Evaluate all images: the parent's means plus pooled scores, and the worst images.

        Args:
            data_loader: Gives (camera, batch) of each image, and has a length; or `NamedImages` of such a one.
            image_prefix: Start of the file names of saved pictures.
            step: Training step, or None outside training (`ns-eval`).
            output_path: Folder for the pictures, if they are to be saved; a legend of the classes is added, and a
                reliability diagram of the confidence.
            get_std: Also give the standard deviation over images of each per-image number.

        Returns:
            Numbers by name. Without a step also the texts `split`, `void_rule` and `miou_rule`, the lists `worst_psnr`,
            `worst_miou_present` and `worst_depth_l1` (see `worst_as_json`), which are printed, and None for numbers
            that do not exist (JSON has no NaN); with a step, such numbers are left out, since log writers take
            finite numbers only.
        """
        model = self._semantic_model
        model.evaluation_state.reset()
        if not isinstance(data_loader, NamedImages):
            data_loader = NamedImages(data_loader, model.evaluation_state)
        with model.raw_outputs():
            metrics: dict[str, Any] = super().get_average_image_metrics(
                data_loader, image_prefix, step, output_path, get_std
            )
        metrics |= model.evaluation_state.result(model.taxonomy.names)
        images = model.evaluation_state.image_scores()
        metrics["num_images"] = len(images)
        if output_path is not None:
            write_png(output_path / f"{image_prefix}_legend.png", draw_legend(model.taxonomy))
            calibration = model.evaluation_state.calibration
            if calibration.has_pixels:
                write_png(output_path / f"{image_prefix}_reliability.png", reliability_diagram(calibration))
        if step is None:
            CONSOLE.print(worst_table(images, metrics, data_loader.num_all))
            return without_nan(metrics) | worst_as_json(images) | self._rules()
        return {name: value for name, value in metrics.items() if math.isfinite(value)}

    def _rules(self) -> dict[str, str]:
        """How the numbers came about, in sentences."""
        metadata: Mapping[str, Any] = getattr(getattr(self.datamanager, "eval_dataset", None), "metadata", {})
        said = {name: str(metadata[name]) for name in (keys.SPLIT, keys.VOID_RULE) if name in metadata}
        return said | {"miou_rule": MIOU_RULE}


def _moment_of(datamanager: TrainingDataLike, model: SemanticModelLike) -> "RunMoment | None":
    """What a resumed run with active learning takes up."""
    if getattr(datamanager, "given", None) is None:
        return None
    from semantic_ns.active_learning.rounds.snapshot import RunMoment

    return RunMoment(model)


def _before_each_step(function: Callable[[int], None]) -> TrainingCallback:
    return TrainingCallback([TrainingCallbackLocation.BEFORE_TRAIN_ITERATION], function, update_every_num_iters=1)


def without_nan(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Replace NaN and infinity, which JSON does not have, with None (null).

    They stand for a standard deviation over one image or a score without a single pixel.
    """
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in metrics.items()
    }
