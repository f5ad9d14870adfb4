"""The pipeline that gives Gaussians their classes: before each checkpoint, and whenever labels change."""

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes, TrainingCallbackLocation

from semantic_ns.errors import SceneError
from semantic_ns.methods.semantic_splatfacto.datamanager import SplatDataManager
from semantic_ns.pipeline import SemanticPipeline, SemanticPipelineConfig

if TYPE_CHECKING:  # compile kernels, which registration must not
    from semantic_ns.methods.semantic_splatfacto.model import SemanticSplatfactoModel
    from semantic_ns.propagation.stage import PropagationStage


@dataclass
class SplatPipelineConfig(SemanticPipelineConfig):
    """Configuration of `SplatPipeline`."""

    _target: type = field(default_factory=lambda: SplatPipeline)

    def for_resume(self) -> "SplatPipelineConfig":
        """The configuration without what to begin with: a checkpoint holds later Gaussians."""
        return replace(self, model=replace(cast(Any, self.model), resumes=True))


class SplatPipeline(SemanticPipeline):
    """A `SemanticPipeline` whose classes are computed, not trained.

    Its option `propagation.enabled` says whether few or noisy labels spread from Gaussian to Gaussian.
    """

    datamanager: SplatDataManager  # pyright: ignore[reportIncompatibleVariableOverride]
    _described_labels = -1
    """Version of the labels that the classes were computed of last; -1 before."""

    @property
    def _splat(self) -> "SemanticSplatfactoModel":
        return cast("SemanticSplatfactoModel", self.model)

    def update_classes(self) -> None:
        """Compute the classes of the Gaussians as they are now from the labels as training sees them now."""
        views = self.datamanager.training_views
        self._splat.update_classes(views, self.config.propagation.enabled)
        self._described_labels = views.label_version

    def state_dict(self, *arguments: Any, **options: Any) -> Any:
        """The parent's; what a checkpoint holds are the classes of its Gaussians."""
        if self.test_mode == "val":
            self.update_classes()
        return super().state_dict(*arguments, **options)

    def get_training_callbacks(
        self, training_callback_attributes: TrainingCallbackAttributes
    ) -> list[TrainingCallback]:
        """The parent's, and new classes in the step after labels have changed.

        Raises:
            SceneError: the options ask for what only trained classes have.
        """
        if self.revealed_labels is not None and self.config.active.restart:
            raise SceneError(
                "Expected --pipeline.active.restart False with semantic-splatfacto, whose classes are not trained, "
                "found True; leave it out."
            )
        callbacks = super().get_training_callbacks(training_callback_attributes)

        def follow_labels(step: int) -> None:
            del step
            version = self.datamanager.training_views.label_version
            if version > 0 and version != self._described_labels:
                self.update_classes()

        where = [TrainingCallbackLocation.BEFORE_TRAIN_ITERATION]
        return [*callbacks, TrainingCallback(where, follow_labels, update_every_num_iters=1)]

    def _propagation_stage(self, num_steps: int) -> "PropagationStage | None":
        """None: labels spread from Gaussian to Gaussian when classes are computed."""
        del num_steps
        return None
