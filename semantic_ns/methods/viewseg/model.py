"""The model of `viewseg`."""

from dataclasses import dataclass, field
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from semantic_ns.geometry.views import (
    SeenAt,
    ViewCameras,
    are_used,
    pixel_centres,
    reproject,
    sample_images,
    sweep_matrices,
)
from semantic_ns.many_scenes.samples import TargetSample
from semantic_ns.methods.source_views import ChosenSources, RenderedImage, SourceViewsConfig, SourceViewsModel
from semantic_ns.methods.viewseg.compat import Compat, Defect
from semantic_ns.methods.viewseg.network import RenderOptions, Sources, ViewsegNetwork
from semantic_ns.methods.viewseg.step import RayKind, ViewsegLossWeights, ray_losses, render_training_rays

_OCCLUDED = 0.15
"""A source does not see a point that lies behind its surface by more than this share of the surface's depth."""
_SURFACE_STEP = 4
"""Surfaces of sources are rendered at this part of their resolution, that of the feature maps."""


@dataclass
class ViewsegModelConfig(SourceViewsConfig):
    """Options of `viewseg`."""

    _target: type = field(default_factory=lambda: ViewsegModel)
    num_source_views: int = 4
    """Number of source frames from which an image is rendered. It can be changed at any time."""
    loss_weights: ViewsegLossWeights = field(default_factory=ViewsegLossWeights)
    """Weights of the losses."""
    rays_per_image: int = 1024
    """Number of random rays of each target and of one source view in a training step."""
    num_coarse_samples: int = 64
    """Samples of a ray in the coarse pass."""
    num_fine_samples: int = 128
    """Samples that the fine pass adds."""
    use_directions: bool = True
    """Give the field the direction of the ray in the axes of each source."""
    freeze_norms: bool = False
    """Let the batch norms of the encoder keep the statistics that they have."""
    trunk_weights: Path | None = None
    """File of weights of torchvision's ResNet-50, trained on ImageNet, to begin with; nothing is downloaded."""
    compat: tuple[Defect, ...] = ()
    """Defects of the released code to restore, for comparison with published numbers; all restores each of them."""


class ViewsegModel(SourceViewsModel):
    """Classes, depth and colour of a new view of a new room from one to four source frames (Qian et al. 2021)."""

    config: ViewsegModelConfig  # pyright: ignore[reportIncompatibleVariableOverride]
    compares_sources = False
    _num_steps = 0

    def _default_range_m(self) -> tuple[float, float]:
        options = RenderOptions()
        return options.near, options.far

    def _build_network(self) -> None:
        config = self.config
        options = RenderOptions(
            *self.range_m,
            config.num_coarse_samples,
            config.num_fine_samples,
            config.use_directions,
            Compat.of(config.compat),
        )
        self.network = ViewsegNetwork(self.taxonomy.num_classes, options, config.freeze_norms)
        if config.trunk_weights is not None and config.weights is None:
            self.network.encoder.load_trunk(config.trunk_weights)

    def sample_losses(self, sample: TargetSample) -> dict[str, Float[Tensor, ""]]:
        """Losses of a step over random rays of the targets and of one random source."""
        sample = TargetSample(sample.sources.to(self.device), sample.targets.to(self.device))
        generator, compat = torch.default_generator, self.network.options.compat
        cameras = sample.sources.cameras
        sources = self.network.sources(self.network.encoder(sample.sources.images), cameras, sample.sources.masks)
        images: list[tuple[RayKind, int]] = [("target", number) for number in range(len(sample.targets.cameras))]
        of_source: tuple[RayKind, int] = ("source", int(torch.randint(len(cameras), (), generator=generator)))
        images.append(of_source)
        if compat.alternating_steps and self.training:
            images = images[:-1] if self._num_steps % 2 == 0 else [of_source]
            self._num_steps += 1
        total: dict[str, Tensor] = {}
        for kind, number in images:
            frames = sample.targets if kind == "target" else sample.sources
            rays = render_training_rays(
                self.network,
                sources,
                frames.cameras[number : number + 1],
                (kind, number),
                self.config.rays_per_image,
                generator,
            )
            share = 1 / len(sample.targets.cameras) if kind == "target" else 1.0
            for name, loss in ray_losses(rays, frames, self.config.loss_weights, compat.aligned_corners).items():
                total[name] = total.get(name, torch.zeros_like(loss)) + share * loss
        return total

    def render_image(self, chosen: ChosenSources, camera: ViewCameras, size: tuple[int, int]) -> RenderedImage:
        """Render one camera at a size, as many rays at a time as the configuration says."""
        maps = torch.cat(self.kept_features(chosen, self.network.encoder))
        sources = self.network.sources(
            maps, chosen.cameras.to(self.device), chosen.views.masks_of(chosen.frames, self.device)
        )
        xy = pixel_centres(*size, self.device).reshape(-1, 2)
        rgb, logits, depth = self._rendered_rays(sources, camera, xy)
        at = reproject(sweep_matrices(sources.cameras, camera), xy, depth)
        is_seen = self._are_seen(chosen, sources, at)
        logits = self.with_source_labels(chosen, logits, camera, xy, depth, is_seen)
        return RenderedImage(
            rgb.unflatten(0, size),
            logits.unflatten(0, size),
            depth.unflatten(0, size),
            is_seen.any(dim=0).float().unflatten(0, size),
        )

    def _rendered_rays(
        self, sources: Sources, camera: ViewCameras, xy: Float[Tensor, "rays 2"]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Colours, logits and depths of rays in the fine pass, as many at a time as the configuration says."""
        parts = [
            self.network.render(sources, camera, part)[1] for part in xy.split(self.config.eval_num_rays_per_chunk)
        ]
        rgb, logits, depth = (torch.cat([getattr(part, name) for part in parts]) for name in ("rgb", "logits", "depth"))
        return rgb, logits, depth

    def _are_seen(self, chosen: ChosenSources, sources: Sources, at: SeenAt) -> Bool[Tensor, "views rays"]:
        """Which sources see points: those in which they lie on a used pixel, and not behind the surface.

        The surface of a source is that of its depth image. Where it has none, it is rendered as a target is.
        """
        is_inside = at.is_seen & are_used(sources.masks, at.xy)
        known = chosen.views.depths_of(chosen.frames)
        surface = torch.zeros_like(at.depth)
        if known is not None:
            surface = sample_images(known.to(at.depth)[:, None], at.xy, mode="nearest")[:, 0]
        if bool((is_inside & (surface == 0)).any()):
            rows, columns = (max(1, length // _SURFACE_STEP) for length in chosen.views.size)
            xy = pixel_centres(rows, columns, self.device).reshape(-1, 2)
            cameras = sources.cameras
            rendered = torch.stack(
                [self._rendered_rays(sources, cameras[n : n + 1], xy)[2] for n in range(len(cameras))]
            ).unflatten(1, (rows, columns))
            surface = surface.where(surface > 0, sample_images(rendered[:, None], at.xy)[:, 0])
        return is_inside & (at.depth < (1 + _OCCLUDED) * surface)
