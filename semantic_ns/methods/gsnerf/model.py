"""The model of `gsnerf`."""

from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from semantic_ns.geometry.views import ViewCameras, pixel_centres
from semantic_ns.many_scenes.samples import TargetSample
from semantic_ns.many_scenes.source_selection import Selection
from semantic_ns.methods.gsnerf.compat import Compat, Defect
from semantic_ns.methods.gsnerf.encoder import EncodedViews
from semantic_ns.methods.gsnerf.network import PublishedNetwork, RenderedRays, RenderOptions
from semantic_ns.methods.gsnerf.point_features import SourceViews
from semantic_ns.methods.gsnerf.ray_samples import SampleRule
from semantic_ns.methods.gsnerf.step import PublishedLossWeights, jittered, predict, prediction_losses
from semantic_ns.methods.gsnerf.volumes import DepthRange
from semantic_ns.methods.source_views import ChosenSources, RenderedImage, SourceViewsConfig, SourceViewsModel

_RANGE_M = (0.1, 10.0)
"""Published bounds for ScanNet; those for Replica are 0.1 and 6."""


@dataclass
class PublishedGsnerfModelConfig(SourceViewsConfig):
    """Options of `gsnerf`."""

    _target: type = field(default_factory=lambda: PublishedGsnerfModel)
    num_source_views: int = 8
    """Number of source frames from which an image is rendered. It can be changed at any time, except with the defect
    concatenated-views."""
    source_selection: Selection = "nearest"
    """Rule by which source frames are chosen: nearest takes the closest ones by place and direction, published by place
    alone, inverted-poses by -R^T t, which the released code takes for the place, and coverage adds the frame that shows
    most of what the others show not at all or from another side."""
    loss_weights: PublishedLossWeights = field(default_factory=PublishedLossWeights)
    """Weights of the losses."""
    rays_per_target: int = 1024
    """Number of random rays of each target in a training step."""
    num_samples: int = 128
    """Samples of a ray, a multiple of 8."""
    sample_rule: SampleRule = "released"
    """Where the samples stand. released: three quarters evenly, a quarter from a normal distribution of 0.5 m around
    the surface. paper: all from a normal distribution whose deviation is a third of the way to the nearer bound.
    uniform: all evenly."""
    use_intervals: bool = False
    """Multiply densities by the distance to the next sample, as the paper's equation (3) does and its code does not."""
    jitter_bounds: bool = True
    """Change the bounds of depth by up to 5 % in 5 % of the training steps."""
    compat: tuple[Defect, ...] = ()
    """Defects of the released code to restore, for comparison with published numbers; all restores each of them."""
    depth_input: bool = False
    """Give the depth images of the source frames to the network, as a further channel of the coarsest cost volumes.
    Off in the published configurations. Scenes and frames without depth can be used, too."""


class PublishedGsnerfModel(SourceViewsModel):
    """Depth, colour and classes of a new view of a new room from K source frames (Chou et al. 2024)."""

    config: PublishedGsnerfModelConfig  # pyright: ignore[reportIncompatibleVariableOverride]
    _last: tuple[Any, SourceViews] | None = None
    """The sources of the last image, which mostly are those of the next one, too."""

    def _default_range_m(self) -> tuple[float, float]:
        return _RANGE_M

    def _build_network(self) -> None:
        config = self.config
        options = RenderOptions(
            config.num_samples,
            config.sample_rule,
            config.use_intervals,
            config.num_source_views,
            Compat.of(config.compat),
            config.depth_input,
        )
        self.network = PublishedNetwork(self.taxonomy.num_classes, options)
        self._class_weights = config.loss_weights.of_classes(self.taxonomy.names)

    @property
    def _bounds_m(self) -> DepthRange:
        return DepthRange(*self.range_m)

    def train(self, mode: bool = True) -> "PublishedGsnerfModel":
        """Switch to training or evaluation; what was kept of frames is forgotten, for training changes the weights."""
        if mode:
            self._last = None
        super().train(mode)
        return self

    def sample_losses(self, sample: TargetSample) -> dict[str, Float[Tensor, ""]]:
        """Losses of a step over random rays."""
        sample = TargetSample(sample.sources.to(self.device), sample.targets.to(self.device))
        generator, (height, width) = torch.default_generator, sample.targets.size
        places = [
            place.to(self.device) for place in sample.targets.random_pixels(self.config.rays_per_target, generator)
        ]
        bounds = jittered(self._bounds_m, generator) if self.config.jitter_bounds and self.training else self._bounds_m
        predicted = predict(
            self.network, sample.sources, sample.targets.cameras, (height, width), places, bounds, generator
        )
        return prediction_losses(self.network, predicted, sample, self.config.loss_weights, self._class_weights)

    def render_image(self, chosen: ChosenSources, camera: ViewCameras, size: tuple[int, int]) -> RenderedImage:
        """Render one camera at a size, as many rays at a time as the configuration says."""
        sources = self._sources(chosen)
        target = self.network.target(sources, camera, size)
        parts = [
            self._with_labels(chosen, camera, self.network.render(sources, camera, target, xy), xy)
            for xy in pixel_centres(*size, self.device).reshape(-1, 2).split(self.config.eval_num_rays_per_chunk)
        ]
        # What is left of a ray behind its samples ends at its surface.
        depth = torch.cat([part.depth + (1 - part.accumulation) * part.z for part, _ in parts])
        return RenderedImage(
            torch.cat([part.rgb for part, _ in parts]).unflatten(0, size),
            torch.cat([logits for _, logits in parts]).unflatten(0, size),
            depth.unflatten(0, size),
            torch.cat([part.is_seen.any(dim=0) for part, _ in parts]).float().unflatten(0, size),
        )

    def _sources(self, chosen: ChosenSources) -> SourceViews:
        """Features of the chosen frames, each computed once while the weights stay, and their geometry."""
        key = (chosen.scene, tuple(chosen.frames.tolist()))
        if self._last is None or self._last[0] != key:
            encoded = EncodedViews.stack(self._encoded(chosen))
            cameras, masks = chosen.cameras.to(self.device), chosen.views.masks_of(chosen.frames, self.device)
            depths = chosen.views.depths_of(chosen.frames) if self.config.depth_input else None
            depth = None if depths is None else depths.to(self.device)
            self._last = key, self.network.sources(encoded, cameras, self._bounds_m, masks, depth)
        return self._last[1]

    def _encoded(self, chosen: ChosenSources) -> list[EncodedViews]:
        if self.network.options.compat.batch_norm:
            # A view then depends on the others of its batch.
            return [self.network.encoder(chosen.views.colors(chosen.frames).to(self.device))]
        return self.kept_features(chosen, self.network.encoder)

    def _with_labels(
        self, chosen: ChosenSources, camera: ViewCameras, rays: RenderedRays, xy: Tensor
    ) -> tuple[RenderedRays, Float[Tensor, "rays classes"]]:
        """Rays with logits in which the labels of the sources have a say, where they see the surface and have one."""
        return rays, self.with_source_labels(chosen, rays.logits, camera, xy, rays.z, rays.is_seen)
