"""The model of `viewseg-small`."""

from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes
from torch import Tensor
from torch.nn import Parameter

from semantic_ns.backbones import efficientnet_lite
from semantic_ns.backbones.pyramids import PretrainedPyramid
from semantic_ns.geometry.views import ViewCameras, pixel_centres, reproject, sample_images, sweep_matrices
from semantic_ns.many_scenes.samples import TargetSample
from semantic_ns.methods.source_views import ChosenSources, RenderedImage, SourceViewsConfig, SourceViewsModel
from semantic_ns.methods.viewseg_small.encoder import Encoded
from semantic_ns.methods.viewseg_small.network import Sources, ViewsegSmallNetwork
from semantic_ns.methods.viewseg_small.sizes import EncoderName, Sizes
from semantic_ns.methods.viewseg_small.step import SmallLossWeights, predict, prediction_losses


def default_encoder() -> EncoderName:
    """The best encoder for which everything is installed."""
    return "lite0" if efficientnet_lite.has_imagenet_weights() else "unet"


@dataclass
class ViewsegSmallModelConfig(SourceViewsConfig):
    """Options of `viewseg-small`."""

    _target: type = field(default_factory=lambda: ViewsegSmallModel)
    loss_weights: SmallLossWeights = field(default_factory=SmallLossWeights)
    """Weights of the losses."""
    encoder: EncoderName = field(default_factory=default_encoder)
    """Network that gives features of an image: lite0 is EfficientNet-Lite0, trained on photographs, and needs the extra
    semantic-ns[pretrained] to begin with; unet is a U-Net that knows nothing at first. By default lite0 where the extra
    is installed."""
    use_directions: bool = True
    """Tell the field from where a point is looked at."""
    source_rays: int = 256
    """Number of random rays of a source view in a training step."""
    class_balance: float = 0.3
    """Exponent of the balance of classes: a class that covers a share f of all labels counts f^-balance in the
    cross-entropy. 0 lets all pixels count alike."""


class ViewsegSmallModel(SourceViewsModel):
    """Classes, depth and colour of a new view of a new room from one to a few source frames (Qian et al. 2021)."""

    config: ViewsegSmallModelConfig  # pyright: ignore[reportIncompatibleVariableOverride]
    compares_sources = False
    _class_weights: Tensor | None = None

    def _default_range_m(self) -> tuple[float, float]:
        sizes = Sizes()
        return sizes.near, sizes.far

    def _build_network(self) -> None:
        near, far = self.bounds.near * self.metres_per_unit, self.bounds.far * self.metres_per_unit
        sizes = Sizes(self.config.encoder, uses_directions=self.config.use_directions, near=near, far=far)
        self.network = ViewsegSmallNetwork(self.taxonomy.num_classes, sizes)
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
            self.network, predicted, sample, self.config.loss_weights, class_weights=self._class_weights
        )

    def render_image(self, chosen: ChosenSources, camera: ViewCameras, size: tuple[int, int]) -> RenderedImage:
        """Render one camera at a size, as many rays at a time as the configuration says."""
        sources = self._sources(chosen)
        plane = self.network.plane(sources, camera, size, chunk=self.config.eval_num_rays_per_chunk)
        image = torch.cat([plane.rgb, plane.logits, plane.depth[None]])
        xy = pixel_centres(*size, self.device).reshape(-1, 2)
        parts = sample_images(image[None], xy[None])[0]
        rgb, logits, depth = parts.split([3, self.taxonomy.num_classes, 1])
        seen = sample_images(plane.is_seen[:, None].float(), xy.expand(len(sources), -1, -1), mode="nearest")[:, 0] > 0
        at = reproject(sweep_matrices(sources.cameras, camera), xy, depth[0])
        logits = self.with_source_labels(chosen, logits.mT, camera, xy, depth[0], seen & at.is_seen)
        return RenderedImage(
            rgb.mT.unflatten(0, size),
            logits.unflatten(0, size),
            depth[0].unflatten(0, size),
            seen.any(dim=0).float().unflatten(0, size),
        )

    @torch.no_grad()
    def segment(self, images: Float[Tensor, "images 3 height width"]) -> Float[Tensor, "images classes rows columns"]:
        """Class logits that the encoder gives images by themselves, at half of their resolution."""
        return self.network.encoder.segment(images.to(self.device))

    @torch.no_grad()
    def guess_depth(self, images: Float[Tensor, "images 3 height width"]) -> Float[Tensor, "images rows columns"]:
        """Planar depth in metres that the encoder gives images by themselves, at a quarter of their resolution."""
        return self.network.encoder(images.to(self.device)).log_depth.exp()

    def _sources(self, chosen: ChosenSources) -> Sources:
        encoded = Encoded.stack(self.kept_features(chosen, self.network.encoder))
        return Sources(chosen.cameras.to(self.device), encoded, chosen.views.masks_of(chosen.frames, self.device))
