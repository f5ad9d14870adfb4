"""Training steps of `viewseg`: rays of targets and of source views, and their losses."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from semantic_ns.geometry.views import ViewCameras, are_used
from semantic_ns.many_scenes.samples import Frames
from semantic_ns.methods.viewseg.network import RenderedRays, Sources, ViewsegNetwork, read_maps
from semantic_ns.multi_view.supervised_losses import class_loss, masked_mse

RayKind = Literal["target", "source"]


@dataclass
class ViewsegLossWeights:
    """Weights of the losses of `viewseg`; the defaults are those of Qian et al. 2021."""

    color: float = 1.0
    """Mean squared error of rendered colours, of both passes (photometric loss)."""
    semantic: float = 0.04
    """Cross-entropy of rendered classes, of both passes (lambda)."""
    source_view: float = 1.0
    """Factor on both losses of the rays of a source view."""
    depth: float = 0.0
    """With true depth: mean absolute error of rendered depth in metres, of both passes. The released code has it with
    0.1, and does not use it."""


@dataclass(frozen=True, eq=False)
class TrainingRays:
    """Rays through random places of one image, with both passes of what is rendered.

    Attributes:
        kind: whether the image is a target or a source.
        number: number of the image among those of its kind.
        xy: image coordinates.
        passes: coarse and fine.
    """

    kind: RayKind
    number: int
    xy: Float[Tensor, "rays 2"]
    passes: tuple[RenderedRays, RenderedRays]


def render_training_rays(
    network: ViewsegNetwork,
    sources: Sources,
    camera: ViewCameras,
    image: tuple[RayKind, int],
    num_rays: int,
    generator: torch.Generator,
) -> TrainingRays:
    """Render rays of a camera through random places between the edges of its image, not only pixel centres.

    Args:
        network: the network.
        sources: the sources of the step.
        camera: camera of the image.
        image: kind and number of the image.
        num_rays: number of rays.
        generator: draws rays and samples.
    """
    xy = torch.rand((num_rays, 2), generator=generator).to(sources.fine.device)
    return TrainingRays(*image, xy, network.render(sources, camera, xy, generator))


def nearest_pixels(values: Tensor, xy: Float[Tensor, "rays 2"]) -> Tensor:
    """Values [H, W] of the pixels in which image coordinates lie."""
    height, width = values.shape
    column, row = (xy * xy.new_tensor([width, height])).long().unbind(-1)
    return values[row.clamp(0, height - 1), column.clamp(0, width - 1)]


def ray_losses(
    rays: TrainingRays, frames: Frames, weights: ViewsegLossWeights, is_aligned: bool = False
) -> dict[str, Float[Tensor, ""]]:
    """Losses of rays by name (Qian et al. 2021, equations (4) to (6)); the sum over both passes.

    Args:
        rays: the rays.
        frames: the frames of their kind, with images, labels and depth.
        weights: weights of the losses.
        is_aligned: whether colours are read as the released code reads them, see `Compat.aligned_corners`.
    """
    rgb = read_maps(frames.images[rays.number, None], rays.xy[None], is_aligned)[0]
    labels: Int64[Tensor, "rays"] = nearest_pixels(frames.labels[rays.number], rays.xy)
    is_used = are_used(None if frames.masks is None else frames.masks[rays.number, None], rays.xy[None])[0]
    factor = weights.source_view if rays.kind == "source" else 1.0

    def summed(losses: list[Tensor]) -> Tensor:
        return factor * torch.stack(losses).sum()

    found = {
        "color_loss": weights.color * summed([masked_mse(one.rgb, rgb, is_used) for one in rays.passes]),
        "semantic_loss": weights.semantic * summed([class_loss(one.logits, labels) for one in rays.passes]),
    }
    if weights.depth > 0 and frames.depths_m is not None:
        depth = nearest_pixels(frames.depths_m[rays.number], rays.xy)
        errors = [((one.depth - depth).abs() * (depth > 0)).sum() for one in rays.passes]
        found["depth_loss"] = weights.depth * summed(errors) / (depth > 0).sum().clamp(min=1)
    return {f"{rays.kind}_{name}": loss for name, loss in found.items()}
