"""The pipeline that gives Gaussians their classes: before they are asked for, and whenever labels change."""

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

import tyro
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes, TrainingCallbackLocation

from semantic_ns.errors import SceneError
from semantic_ns.methods.semantic_splatfacto.datamanager import SplatDataManager
from semantic_ns.pipeline import SemanticPipeline, SemanticPipelineConfig
from semantic_ns.propagation.config import ALL_PARTS, PropagationConfig, SpreadingConfig
from semantic_ns.splatting.memory import memory_errors_as_scene_error

if TYPE_CHECKING:  # compile kernels, which registration must not
    from semantic_ns.active_learning.rounds.stage import ActiveStage
    from semantic_ns.methods.semantic_splatfacto.model import SemanticSplatfactoModel
    from semantic_ns.propagation.stage import PropagationStage


@dataclass
class SplatPropagationConfig(PropagationConfig):
    """Options of spreading labels over the surface of the Gaussians; the parent's others do nothing here."""

    enabled: bool = True
    """Let labels spread over the surface of the Gaussians where they are few or noisy."""
    fractions: tyro.conf.Suppress[tuple[float, ...]] = (0.5, 0.85)
    clean_noise_rate: tyro.conf.Suppress[float] = 0.03
    num_nodes: tyro.conf.Suppress[int] = 240_000
    rays_per_node: tyro.conf.Suppress[float] = 5.0
    num_rays: tyro.conf.Suppress[int] = 1_200_000
    spreading: tyro.conf.Suppress[SpreadingConfig] = ALL_PARTS


@dataclass
class SplatPipelineConfig(SemanticPipelineConfig):
    """Configuration of `SplatPipeline`."""

    _target: type = field(default_factory=lambda: SplatPipeline)
    propagation: SplatPropagationConfig = field(default_factory=SplatPropagationConfig)  # pyright: ignore[reportIncompatibleVariableOverride]
    """How labels spread over the surface of the Gaussians."""
    warn_of_veils: tyro.conf.Suppress[bool] = False  # its model renders no single rays

    def for_resume(self) -> "SplatPipelineConfig":
        """The configuration without what to begin with: a checkpoint holds later Gaussians."""
        return replace(self, model=replace(cast(Any, self.model), resumes=True))


class SplatPipeline(SemanticPipeline):
    """A `SemanticPipeline` whose classes are computed, not trained.

    Its option `propagation.enabled` says whether few or noisy labels spread over the surface of the Gaussians.
    """

    datamanager: SplatDataManager  # pyright: ignore[reportIncompatibleVariableOverride]
    _num_trained = 0
    """Number of steps that have been trained."""
    _described: tuple[int, ...] | None = None
    """What the classes were computed of last, see `_present`; None before."""

    @memory_errors_as_scene_error("the images and the Gaussians")
    def __init__(self, config: SplatPipelineConfig, *arguments: Any, **options: Any) -> None:
        # Before Gaussians are made along the outlines of labels that spread.
        cast(Any, config.datamanager).spreads_labels = config.propagation.enabled
        super().__init__(config, *arguments, **options)

    @memory_errors_as_scene_error("the Gaussians of the checkpoint")
    def load_pipeline(self, loaded_state: dict[str, Any], step: int) -> None:
        """The parent's, with however many Gaussians the checkpoint has.

        Raises:
            SceneError: they do not fit into memory.
        """
        super().load_pipeline(loaded_state, step)

    @property
    def _splat(self) -> "SemanticSplatfactoModel":
        return cast("SemanticSplatfactoModel", self.model)

    @memory_errors_as_scene_error("the Gaussians and their classes")
    def update_classes(self) -> None:
        """Compute the classes of the Gaussians as they are now from the labels as training sees them now.

        Raises:
            SceneError: they do not fit into memory.
        """
        self._splat.update_classes(self.datamanager.training_views, self.config.propagation.enabled)
        self._described = self._present()

    def _present(self) -> tuple[int, ...]:
        """What classes are computed of now: labels by their version, Gaussians by number, step and steps trained."""
        model = self._splat  # whose step is the same before and after it trains
        return self.datamanager.training_views.label_version, model.num_points, model.step, self._num_trained

    def _describe_if_stale(self, is_thorough: bool) -> None:
        """Compute classes while training where there are none that fit; if thorough, also where they are of before."""
        model = self._splat
        if self.test_mode != "val":
            return
        fit = self._described is not None and len(model.class_probabilities) == model.num_points
        if not fit or (is_thorough and self._described != self._present()):
            self.update_classes()

    def get_eval_image_metrics_and_images(self, step: int) -> Any:
        """The parent's, with classes of the Gaussians as they are, before the background of the image."""
        self._describe_if_stale(is_thorough=False)
        with self._splat.scored():
            return super().get_eval_image_metrics_and_images(step)

    def get_average_image_metrics(self, *arguments: Any, **options: Any) -> dict[str, Any]:
        """The parent's, with classes of the Gaussians as they are."""
        self._describe_if_stale(is_thorough=True)
        return super().get_average_image_metrics(*arguments, **options)

    def state_dict(self, *arguments: Any, **options: Any) -> Any:
        """The parent's; what a checkpoint holds are the classes of its Gaussians."""
        self._describe_if_stale(is_thorough=True)
        return super().state_dict(*arguments, **options)

    def get_training_callbacks(
        self, training_callback_attributes: TrainingCallbackAttributes
    ) -> list[TrainingCallback]:
        """The parent's, and new classes in the step after labels have changed, or for a viewer on a CPU at once.

        Raises:
            SceneError: the options ask for what only trained classes have.
        """
        if self.revealed_labels is not None and self.config.active.restart:
            raise SceneError(
                "Expected --pipeline.active.restart False with semantic-splatfacto, whose classes are not trained, "
                "found True; leave it out."
            )
        callbacks = super().get_training_callbacks(training_callback_attributes)
        trainer = training_callback_attributes.trainer
        # On CUDA Gaussians are added and removed, so that classes of the beginning soon fit none.
        is_shown = trainer is not None and trainer.config.is_viewer_enabled() and self._splat.device.type == "cpu"

        def follow_labels(step: int) -> None:
            del step
            version = self.datamanager.training_views.label_version
            if (version > 0 or is_shown) and (self._described is None or version != self._described[0]):
                self.update_classes()

        def count(step: int) -> None:
            del step
            self._num_trained += 1

        before, after = (
            TrainingCallbackLocation.BEFORE_TRAIN_ITERATION,
            TrainingCallbackLocation.AFTER_TRAIN_ITERATION,
        )
        return [*callbacks, TrainingCallback([before], follow_labels, 1), TrainingCallback([after], count, 1)]

    def _active_stage(self, trainer: Any, propagation: "PropagationStage | None") -> "ActiveStage | None":
        stage = super()._active_stage(trainer, propagation)
        if stage is not None:
            stage.before_rendering = self.update_classes
        return stage

    def _propagation_stage(self, num_steps: int) -> "PropagationStage | None":
        """None: labels spread when classes are computed."""
        del num_steps
        return None
