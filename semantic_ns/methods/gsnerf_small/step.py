"""One training step of `gsnerf-small`: forward over a sample of targets, and its losses."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from semantic_ns.geometry.views import ViewCameras, pixel_centres, reproject, sample_images, stack_views, sweep_matrices
from semantic_ns.many_scenes.samples import Frames, TargetSample
from semantic_ns.methods.class_teacher import ClassTeacher
from semantic_ns.methods.gsnerf_small.losses import (
    reconstruction_loss,
    smoothness_loss,
    structure_loss,
)
from semantic_ns.methods.gsnerf_small.network import GsnerfSmallNetwork, Sources, TargetPlane
from semantic_ns.methods.gsnerf_small.source_depth import SourceDepth
from semantic_ns.multi_view.supervised_losses import class_loss, image_color_loss, log_depth_loss


@dataclass
class LossWeights:
    """Weights of the losses of `gsnerf-small`."""

    color: float = 5.0
    """Mean squared error of rendered colours."""
    fill: float = 2.0
    """Mean squared error of the colours that the decoder in the image plane gives."""
    semantic: float = 1.0
    """Cross-entropy of rendered classes (Chou et al. 2024: 0.5)."""
    source_semantic: float = 1.0
    """Cross-entropy of the classes that the encoder gives each image by itself (released code)."""
    distillation: float = 1.0
    """With weights to begin with: divergence of the classes that the encoder gives an image from those that it gave at
    first, where no label says what a pixel is (Li and Hoiem 2016)."""
    fill_semantic: float = 0.25
    """Cross-entropy of the classes of the whole image plane of the target, before rays add what they find."""
    plane: float = 0.5
    """Cross-entropy of the planes of the sources with true depth."""
    depth: float = 1.0
    """Smooth L1 of log depth: that of the sources and that of the target."""
    ray_depth: float = 0.1
    """Smooth L1 of the log depth that the samples of a ray give (released code)."""
    reconstruction: float = 1.0
    """Without true depth: colours of the sources, warped by the depth of the target, against its image."""
    structure: float = 0.5
    """Without true depth: the same by structural similarity."""
    smoothness: float = 0.02
    """Without true depth: change of log depth where colour does not change."""


@dataclass(frozen=True, eq=False)
class RayPixels:
    """Random pixels of one target."""

    xy: Float[Tensor, "rays 2"]
    place: Int64[Tensor, "rays"]

    @classmethod
    def draw(cls, targets: Frames, count: int, generator: torch.Generator) -> list["RayPixels"]:
        """Pixels of each target that are used, with replacement, on its device."""
        xy = pixel_centres(*targets.size).reshape(-1, 2)
        device = targets.images.device
        places = targets.random_pixels(count, generator)
        return [cls(xy[place].to(device), place.to(device)) for place in places]

    def of(self, image: Tensor) -> Tensor:
        """Values of an image [..., H, W] at the pixels, [..., R]."""
        return image.flatten(-2)[..., self.place]


def step_losses(
    network: GsnerfSmallNetwork,
    sample: TargetSample,
    pixels: list[RayPixels],
    weights: LossWeights,
    class_weights: Float[Tensor, "classes"] | None = None,
    teacher: ClassTeacher | None = None,
) -> dict[str, Float[Tensor, ""]]:
    """Losses of one step, by name.

    Args:
        network: the network.
        sample: targets and sources; without depth the colours of the views train geometry.
        pixels: rays of each target.
        weights: weights of the losses.
        class_weights: how much each class counts.
        teacher: what says which classes pixels without a label have; None if nothing does.
    """
    frames, truth = sample.sources, sample.targets
    sources = network.sources(frames.images, frames.cameras, frames.masks)
    cameras = [truth.cameras[number : number + 1] for number in range(len(truth.cameras))]
    planes = [network.plane(sources, camera, truth.size) for camera in cameras]
    learns_classes = bool((frames.labels >= 0).any() or (truth.labels >= 0).any())
    losses = {
        "fill_loss": weights.fill * image_color_loss(torch.stack([plane.color for plane in planes]), truth),
    }
    logits = sources.encoded.logits
    if learns_classes:
        # The images of the targets train what the encoder says of an image by itself, and nothing else.
        logits = torch.cat([logits, network.encoder.segment(truth.images)])
        labels = _at_size(torch.cat([frames.labels, truth.labels]), logits)
        losses["source_semantic_loss"] = weights.source_semantic * class_loss(
            logits.permute(0, 2, 3, 1).flatten(0, 2), labels.flatten(), class_weights
        )
        losses["fill_semantic_loss"] = weights.fill_semantic * _fill_class_loss(planes, truth.labels, class_weights)
    if teacher is not None and weights.distillation > 0:
        taught = [frames, truth] if learns_classes else [frames]
        losses["distillation_loss"] = weights.distillation * teacher.loss(logits, taught)
    rendered = [
        network.render(sources, camera, plane, rays.xy, trains_classes=learns_classes)
        for camera, plane, rays in zip(cameras, planes, pixels, strict=True)
    ]
    losses["color_loss"] = weights.color * _mean(
        [F.mse_loss(r.rgb, p.of(image).mT) for r, p, image in zip(rendered, pixels, truth.images, strict=True)]
    )
    if learns_classes:
        losses["semantic_loss"] = weights.semantic * _mean(
            [
                class_loss(r.logits, p.of(labels), class_weights)
                for r, p, labels in zip(rendered, pixels, truth.labels, strict=True)
            ]
        )
    if truth.depths_m is not None and frames.depths_m is not None:
        losses |= _source_depth_losses(sources.depth, frames.depths_m, weights)
        true = F.interpolate(truth.depths_m[:, None], planes[0].depth.shape, mode="nearest-exact")[:, 0]
        losses["depth_loss"] = weights.depth * _mean(
            [_depth_and_doubt(plane.depth, plane.log_std, depth) for plane, depth in zip(planes, true, strict=True)]
        )
        losses["ray_depth_loss"] = weights.ray_depth * _mean(
            [log_depth_loss(r.depth, p.of(d)) for r, p, d in zip(rendered, pixels, truth.depths_m, strict=True)]
        )
        return losses
    return losses | _photometric_losses(sources, cameras, planes, sample, weights)


def _fill_class_loss(planes: list[TargetPlane], labels: Tensor, class_weights: Tensor | None) -> Tensor:
    small = F.interpolate(labels[:, None].float(), planes[0].depth.shape, mode="nearest-exact")[:, 0].long()
    return _mean(
        [
            class_loss((plane.carried + plane.logits).flatten(1).mT, truth.flatten(), class_weights)
            for plane, truth in zip(planes, small, strict=True)
        ]
    )


def _at_size(values: Tensor, like: Tensor) -> Tensor:
    """Labels or depth [N, H, W] at the resolution of maps [N, c, h, w], by nearest neighbours."""
    return F.interpolate(values[:, None].float(), like.shape[-2:], mode="nearest-exact")[:, 0].to(values.dtype)


def _depth_and_doubt(depth: Tensor, log_std: Tensor, truth: Tensor) -> Tensor:
    """Smooth L1 of log depth, and what trains the expected error: the likelihood of a Laplace distribution."""
    is_known = truth > 0
    error = (depth.detach().log() - truth.where(is_known, 1.0).log()).abs().clamp(max=1.0)
    likelihood = (error * (-log_std).exp() + log_std) * is_known
    return log_depth_loss(depth, truth) + 0.05 * likelihood.sum() / is_known.sum().clamp(min=1)


def _source_depth_losses(depth: SourceDepth, truth: Tensor, weights: LossWeights) -> dict[str, Tensor]:
    coarse = F.interpolate(truth[:, None], depth.coarse.shape[-2:], mode="nearest-exact")[:, 0]
    fine = F.interpolate(truth[:, None], depth.depth.shape[-2:], mode="nearest-exact")[:, 0]
    return {
        "plane_loss": weights.plane * depth.planes.cross_entropy(depth.scores, coarse),
        "source_depth_loss": weights.depth
        * (log_depth_loss(depth.coarse, coarse) + _depth_and_doubt(depth.depth, depth.log_std, fine)),
    }


def _photometric_losses(
    sources: Sources, cameras: list[ViewCameras], planes: list[TargetPlane], sample: TargetSample, weights: LossWeights
) -> dict[str, Tensor]:
    """Self-supervision: the other views, warped by the depth of a source or target, look like its image."""
    reconstruction, structure, smoothness = [], [], []

    def compare(depth: Tensor, image: Tensor, camera: ViewCameras, others: Tensor, views: ViewCameras) -> None:
        height, width = depth.shape
        xy = pixel_centres(height, width, depth.device)
        at = reproject(sweep_matrices(views, camera), xy, depth)
        warped = sample_images(others, at.xy)
        reconstruction.append(reconstruction_loss(warped, at.is_seen, image))
        structure.append(structure_loss(warped, at.is_seen, image))
        smoothness.append(smoothness_loss(depth, image))

    frames, truth = sample.sources, sample.targets
    all_cameras = stack_views([frames.cameras, truth.cameras])
    for level in (sources.depth.coarse, sources.depth.depth):
        images = F.interpolate(torch.cat([frames.images, truth.images]), level.shape[-2:], mode="area")
        for number, depth in enumerate(level):
            others = torch.tensor([other for other in range(len(images)) if other != number])
            camera = frames.cameras[number : number + 1]
            compare(depth, images[number], camera, images[others], all_cameras[others])
    small = F.interpolate(truth.images, planes[0].depth.shape, mode="area")
    views = F.interpolate(frames.images, planes[0].depth.shape, mode="area")
    for plane, camera, image in zip(planes, cameras, small, strict=True):
        compare(plane.depth, image, camera, views, frames.cameras)
    return {
        "reconstruction_loss": weights.reconstruction * _mean(reconstruction),
        "structure_loss": weights.structure * _mean(structure),
        "smoothness_loss": weights.smoothness * _mean(smoothness),
    }


def _mean(losses: list[Tensor]) -> Tensor:
    return torch.stack(losses).mean()
