"""What depth images say about where rays end, as a loss on their rendering weights."""

from collections.abc import Mapping
from inspect import getattr_static
from typing import Any, cast

from jaxtyping import Float
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes, TrainingCallbackLocation
from nerfstudio.models.base_model import Model
from torch import Tensor

from semantic_ns.batch import take_distances
from semantic_ns.losses import DEPTH_NOISE_M, DepthNoise, depth_agreements, depth_loss
from semantic_ns.methods.options import HashGridOptions
from semantic_ns.methods.scene_bounds import SceneBounds
from semantic_ns.methods.schedules import checked_ramp, ramp
from semantic_ns.run_clock import schedule_step_of

_AGREEMENTS, _DISTANCES = "depth_agreements", "depth_distances"


class DepthSupervisedModel(Model):
    """A model that learns from `batch.RAY_DISTANCE`, see `losses.depth_loss`, if its options have a weight for it."""

    config: Any
    metres_per_unit: float
    bounds: SceneBounds
    _depth_boost = 1.0
    """Factor on the weight of the loss in this step."""
    _depth_noise_m = DEPTH_NOISE_M

    def get_training_callbacks(
        self, training_callback_attributes: TrainingCallbackAttributes
    ) -> list[TrainingCallback]:
        """The parent's, and the fall of the weight of depth."""
        callbacks = super().get_training_callbacks(training_callback_attributes)
        return [*callbacks, *self._depth_callbacks(training_callback_attributes)]

    def _depth_callbacks(self, attributes: TrainingCallbackAttributes) -> list[TrainingCallback]:
        """The fall of the weight of depth; the model now knows how exact the depth is."""
        manager = getattr(attributes.pipeline, "datamanager", None)
        # Asking for the value with a default would hide what fails in stereo, which it waits for.
        states_noise = getattr_static(manager, "depth_noise_m", None) is not None
        self._depth_noise_m = cast(Any, manager).depth_noise_m if states_noise else DEPTH_NOISE_M
        trainer, config = attributes.trainer, self.config
        if trainer is None or not isinstance(config, HashGridOptions):
            return []
        first, last = checked_ramp(config.depth_loss_ramp, "--pipeline.model.depth-loss-ramp")
        num_steps, at = trainer.config.max_num_iterations, schedule_step_of(trainer)

        def fall(step: int) -> None:
            fallen = ramp(at(step) / num_steps, first, last)
            self._depth_boost = config.depth_loss_boost + fallen * (1.0 - config.depth_loss_boost)

        where = [TrainingCallbackLocation.BEFORE_TRAIN_ITERATION]
        return [TrainingCallback(where, fall, update_every_num_iters=1)]

    def _depth_weight(self) -> float:
        # No property: nerfstudio's viewer reads every attribute of a model, also of those whose options have no weight.
        return self.config.depth_loss_weight * self._depth_boost

    @property
    def _depth_noise(self) -> DepthNoise:
        """That of the distances in scene units."""
        return DepthNoise(self._depth_noise_m.constant / self.metres_per_unit, self._depth_noise_m.relative)

    def _take_distances(self, ray_bundle: RayBundle) -> Float[Tensor, "known"] | None:
        """Distances at which the first rays end, taken off them: those that lie between near and far plane, else 0.

        None at evaluation, without depth, and where its loss has no weight.
        """
        distances = take_distances(ray_bundle)
        if distances is None or not self.training or self.config.depth_loss_weight == 0:
            return None
        distances = distances.to(ray_bundle.origins)
        return distances * ((distances > self.bounds.near) & (distances < self.bounds.far))

    def _depth_agreements(
        self,
        weights: Float[Tensor, "rays samples"],
        edges: Float[Tensor, "rays edges"],
        distances: Float[Tensor, "known"] | None,
    ) -> dict[str, Tensor]:
        """How far the first rays end where their depth images say; nothing without depth.

        Args:
            weights: Rendering weights.
            edges: Distances of the intervals' edges, scene units.
            distances: Those at which the first rays end, scene units; 0 is unknown.
        """
        if distances is None:
            return {}
        count = len(distances)
        agreements = depth_agreements(weights[:count], edges[:count], distances, self._depth_noise)
        return self._agreement_outputs(agreements, distances)

    @staticmethod
    def _agreement_outputs(agreements: Float[Tensor, "rays"], distances: Float[Tensor, "rays"]) -> dict[str, Tensor]:
        """Agreements of rays, and the distances, 0 where unknown, that they are about."""
        return {_AGREEMENTS: agreements, _DISTANCES: distances}

    @staticmethod
    def _of_known_rays(outputs: Mapping[str, Any], count: int) -> dict[str, Tensor]:
        """What `_agreement_outputs` gave, of the first rays."""
        return {name: outputs[name][:count] for name in (_AGREEMENTS, _DISTANCES) if name in outputs}

    def _depth_loss(self, outputs: Mapping[str, Any]) -> dict[str, Tensor]:
        """The weighted loss of what `_depth_agreements` gave."""
        if _AGREEMENTS not in outputs:
            return {}
        loss = depth_loss(outputs[_AGREEMENTS], outputs[_DISTANCES])
        return {"depth_loss": self._depth_weight() * loss}
