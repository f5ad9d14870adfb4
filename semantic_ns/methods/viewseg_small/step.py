"""One training step of `viewseg-small`: forward over a sample of targets, and its losses."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from semantic_ns.geometry.views import ViewCameras, are_used, pixel_centres, stack_views
from semantic_ns.many_scenes.samples import Frames, TargetSample
from semantic_ns.methods.class_teacher import ClassTeacher
from semantic_ns.methods.viewseg_small.encoder import Encoded
from semantic_ns.methods.viewseg_small.network import FieldRays, Sources, TargetPlane, ViewsegSmallNetwork
from semantic_ns.methods.viewseg_small.rays import log_step
from semantic_ns.multi_view.levelling import up_loss
from semantic_ns.multi_view.supervised_losses import class_loss, image_color_loss, log_depth_loss, masked_mse

_DOUBT = 0.05


@dataclass
class SmallLossWeights:
    """Weights of the losses of `viewseg-small`."""

    color: float = 2.0
    """Mean squared error of colours: of the target, and of the rays of its field (Qian et al. 2021: 1)."""
    semantic: float = 1.0
    """Cross-entropy of the classes of the target (Qian et al. 2021: 0.04)."""
    field_semantic: float = 0.3
    """Cross-entropy of the classes that the field by itself renders."""
    source_view: float = 0.3
    """All losses of rays of one source view, as a share of those of the targets (Qian et al. 2021: 1)."""
    source_semantic: float = 1.0
    """Cross-entropy of the classes that the encoder gives each image by itself."""
    distillation: float = 1.0
    """With weights to begin with: divergence of the classes that the encoder gives an image from those that it gave at
    first, where no label says what a pixel is (Li and Hoiem 2016)."""
    up: float = 2.0
    """Where cameras are levelled: squared angle, in radians, between what is up in an image and what is estimated."""
    depth: float = 1.0
    """With true depth: smooth L1 of log depth, of the target, of its rays and of what single images are guessed."""
    samples: float = 0.3
    """With true depth: cross-entropy of the rendering weights of coarse and of all samples."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """What the network predicts of a sample: nothing in it depends on images, labels or depth of the targets.

    Attributes:
        sources: the sources.
        planes: image plane of each target.
        source_rays: rays of one source.
        source: number of that source.
        source_xy: image coordinates of its rays.
    """

    sources: Sources
    planes: list[TargetPlane]
    source_rays: FieldRays
    source: int
    source_xy: Float[Tensor, "rays 2"]


def predict(
    network: ViewsegSmallNetwork,
    sources: Frames,
    cameras: ViewCameras,
    size: tuple[int, int],
    num_source_rays: int,
    generator: torch.Generator,
) -> Prediction:
    """Render target cameras, and random rays of one source.

    Args:
        network: the network.
        sources: the sources; their labels and depth are not looked at.
        cameras: the cameras of the targets.
        size: height and width of the targets.
        num_source_rays: number of random rays of a random source.
        generator: draws samples, source and rays.
    """
    seen = network.sources(sources.images, sources.cameras, sources.masks)
    planes = [network.plane(seen, cameras[n : n + 1], size, generator) for n in range(len(cameras))]
    number = int(torch.randint(len(seen), (), generator=generator))
    xy = torch.rand((num_source_rays, 2), generator=generator).to(sources.images)
    rays = network.render_rays(seen, seen.cameras[number : number + 1], xy, generator)
    return Prediction(seen, planes, rays, number, xy)


def prediction_losses(
    network: ViewsegSmallNetwork,
    predicted: Prediction,
    sample: TargetSample,
    weights: SmallLossWeights,
    class_weights: Float[Tensor, "classes"] | None = None,
    teacher: ClassTeacher | None = None,
) -> dict[str, Float[Tensor, ""]]:
    """Losses of a prediction, by name.

    Args:
        network: the network.
        predicted: what it predicts of the sample.
        sample: sources and targets with images, labels and depth.
        weights: weights of the losses.
        class_weights: how much each class counts.
        teacher: what says which classes pixels without a label have; None if nothing does.
    """
    frames, truth, planes = sample.sources, sample.targets, predicted.planes
    encoded = predicted.sources.encoded
    learns_classes = bool((frames.labels >= 0).any() or (truth.labels >= 0).any())
    losses: dict[str, Tensor] = {}
    by_itself, up = encoded.logits, predicted.sources.up
    # The images of the targets train what the network says of an image by itself, and nothing else.
    maps = network.encoder.maps(truth.images) if learns_classes or up is not None else None
    if maps is not None and up is not None and network.up is not None:
        # Cameras of the sources may be wrong, but to neither side more than to the other.
        up = torch.cat([up, network.up(maps[1], truth.cameras)])
        losses["up_loss"] = weights.up * up_loss(up, stack_views([frames.cameras, truth.cameras]))
    if maps is not None and learns_classes:
        by_itself = torch.cat([by_itself, network.encoder.logits_of(*maps)])
        labels = _nearest(torch.cat([frames.labels, truth.labels]), by_itself.shape[-2:])
        own = labels[len(frames.images) :]
        losses["source_semantic_loss"] = weights.source_semantic * image_class_loss(by_itself, labels, class_weights)
        losses["semantic_loss"] = weights.semantic * image_class_loss(
            torch.stack([plane.logits for plane in planes]), own, class_weights
        )
    if teacher is not None and weights.distillation > 0:
        taught = [frames, truth] if learns_classes else [frames]
        losses["distillation_loss"] = weights.distillation * teacher.loss(by_itself, taught)
    color = image_color_loss(torch.stack([plane.rgb for plane in planes]), truth)
    xy = [pixel_centres(*network.ray_grid(truth.size), truth.images.device).reshape(-1, 2)] * len(planes)
    of_rays = [
        _RayTruth.at(truth, number, places).losses(plane.rays, network, weights, class_weights, learns_classes)
        for number, (plane, places) in enumerate(zip(planes, xy, strict=True))
    ]
    of_source = _RayTruth.at(frames, predicted.source, predicted.source_xy).losses(
        predicted.source_rays, network, weights, class_weights, learns_classes
    )
    for name in of_rays[0]:
        losses[f"field_{name}"] = torch.stack([one[name] for one in of_rays]).mean()
    losses["source_view_loss"] = weights.source_view * torch.stack(list(of_source.values())).sum()
    losses["color_loss"] = weights.color * color
    if truth.depths_m is not None and frames.depths_m is not None:
        true = _nearest(truth.depths_m, planes[0].depth.shape)
        losses["depth_loss"] = weights.depth * log_depth_loss(torch.stack([plane.depth for plane in planes]), true)
        losses["guess_loss"] = weights.depth * _guess_loss(encoded, frames.depths_m)
    return losses


@dataclass(frozen=True, eq=False)
class _RayTruth:
    """Colour, class and depth (None if unknown) of rays, and whether they are used."""

    rgb: Float[Tensor, "3 rays"]
    is_used: Bool[Tensor, "rays"]
    labels: Int[Tensor, "rays"]
    depth: Float[Tensor, "rays"] | None

    @classmethod
    def at(cls, frames: Frames, number: int, xy: Float[Tensor, "rays 2"]) -> "_RayTruth":
        """Of one frame at image coordinates: colours bilinear, labels and depth of the nearest pixel."""
        height, width = frames.size
        column, row = (xy * xy.new_tensor([width, height])).long().unbind(-1)
        place = row.clamp(0, height - 1), column.clamp(0, width - 1)
        grid = (2 * xy - 1)[None, None]
        rgb = F.grid_sample(frames.images[number, None], grid, padding_mode="border", align_corners=False)[0, :, 0]
        depth = None if frames.depths_m is None else frames.depths_m[number][place]
        masks = None if frames.masks is None else frames.masks[number, None]
        return cls(rgb, are_used(masks, xy[None])[0], frames.labels[number][place], depth)

    def losses(
        self,
        rays: FieldRays,
        network: ViewsegSmallNetwork,
        weights: SmallLossWeights,
        class_weights: Tensor | None,
        learns_classes: bool,
    ) -> dict[str, Tensor]:
        """Losses of rendered rays."""
        found = {"color_loss": weights.color * masked_mse(rays.rgb.mT, self.rgb.mT, self.is_used)}
        if learns_classes:
            found["semantic_loss"] = weights.field_semantic * class_loss(rays.logits.mT, self.labels, class_weights)
        if self.depth is not None:
            sizes = network.sizes
            step = log_step(sizes.near, sizes.far, sizes.num_coarse)
            on_samples = rays.coarse.depth_loss(self.depth, 1.5 * step) + rays.samples.depth_loss(self.depth, step)
            found["depth_loss"] = weights.depth * log_depth_loss(rays.log_depth.exp(), self.depth)
            found["samples_loss"] = weights.samples * on_samples
        return found


def _nearest(values: Tensor, size: tuple[int, ...]) -> Tensor:
    """Labels or depth [N, H, W] at a size, by nearest neighbours."""
    return F.interpolate(values[:, None].double(), size, mode="nearest-exact")[:, 0].to(values.dtype)


def _guess_loss(encoded: Encoded, truth: Float[Tensor, "views height width"]) -> Tensor:
    """Of the depth of single images, and what trains its doubt: the likelihood of a Laplace distribution."""
    true = _nearest(truth, encoded.log_depth.shape[-2:])
    is_known = true > 0
    error = (encoded.log_depth.detach() - true.where(is_known, 1.0).log()).abs().clamp(max=1.0)
    likelihood = (error * (-encoded.log_std).exp() + encoded.log_std) * is_known
    return log_depth_loss(encoded.log_depth.exp(), true) + _DOUBT * likelihood.sum() / is_known.sum().clamp(min=1)


def image_class_loss(
    logits: Float[Tensor, "images classes rows columns"],
    labels: Int[Tensor, "images rows columns"],
    weights: Float[Tensor, "classes"] | None = None,
) -> Float[Tensor, ""]:
    """Cross-entropy over the pixels of images that are not void."""
    return class_loss(logits.permute(0, 2, 3, 1).flatten(0, 2), labels.flatten(), weights)
