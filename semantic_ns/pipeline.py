"""The pipeline that adds pooled scores to what `ns-eval` and the trainer report."""

import math
import os
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

from semantic_ns.active_learning.rounds.reset_classes import reset_semantic_parameters
from semantic_ns.active_learning.rounds.schedule import ActiveConfig
from semantic_ns.dataparsers import metadata as keys
from semantic_ns.errors import SceneError
from semantic_ns.evaluation.bounds_notice import saying_doubt_once
from semantic_ns.evaluation.calibration import reliability_diagram
from semantic_ns.evaluation.captions import draw_legend
from semantic_ns.evaluation.image_means import images_scored_by, mean_of_images
from semantic_ns.evaluation.run_notices import EndScores, VeilWarnings
from semantic_ns.evaluation.worst_images import NamedImages, worst_as_json, worst_table
from semantic_ns.geometry.world import world_from_scene
from semantic_ns.host import guard_viewer
from semantic_ns.interfaces import SemanticModelLike, TrainingDataLike, can
from semantic_ns.io.console import announce
from semantic_ns.io.writing import write_png
from semantic_ns.processes import Processes, present
from semantic_ns.propagation.config import PropagationConfig
from semantic_ns.run_clock import schedule_step_of
from semantic_ns.viewer.requested_views import requested_views

if TYPE_CHECKING:  # compile kernels, which registration must not
    from semantic_ns.active_learning.rounds.revealed_labels import RevealedLabels
    from semantic_ns.active_learning.rounds.stage import ActiveStage
    from semantic_ns.propagation.stage import PropagationStage
    from semantic_ns.run_snapshot import RunSnapshot

MIOU_RULE = (
    "one confusion matrix over all scored pixels of all evaluated images; "
    "miou: mean IoU over classes with ground truth or prediction; miou_present: over classes with ground truth"
)
IMAGE_MIOU_RULE = (
    f"{MIOU_RULE}; miou_per_image: mean over images of the mean IoU over the classes with ground truth in that image, "
    "images without any left out"
)
"""How the means of IoU are taken where each image is also scored by itself."""

_SOURCES = "sources"
"""Score: what a model saw of a scene to render its images."""

INSTANCES_VARIABLE = "SEMANTIC_NS_INSTANCES"
"""Environment variable that names the folder that `sns-export instances` wrote, to show it in the viewer."""
_FORMER_NAMES = {
    "datamanager.given._extra_state": "revealed_labels._extra_state",
    "moment._extra_state": "run_snapshot._extra_state",
}
"""What active learning keeps in a checkpoint: names of older runs, and the present ones."""


@dataclass
class SemanticPipelineConfig(VanillaPipelineConfig):
    """Configuration of `SemanticPipeline`."""

    _target: type = field(default_factory=lambda: SemanticPipeline)
    propagation: PropagationConfig = field(default_factory=PropagationConfig)
    """How labels spread over the surface while the model trains."""
    active: ActiveConfig = field(default_factory=ActiveConfig)
    """Labels asked for in the course of the run, instead of all from the start."""
    eval_images_at_end: int = 8
    """Number of evenly spaced evaluation images scored at the end of training to name the worst; 0 disables it. All are
    scored if --steps-per-eval-all-images falls within the run; otherwise all are compared in a grid of their pixels,
    if the model renders rays."""
    warn_of_veils: bool = True
    """Check at 60 % and at the end of training for floaters close to a camera that no other camera sees."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the configuration from a file or a copy; older ones have `active` in the data manager, or nowhere."""
        former = vars(state["datamanager"]).pop("active", None)
        self.__dict__.update({"active": former or ActiveConfig()} | state)

    def settle(self) -> None:
        """Decide what depends on files that a trained run no longer needs, before its config.yml is written."""

    def for_resume(self) -> "SemanticPipelineConfig":
        """The configuration of a run that goes on from a checkpoint."""
        return self


