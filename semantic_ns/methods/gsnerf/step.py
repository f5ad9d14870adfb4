"""One training step of `gsnerf`: what it predicts of a sample of targets, and its losses."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from semantic_ns.dataparsers.common_label_space import key_of
from semantic_ns.errors import SceneError
from semantic_ns.geometry.views import ViewCameras, pixel_centres, sample_images
from semantic_ns.many_scenes.samples import Frames, TargetSample
from semantic_ns.methods.gsnerf.losses import (
    LEVEL_WEIGHTS,
    TargetPoints,
    balanced_class_loss,
    depth_loss,
    is_textured,
    pseudo_depth_loss,
    unsupervised_depth_loss,
)
from semantic_ns.methods.gsnerf.network import PublishedNetwork, RenderedRays
from semantic_ns.methods.gsnerf.point_features import SourceViews
from semantic_ns.methods.gsnerf.volumes import DepthRange

_JITTER, _JITTER_PROBABILITY = 0.05, 0.05


@dataclass
class PublishedLossWeights:
    """Weights of the losses of `gsnerf`; the defaults are those of the released code."""

    color: float = 1.0
    """Mean squared error of rendered colours."""
    semantic: float = 0.5
    """Cross-entropy of rendered classes (Chou et al. 2024: lambda)."""
    source_semantic: float = 0.5
    """Cross-entropy of the classes that the 2D network gives each source by itself."""
    depth: float = 1.0
    """With true depth: smooth L1 of the depth of the sources, in metres."""
    ray_depth: float = 0.1
    """With true depth: smooth L1 of rendered depth, in metres."""
    pseudo_depth: float = 0.1
    """Without true depth: smooth L1 between the depth of the sources and rendered depth of the target."""
    unsupervised: float = 0.1
    """Without true depth: reconstruction, structure and smoothness of the sources (RC-MVSNet)."""
    reprojected_depth: float = 0.05
    """Without true depth: smooth L1 between rendered depth and the reprojected depth of the target."""
    background: float = 1.0
    """How much pixels of the background count in the cross-entropy (published: 0.8 for Replica, 1 for ScanNet)."""
    background_classes: tuple[str, ...] = ("wall", "floor")
    """Names of the classes that are the background. The released code counts void among them, but void has no loss."""

    def of_classes(self, names: Sequence[str]) -> Float[Tensor, "classes"] | None:
        """How much each class of a label space counts in the cross-entropy; None where all count alike.

        Raises:
            SceneError: if the background counts otherwise than the rest and the label space has none of its classes.
        """
        if self.background == 1:
            return None
        wanted = {key_of(name) for name in self.background_classes}
        found = torch.tensor([self.background if key_of(name) in wanted else 1.0 for name in names])
        if not bool((found != 1).any()):
            raise SceneError(
                f"Expected a class of the background ({', '.join(self.background_classes)}) among those of the scenes, "
                f"found {', '.join(names)}; name the right ones with "
                "--pipeline.model.loss-weights.background-classes, or leave --pipeline.model.loss-weights.background "
                "out."
            )
        return found


def jittered(bounds: DepthRange, generator: torch.Generator) -> DepthRange:
    """Bounds, in one of 20 cases each changed by up to 5 % (released code)."""
    chance, near, far = torch.rand(3, generator=generator).tolist()
    if chance >= _JITTER_PROBABILITY:
        return bounds
    return DepthRange(bounds.near * (1 + _JITTER * (2 * near - 1)), bounds.far * (1 + _JITTER * (2 * far - 1)))


@dataclass(frozen=True, eq=False)
class TargetRays:
    """Rays of one target.

    Attributes:
        camera: the target camera.
        place: numbers of their pixels, row by row.
        xy: their image coordinates.
        rendered: what the network renders of them.
    """

    camera: ViewCameras
    place: Int64[Tensor, "rays"]
    xy: Float[Tensor, "rays 2"]
    rendered: RenderedRays

    def of(self, image: Tensor) -> Tensor:
        """Values of an image [..., H, W] at the rays, [..., R]."""
        return image.flatten(-2)[..., self.place]


@dataclass(frozen=True, eq=False)
class Prediction:
    """What the network predicts of a sample: nothing in it depends on images, labels or depth of the targets."""

    sources: SourceViews
    targets: list[TargetRays]


def predict(
    network: PublishedNetwork,
    sources: Frames,
    cameras: ViewCameras,
    size: tuple[int, int],
    places: list[Tensor],
    bounds: DepthRange,
    generator: torch.Generator | None = None,
) -> Prediction:
    """Render rays of target cameras.

    Args:
        network: the network.
        sources: the sources; their labels are not looked at, nor is their depth without the option `depth_input`.
        cameras: the cameras of the targets.
        size: height and width of the targets.
        places: numbers of the pixels of the rays of each target.
        bounds: bounds of depth.
        generator: draws the samples of rays; without one they stand at quantiles.
    """
    encoded = network.encoder(sources.images)
    seen = network.sources(encoded, sources.cameras, bounds, sources.masks, sources.depths_m)
    xy = pixel_centres(*size, sources.images.device).reshape(-1, 2)
    targets = []
    for number, place in enumerate(places):
        camera = cameras[number : number + 1]
        depth = network.target(seen, camera, size)
        rendered = network.render(seen, camera, depth, xy[place], generator)
        targets.append(TargetRays(camera, place, xy[place], rendered))
    return Prediction(seen, targets)


def prediction_losses(
    network: PublishedNetwork,
    prediction: Prediction,
    sample: TargetSample,
    weights: PublishedLossWeights,
    class_weights: Float[Tensor, "classes"] | None = None,
) -> dict[str, Float[Tensor, ""]]:
    """Losses of a prediction, by name (Chou et al. 2024, equations (16) and (17)).

    Args:
        network: the network, for the defects that it restores.
        prediction: what it predicts of the sample.
        sample: sources and targets with images, labels and depth; without depth colours of the views train geometry.
        weights: weights of the losses.
        class_weights: how much each class counts, see `PublishedLossWeights.of_classes`; all count 1 by default.
    """
    truth, frames = sample.targets, sample.sources
    logits = prediction.sources.encoded.logits
    labels = _at_size(frames.labels, logits).flatten()
    color, semantic, ray_depth = [], [], []
    for number, rays in enumerate(prediction.targets):
        rendered = rays.rendered
        color.append(F.mse_loss(rendered.rgb, rays.of(truth.images[number]).mT))
        semantic.append(balanced_class_loss(rendered.logits, rays.of(truth.labels[number]), class_weights))
        if truth.depths_m is not None:
            over_all = network.options.compat.depth_loss_over_all_rays
            ray_depth.append(depth_loss(rendered.depth, rays.of(truth.depths_m[number]), over_all))
    source_semantic = balanced_class_loss(logits.permute(0, 2, 3, 1).flatten(0, 2), labels, class_weights)
    losses = {
        "color_loss": weights.color * _mean(color),
        "semantic_loss": weights.semantic * _mean(semantic),
        "source_semantic_loss": weights.source_semantic * source_semantic,
    }
    if ray_depth and frames.depths_m is not None:
        losses["depth_loss"] = weights.depth * _source_depth_loss(prediction.sources, frames.depths_m)
        losses["ray_depth_loss"] = weights.ray_depth * _mean(ray_depth)
        return losses
    return losses | _self_supervised_losses(network, prediction, sample, weights)


def _source_depth_loss(sources: SourceViews, truth: Float[Tensor, "views height width"]) -> Tensor:
    levels = zip(LEVEL_WEIGHTS, sources.geometry, strict=True)
    losses = [weight * depth_loss(one.depth, _at_size(truth, one.depth)) for weight, one in levels]
    return torch.stack(losses).sum()


def _self_supervised_losses(
    network: PublishedNetwork, prediction: Prediction, sample: TargetSample, weights: PublishedLossWeights
) -> dict[str, Tensor]:
    sources, frames = prediction.sources, sample.sources
    scalar = network.options.compat.scalar_reconstruction
    unsupervised = [
        weight * unsupervised_depth_loss(level.depth, _resized(frames.images, level.depth), frames.cameras, scalar)
        for weight, level in zip(LEVEL_WEIGHTS, sources.geometry, strict=True)
    ]
    pseudo = [
        _pseudo_depth_loss(sources, rays, image)
        for rays, image in zip(prediction.targets, sample.targets.images, strict=True)
    ]
    reprojected = [F.smooth_l1_loss(rays.rendered.depth, rays.rendered.z) for rays in prediction.targets]
    return {
        "unsupervised_depth_loss": weights.unsupervised * torch.stack(unsupervised).sum(),
        "pseudo_depth_loss": weights.pseudo_depth * _mean(pseudo),
        "reprojected_depth_loss": weights.reprojected_depth * _mean(reprojected),
    }


def _pseudo_depth_loss(sources: SourceViews, rays: TargetRays, image: Float[Tensor, "3 height width"]) -> Tensor:
    points = TargetPoints.of(sources.cameras, rays.camera, rays.xy, rays.rendered.rgb, rays.rendered.depth)
    warped = sample_images(sources.encoded.images, points.xy).mT  # [views, rays, 3]
    textured, truth = rays.of(is_textured(image)), rays.of(image).mT
    losses = [
        weight * pseudo_depth_loss(level.depth, points, truth, warped, textured)
        for weight, level in zip(LEVEL_WEIGHTS, sources.geometry, strict=True)
    ]
    return torch.stack(losses).sum()


def _at_size(values: Tensor, like: Tensor) -> Tensor:
    """Labels or depth [N, H, W] at the resolution of maps [..., h, w], by nearest neighbours."""
    return F.interpolate(values[:, None].double(), like.shape[-2:], mode="nearest-exact")[:, 0].to(values.dtype)


def _resized(images: Tensor, like: Tensor) -> Tensor:
    """Colours [N, 3, H, W] at the resolution of maps [..., h, w]."""
    if images.shape[-2:] == like.shape[-2:]:
        return images
    smaller = images.shape[-1] > like.shape[-1]
    return F.interpolate(images, like.shape[-2:], mode="area" if smaller else "bilinear")


def _mean(losses: list[Tensor]) -> Tensor:
    return torch.stack(losses).mean()
