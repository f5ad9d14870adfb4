"""The price of what rays meet close to their cameras, on rays of images and on those from between the cameras."""

import math
from collections.abc import Mapping
from typing import Any

from nerfstudio.cameras.rays import RayBundle
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes, TrainingCallbackLocation
from nerfstudio.models.base_model import Model
from torch import Tensor

from semantic_ns.batch import LOGITS
from semantic_ns.interfaces import can
from semantic_ns.io.console import announce
from semantic_ns.losses import near_camera_prices
from semantic_ns.methods.options import HashGridOptions
from semantic_ns.methods.schedules import checked_ramp, ramp
from semantic_ns.multi_view.typical_depth import Images, SmallImages, least_depth, typical_depth
from semantic_ns.run_clock import schedule_step_of
from semantic_ns.sampling.unseen_rays import UnseenRays, camera_extent

_STEREO = "stereo between a few images"
_LEAST_SHARE = 0.4
"""Least reach over the largest: .3 times the depth by default. In a dozen rooms the cameras alone give .46 or more."""
_MOST_PIXELS = 1 << 20
"""Whose median depth is looked at: a scene may have hundreds of millions."""


class NearCameraPriceModel(Model):
    """A model with the price, see `losses.near_camera_prices`, where its configuration has `HashGridOptions`."""

    config: Any
    _camera_extent = 1.0
    """See :func:`camera_extent`, of the training cameras, in scene units."""
    _most_reach = math.inf
    """Distance in scene units beyond which the price never reaches."""
    _least_reach = 0.0
    """Distance in scene units that the price always reaches."""
    _unseen_rays: UnseenRays | None = None
    _near_camera_boost = 1.0
    """Factor on the weight of the price near the camera in this step."""

    def get_training_callbacks(
        self, training_callback_attributes: TrainingCallbackAttributes
    ) -> list[TrainingCallback]:
        """The parent's, and the fall of the price near the camera; the model now knows the training cameras."""
        self._remember_cameras(training_callback_attributes)
        callbacks = super().get_training_callbacks(training_callback_attributes)
        return [*callbacks, *self._near_camera_callbacks(training_callback_attributes)]

    def _near_camera_callbacks(self, attributes: TrainingCallbackAttributes) -> list[TrainingCallback]:
        trainer, config = attributes.trainer, self.config
        if trainer is None or not isinstance(config, HashGridOptions):
            return []
        first, last = checked_ramp(config.near_camera_ramp, "--pipeline.model.near-camera-ramp")
        num_steps, at = trainer.config.max_num_iterations, schedule_step_of(trainer)

        def fall(step: int) -> None:
            fallen = ramp(at(step) / num_steps, first, last)
            self._near_camera_boost = config.near_camera_boost + fallen * (1.0 - config.near_camera_boost)

        where = [TrainingCallbackLocation.BEFORE_TRAIN_ITERATION]
        return [TrainingCallback(where, fall, update_every_num_iters=1)]

    def _remember_cameras(self, attributes: TrainingCallbackAttributes) -> None:
        manager = getattr(attributes.pipeline, "datamanager", None)
        dataset = getattr(manager, "train_dataset", None)
        if dataset is None or not isinstance(self.config, HashGridOptions):
            return
        self.config.check_price()
        self.config.check_collider()  # not where a trained run is loaded, which may have been given them in vain
        positions = dataset.cameras.camera_to_worlds[:, :3, 3].float()
        self._camera_extent = camera_extent(positions)
        self._most_reach, self._least_reach = math.inf, 0.0
        if self.config.near_camera_loss_weight > 0 and self._near_camera_reach() > 0:
            self._unseen_rays = UnseenRays(positions)
            self._limit_reach(manager, dataset)

    def _limit_reach(self, manager: Any, dataset: Any) -> None:
        """Where cameras spread much farther or less than they see, their extent says nothing of the space.

        So it is along a corridor, and where all of them stand in nearly one place.
        """
        share = self.config.near_camera_depth_reach
        if share == 0:
            return
        (least, most), source = self._reach_by_depth(share, manager, dataset)
        reach = self._near_camera_reach()
        if most < reach:
            self._most_reach, why = most, f"{share:g} times the typical depth by {source}, since they spread farther"
        elif least > reach:
            self._least_reach = least
            why = f"{_LEAST_SHARE * share:.2g} times the depth by {source}, since they spread far less"
            if source == _STEREO:
                announce(
                    "near cameras",
                    "the cameras stand in nearly one place, from which images do not show how far things are: expect "
                    "right colours and classes from there and wrong depth, unless depth images train, or images from "
                    "farther away",
                )
        else:
            return
        announce(
            "near cameras",
            f"their penalty ends at {self._near_camera_reach():.3g} scene units, {why} than they see; "
            "--pipeline.model.near-camera-depth-reach 0 sets no such limit",
        )

    def _reach_by_depth(self, share: float, manager: Any, dataset: Any) -> tuple[tuple[float, float], str]:
        """Least and largest reach in scene units, and what they are known by."""
        if self.config.depth_loss_weight > 0 and can(manager, "trains_with_depth"):
            depth, source = self._median_depth(manager), "the depth images"
            return ((0.0, math.inf) if depth is None else (_LEAST_SHARE * share * depth, share * depth)), source
        source = _STEREO
        if not isinstance(dataset, Images):
            return (0.0, math.inf), source
        images = SmallImages(dataset)
        if (depth := least_depth(images)) is not None:
            return (_LEAST_SHARE * share * depth, math.inf), source
        depth = typical_depth(images)
        return (0.0, math.inf if depth is None else share * depth), source

    @staticmethod
    def _median_depth(manager: Any) -> float | None:
        """Of the pixels of known depth, in scene units; None without any."""
        distances = manager.training_depth.values
        stride = max(1, len(distances) // _MOST_PIXELS)
        while math.gcd(stride, 2 * 3 * 5 * 7) > 1:  # else it might be a multiple of the width, and see one column
            stride += 1
        known = distances[::stride]
        known = known[known > 0]
        return float(known.median()) if len(known) else None

    # No properties: nerfstudio's viewer reads every attribute of a model, also of those whose options know no price.
    def _near_camera_weight(self) -> float:
        weight = self.config.near_camera_loss_weight * self._near_camera_boost
        return weight if self._near_camera_reach() > 0 else 0.0

    def _near_camera_reach(self) -> float:
        """Distance in scene units at which the price ends."""
        by_cameras = self.config.near_camera_reach * self._camera_extent
        return max(min(by_cameras, self._most_reach), self._least_reach)

    def _near_camera_prices(self, weights: Tensor, edges: Tensor) -> dict[str, Tensor]:
        """Prices [rays] of weights [rays, samples] between edges [rays, samples + 1] in scene units; none if free."""
        if self._near_camera_weight() == 0:
            return {}
        centres = (edges[:, 1:] + edges[:, :-1]) / 2
        return {"near_camera_prices": near_camera_prices(weights, centres, self._near_camera_reach())}

    def _with_unseen_rays(self, ray_bundle: RayBundle) -> RayBundle:
        """While training: the rays of a batch, and behind them those from between the cameras."""
        if not self.training or self._unseen_rays is None:
            return ray_bundle
        return self._unseen_rays.append(ray_bundle, round(self.config.unseen_ray_share * len(ray_bundle)))

    @staticmethod
    def _of_batch(outputs: Mapping[str, Any], num_rays: int) -> dict[str, Any]:
        """What the losses compare with the batch, without the unseen rays behind it."""
        return {name: outputs[name][:num_rays] for name in ("rgb", "accumulation", LOGITS) if name in outputs}

    def _near_camera_loss(self, outputs: Mapping[str, Any]) -> dict[str, Tensor]:
        """The mean price of what rays meet close to their cameras."""
        if "near_camera_prices" not in outputs:
            return {}
        return {"near_camera_loss": self._near_camera_weight() * outputs["near_camera_prices"].mean()}
