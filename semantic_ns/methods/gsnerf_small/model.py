"""The model of `gsnerf-small`."""

from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from semantic_ns.geometry.views import ViewCameras, pixel_centres
from semantic_ns.many_scenes.samples import TargetSample
from semantic_ns.methods.gsnerf_small.encoder import Encoded
from semantic_ns.methods.gsnerf_small.network import GsnerfSmallNetwork
from semantic_ns.methods.gsnerf_small.sizes import Sizes
from semantic_ns.methods.gsnerf_small.step import LossWeights, RayPixels, step_losses
from semantic_ns.methods.small_rooms import SmallRoomsConfig, SmallRoomsModel
from semantic_ns.methods.source_views import ChosenSources, RenderedImage


@dataclass
class GsnerfSmallModelConfig(SmallRoomsConfig):
    """Options of `gsnerf-small`."""

    _target: type = field(default_factory=lambda: GsnerfSmallModel)
    loss_weights: LossWeights = field(default_factory=LossWeights)
    """Weights of the losses."""
    rays_per_target: int = 1024
    """Number of random rays of each target in a training step."""
    depth_guided: Literal["colors-and-classes", "colors", "nothing"] = "colors-and-classes"
    """What is looked up around the predicted surface alone, for ablations: the rest is rendered from samples between
    near and far."""


class GsnerfSmallModel(SmallRoomsModel):
    """Depth, colour and classes of a new view of a new room from K source frames (Chou et al. 2024)."""

    config: GsnerfSmallModelConfig  # pyright: ignore[reportIncompatibleVariableOverride]

    def _default_range_m(self) -> tuple[float, float]:
        sizes = Sizes()
        return sizes.near, sizes.far

    def _build_network(self) -> None:
        near, far = self.range_m
        guided = self.config.depth_guided
        sizes = Sizes(
            encoder=self.config.encoder,
            guides_colors=guided != "nothing",
            guides_classes=guided == "colors-and-classes",
            near=near,
            far=far,
        )
        self.network = GsnerfSmallNetwork(self.taxonomy.num_classes, sizes)
        self._load_pretrained()

    def sample_losses(self, sample: TargetSample) -> dict[str, Float[Tensor, ""]]:
        """Losses of a step over random rays."""
        sample = TargetSample(sample.sources.to(self.device), sample.targets.to(self.device))
        pixels = RayPixels.draw(sample.targets, self.config.rays_per_target, torch.default_generator)
        return step_losses(self.network, sample, pixels, self.config.loss_weights, self._class_weights, self.teacher)

    def render_image(self, chosen: ChosenSources, camera: ViewCameras, size: tuple[int, int]) -> RenderedImage:
        """Render one camera at a size, as many rays at a time as the configuration says."""
        cameras = chosen.cameras.to(self.device)
        encoded = Encoded.stack(self.kept_features(chosen, self.network.encoder))
        sources = self.network.sources_of(encoded, cameras, chosen.views.masks_of(chosen.frames, self.device))
        plane = self.network.plane(sources, camera, size)
        rays = self.network.render_image(sources, camera, plane, size, self.config.eval_num_rays_per_chunk)
        xy = pixel_centres(*size, self.device).reshape(-1, 2)
        logits = self.with_source_labels(chosen, rays.logits, camera, xy, rays.z, rays.is_seen)
        return RenderedImage(
            rays.rgb.unflatten(0, size),
            logits.unflatten(0, size),
            rays.z.unflatten(0, size),
            rays.is_seen.any(dim=0).float().unflatten(0, size),
        )