class SemanticPipeline(VanillaPipeline):
    """A `VanillaPipeline` whose evaluation pools labels and depth over all images.

    nerfstudio averages per-image numbers, from which the mIoU of a scene cannot be had. That one method is extended.
    Training is the parent's; with active learning the pipeline says which labels it sees.

    Attributes:
        revealed_labels: With active learning what was asked for and revealed so far, else None.
        run_snapshot: What a resumed run takes up, of which nerfstudio's checkpoints know nothing.
    """

    config: SemanticPipelineConfig
    revealed_labels: "RevealedLabels | None"
    run_snapshot: "RunSnapshot"

    def __init__(
        self,
        config: SemanticPipelineConfig,
        device: str | torch.device,
        test_mode: Literal["test", "val", "inference"] = "val",
        world_size: int = 1,
        local_rank: int = 0,
        grad_scaler: GradScaler | None = None,
    ) -> None:
        asks = config.active.strategy is not None
        # Before the data manager reads labels for training.
        cast(Any, config.datamanager).starts_without_labels = asks
        cast(Any, config.datamanager).uses_depth = getattr(config.model, "depth_loss_weight", 0) > 0
        # The parent says str, but is given a torch.device by nerfstudio's eval_setup.
        super().__init__(config, cast(str, device), test_mode, world_size, local_rank, grad_scaler)
        if can(self.datamanager.eval_dataset, "loads_depth"):
            self._data.eval_dataset.load_depth = True
        self.revealed_labels = self._begin_asking() if asks else None
        self.run_snapshot = self._snapshot()
        if folder := os.environ.get(INSTANCES_VARIABLE):
            self._show_instances(Path(folder))
        # nerfstudio opens the viewer next; the model's panel has loaded viser.
        guard_viewer(warn_of_network=True)

    def _show_instances(self, folder: Path) -> None:
        """Offer exported instances as an output of the model."""
        from semantic_ns.viewer.instances import InstanceColors

        if not can(self.model, "shows_instances"):
            raise SceneError(
                f"Expected semantic-nerf, semantic-ngp or semantic-nerf-vanilla to show the instances of "
                f"{INSTANCES_VARIABLE}, found {type(self.model).__name__}; unset the variable."
            )
        model: Any = self.model
        world = world_from_scene(self._data.train_dataparser_outputs, torch.float64)
        model.instances = InstanceColors.read(folder, model.taxonomy, world)

    @property
    def _semantic_model(self) -> SemanticModelLike:
        return cast(SemanticModelLike, self.model)

    @property
    def _data(self) -> TrainingDataLike:
        return cast(TrainingDataLike, self.datamanager)

    def _snapshot(self) -> "RunSnapshot":
        from semantic_ns.run_snapshot import RunSnapshot  # compiles kernels

        return RunSnapshot(self._semantic_model)

    def _begin_asking(self) -> "RevealedLabels":
        """What active learning keeps in checkpoints; training sees the labels that are revealed in it."""
        # Compiles kernels, which registration must not.
        from semantic_ns.active_learning.rounds.revealed_labels import RevealedLabels, division_name

        if not can(self.datamanager, "gives_training_labels"):
            raise SceneError(
                "Expected a data manager that can reveal labels in the course of a run, found a "
                f"{type(self.datamanager).__name__}; leave out --pipeline.active.strategy."
            )
        revealed = RevealedLabels(self._data.training_labels, division_name(self.config.active))
        self._data.set_training_labels(revealed.labels)
        return revealed

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool | None = None) -> None:
        """Load a checkpoint, also one in which what active learning keeps has its former names."""
        super().load_state_dict({_FORMER_NAMES.get(name, name): value for name, value in state_dict.items()}, strict)

    def get_training_callbacks(
        self, training_callback_attributes: TrainingCallbackAttributes
    ) -> list[TrainingCallback]:
        """The parent's, the rounds of active learning, the spreading of labels, and what a run tells about itself."""
        callbacks = super().get_training_callbacks(training_callback_attributes)
        trainer = training_callback_attributes.trainer
        if trainer is None:
            return callbacks
        notices = EndScores(self, trainer, self.config.eval_images_at_end).callbacks()
        if self.config.warn_of_veils:
            notices = [*VeilWarnings(self, trainer).callbacks(), *notices]
        notices = [_before_each_step(saying_doubt_once(self, trainer)), *notices, *requested_views(self)]
        return [*self._with_class_callbacks(callbacks, trainer), *notices]

    def _with_class_callbacks(self, callbacks: list[TrainingCallback], trainer: Any) -> list[TrainingCallback]:
        # First the resumed state: the model's own callbacks may draw random numbers.
        if not can(self.model, "renders_classes"):
            self._refuse_to_ask()
            return [_before_each_step(self._resuming(None)), *callbacks]
        at = schedule_step_of(trainer)
        callbacks += self._geometry_supervision(trainer.config.max_num_iterations, at)
        propagation = self._propagation_stage(trainer.config.max_num_iterations)
        spreading = [] if propagation is None else [self._spreading(propagation, at)]
        active = self._active_stage(trainer, propagation)
        resume = self._resuming(propagation) if active is None else active.resume
        ask = [] if active is None else [active.before_step]
        return [_before_each_step(resume), *callbacks, *map(_before_each_step, ask + spreading)]

    def _resuming(self, propagation: "PropagationStage | None") -> Callable[[int], None]:
        """What takes up a loaded checkpoint without active learning."""

        def resume(step: int) -> None:
            if self.run_snapshot.is_loaded:
                if propagation is not None:
                    propagation.resume(step, self.run_snapshot.maps)
                self.run_snapshot.restore()

        return resume

    def _spreading(self, propagation: "PropagationStage", at: Callable[[int], int]) -> Callable[[int], None]:
        """What spreads labels if it is time, and remembers the surface that they have spread over."""

        def spread(step: int) -> None:
            propagation.before_step(at(step))
            propagated = self._data.propagated
            self.run_snapshot.maps = None if propagated is None else propagated.maps

        return spread

    def _geometry_supervision(self, num_steps: int, at: Callable[[int], int]) -> list[TrainingCallback]:
        """Labels that can be trusted train the geometry, too, in the first part of a run."""
        model = self._semantic_model
        if not can(model, "supports_geometry_supervision"):
            return []
        config = model.config
        fraction = config.geometry_fraction
        if not 0 <= fraction <= 1:
            raise SceneError(
                f"Expected a share from 0 to 1 for --pipeline.model.geometry-fraction, found {fraction}; 0 is never."
            )
        # Labels that are asked for are few in that part of a run, and a resumed run would judge by others.
        if fraction == 0 or self.revealed_labels is not None or not self._data.training_labels.are_complete:
            return []

        def supervise(step: int) -> None:
            model.pass_semantic_gradients = config.pass_semantic_gradients or at(step) < fraction * num_steps

        return [_before_each_step(supervise)]

    def _propagation_stage(self, num_steps: int) -> "PropagationStage | None":
        config = self.config.propagation
        if not config.enabled:
            return None
        if not can(self.model, "supports_propagation"):
            raise SceneError(
                f"Expected a model on whose surfaces labels can spread, found a {type(self.model).__name__}; add "
                "--pipeline.propagation.enabled False to the command."
            )
        from semantic_ns.propagation.stage import PropagationStage

        return PropagationStage(config, self._semantic_model, self._data, num_steps)

    def _refuse_to_ask(self) -> None:
        if self.revealed_labels is not None:
            raise SceneError(
                "Expected a model with classes to ask for labels, found --pipeline.model.use-semantics False; leave it "
                "out, or --pipeline.active.strategy."
            )

    def _active_stage(self, trainer: Any, propagation: "PropagationStage | None") -> "ActiveStage | None":
        if self.revealed_labels is None:
            return None
        from semantic_ns.active_learning.rounds.stage import ActiveRun, ActiveStage

        config, reset_classes = self.config.active, None
        if config.restart:
            head = self._semantic_model.field.head
            reset_classes = partial(reset_semantic_parameters, head, trainer.optimizers.optimizers)
        run = ActiveRun(config, self.revealed_labels, self.run_snapshot, schedule_step_of(trainer))
        return ActiveStage(
            self._semantic_model, self._data, propagation, run,
            trainer.config.max_num_iterations, log_folder=trainer.base_dir, reset_classes=reset_classes,
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
            finite numbers only. A model that renders from source frames adds the text `sources`, which is printed, too.
        """
        model = self._semantic_model
        model.evaluation_state.reset()
        if not isinstance(data_loader, NamedImages):
            data_loader = NamedImages(data_loader, model.evaluation_state)
        processes = present()
        with model.raw_outputs():
            if processes.world > 1 and output_path is None:
                metrics: dict[str, Any] = self._shared_image_metrics(data_loader, processes)
            else:
                metrics = super().get_average_image_metrics(data_loader, image_prefix, step, output_path, get_std)
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
            rules = self._rules()
            if _SOURCES in rules:
                announce("sources", rules[_SOURCES])
            return without_nan(metrics) | worst_as_json(images) | rules
        return {name: value for name, value in metrics.items() if math.isfinite(value)}

    def _shared_image_metrics(self, images: NamedImages, processes: Processes) -> dict[str, float]:
        """Score every image in one of the processes, in turn; all of them get the means and the sums over all."""
        self.eval()
        own = images_scored_by(self._semantic_model, images.shared_by(processes.rank, processes.world))
        self.train()
        parts = processes.gather((own, self._semantic_model.evaluation_state))
        self._semantic_model.evaluation_state.pool([state for _, state in parts])
        return mean_of_images([scores for scores, _ in parts])

    def _rules(self) -> dict[str, str]:
        """How the numbers came about, in sentences."""
        metadata: Mapping[str, Any] = self._data.eval_dataset.metadata
        said = {name: str(metadata[name]) for name in (keys.SPLIT, keys.VOID_RULE) if name in metadata}
        if can(self.model, "renders_from_sources"):
            said[_SOURCES] = cast(Any, self.model).sources_sentence()
        return said | {"miou_rule": IMAGE_MIOU_RULE}


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
