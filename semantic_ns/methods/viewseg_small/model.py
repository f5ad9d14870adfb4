"""The model of `viewseg-small`."""

from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float
from torch import Tensor

from semantic_ns.geometry.views import ViewCameras, pixel_centres, reproject, sample_images, sweep_matrices
from semantic_ns.many_scenes.samples import TargetSample
from semantic_ns.methods.kept_features import KeptFeatures
from semantic_ns.methods.small_rooms import SmallRoomsConfig, SmallRoomsModel
from semantic_ns.methods.source_views import ChosenSources, RenderedImage
from semantic_ns.methods.viewseg_small.encoder import Encoded
from semantic_ns.methods.viewseg_small.network import Sources, ViewsegSmallNetwork
from semantic_ns.methods.viewseg_small.sizes import Sizes
from semantic_ns.methods.viewseg_small.step import SmallLossWeights, predict, prediction_losses
from semantic_ns.multi_view.levelling import vertical_of

_FRAMES_THAT_SAY_UP = 16
"""Source frames of a scene that are asked, evenly, which way is up."""


@dataclass
class ViewsegSmallModelConfig(SmallRoomsConfig):
    """Options of `viewseg-small`."""

    _target: type = field(default_factory=lambda: ViewsegSmallModel)
    loss_weights: SmallLossWeights = field(default_factory=SmallLossWeights)
    """Weights of the losses."""
    use_directions: bool = True
    """Tell the field from where a point is looked at."""
    levels_cameras: bool | None = None
    """Estimate from each source image which way is up, and turn its camera until that is up in the scene. By default a
    model that is trained with --pipeline.datamanager.train-camera-noise does; one that begins with weights does if they
    do."""
    source_rays: int = 256
    """Number of random rays of a source view in a training step."""


class ViewsegSmallModel(SmallRoomsModel):
    """Classes, depth and colour of a new view of a new room from one to a few source frames (Qian et al. 2021)."""

    config: ViewsegSmallModelConfig  # pyright: ignore[reportIncompatibleVariableOverride]
    compares_sources = False

    def _default_range_m(self) -> tuple[float, float]:
        sizes = Sizes()
        return sizes.near, sizes.far

    def _build_network(self) -> None:
        near, far = self.range_m
        sizes = Sizes(
            self.config.encoder,
            uses_directions=self.config.use_directions,
            levels_cameras=bool(self.config.levels_cameras),
            near=near,
            far=far,
        )
        self.network = ViewsegSmallNetwork(self.taxonomy.num_classes, sizes)
        self._verticals: KeptFeatures[int | None, Tensor] = KeptFeatures()
        self._load_pretrained()

    def sample_losses(self, sample: TargetSample) -> dict[str, Float[Tensor, ""]]:
        """Losses of a step."""
        sample = TargetSample(sample.sources.to(self.device), sample.targets.to(self.device))
        predicted = predict(
            self.network,
            sample.sources,
            sample.targets.cameras,
            sample.targets.size,
            self.config.source_rays,
            torch.default_generator,
        )
        return prediction_losses(
            self.network, predicted, sample, self.config.loss_weights, self._class_weights, self.teacher
        )

    def render_image(self, chosen: ChosenSources, camera: ViewCameras, size: tuple[int, int]) -> RenderedImage:
        """Render one camera at a size, as many rays at a time as the configuration says."""
        sources = self._sources(chosen)
        plane = self.network.plane(sources, camera, size, chunk=self.config.eval_num_rays_per_chunk)
        image = torch.cat([plane.rgb, plane.logits, plane.depth[None]])
        xy = pixel_centres(*size, self.device).reshape(-1, 2)
        parts = sample_images(image[None], xy[None])[0]
        rgb, logits, depth = parts.split([3, self.taxonomy.num_classes, 1])
        shown = self.network.encoder.with_second_look(logits.unflatten(1, size)[None], rgb.unflatten(1, size)[None])
        logits = shown[0].flatten(1)
        seen = sample_images(plane.is_seen[:, None].float(), xy.expand(len(sources), -1, -1), mode="nearest")[:, 0] > 0
        at = reproject(sweep_matrices(sources.cameras, camera), xy, depth[0])
        logits = self.with_source_labels(chosen, logits.mT, camera, xy, depth[0], seen & at.is_seen, sources.cameras)
        return RenderedImage(
            rgb.mT.unflatten(0, size),
            logits.unflatten(0, size),
            depth[0].unflatten(0, size),
            seen.any(dim=0).float().unflatten(0, size),
        )

    @torch.no_grad()
    def guess_depth(self, images: Float[Tensor, "images 3 height width"]) -> Float[Tensor, "images rows columns"]:
        """Planar depth in metres that the encoder gives images by themselves, at a quarter of their resolution."""
        return self.network.encoder(images.to(self.device)).log_depth.exp()

    def _sources(self, chosen: ChosenSources) -> Sources:
        encoded = Encoded.stack(self.kept_features(chosen, self.network.encoder))
        masks = chosen.views.masks_of(chosen.frames, self.device)
        return self.network.sources_of(encoded, chosen.cameras.to(self.device), masks, self._vertical(chosen))

    def _vertical(self, chosen: ChosenSources) -> Tensor | None:
        """Which direction is up in the world of a scene, by some of its source frames; None where nobody asks.

        A target that is a source frame of others may be one of them: it then says a little of what is up for all.
        """
        if self.network.up is None:
            return None
        kept = self._verticals.get(chosen.scene)
        if kept is None:
            number = len(chosen.views)
            frames = torch.linspace(0, number - 1, min(number, _FRAMES_THAT_SAY_UP)).round().long()
            some = replace(chosen, frames=frames)
            encoded = Encoded.stack(self.kept_features(some, self.network.encoder))
            cameras = some.cameras.to(self.device)
            kept = vertical_of(cameras, self.network.up(encoded.quarter, cameras))
            self._verticals.keep(chosen.scene, kept)
        return kept

    def train(self, mode: bool = True) -> "ViewsegSmallModel":
        """Switch to training or evaluation, as the parent does; what is up in a scene is then found out anew."""
        if mode and hasattr(self, "_verticals"):
            self._verticals.forget()
        super().train(mode)
        return self
