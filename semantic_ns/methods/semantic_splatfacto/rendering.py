"""Images of the Gaussians of a model, on either device."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from jaxtyping import Float, Int64
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from semantic_ns.batch import CLASSLESS, LOGITS, PLANAR_DEPTH
from semantic_ns.export.splat import pinhole_camera
from semantic_ns.methods.semantic_splatfacto.datamanager import SUMMED_DEPTH
from semantic_ns.methods.semantic_splatfacto.painted_classes import SUMMED_PAINT
from semantic_ns.splatting import classes_numba
from semantic_ns.splatting.classes import LEAST_SHARE, are_classless
from semantic_ns.splatting.fit import View, color_loss, depth_loss
from semantic_ns.splatting.frame_memory import FrameMemory
from semantic_ns.splatting.memory import memory_errors_as_scene_error
from semantic_ns.splatting.project import Gaussians
from semantic_ns.splatting.rasterize import draw, fill_light, rasterize

if TYPE_CHECKING:
    from semantic_ns.methods.semantic_splatfacto.model import SemanticSplatfactoModel

_LEAST_PROBABILITY = 1e-6
_LEAST_OPACITY = 1e-6


@dataclass(frozen=True, eq=False)
class SplatImage:
    """What one camera sees.

    Attributes:
        rgb: colours, holes filled or before the background.
        probabilities: class probabilities, composited, which need not add up to 1; of no class if they are not wanted.
        depth: planar depth, summed by rendering weight, scene units.
        opacity: share of the light that is stopped.
        coarse: probabilities in half the size, which fill the holes of those that were not filled.
    """

    rgb: Float[Tensor, "height width 3"]
    probabilities: Float[Tensor, "height width classes"]
    depth: Float[Tensor, "height width"]
    opacity: Float[Tensor, "height width"]
    coarse: Float[Tensor, "half_height half_width classes"] | None = None


@torch.no_grad()
def gaussians_on_cpu(model: "SemanticSplatfactoModel") -> tuple[Gaussians, Float[Tensor, "gaussians 3"]]:
    """The Gaussians of a model in CPU memory, and their colours from no side in particular."""
    return model.gaussians().each(lambda part: part.detach().cpu()), model.colors.detach().cpu().float()


def _cropped(model: "SemanticSplatfactoModel") -> Tensor | None:
    """Which Gaussians the viewer's box holds; None without a box."""
    return None if model.crop_box is None else model.crop_box.within(model.means).view(-1)


def _fills_holes(model: "SemanticSplatfactoModel") -> bool:
    return model.config.fill_holes and model.crop_box is None and not model.has_transparency


@torch.no_grad()
def on_cpu(
    model: "SemanticSplatfactoModel",
    camera: Cameras,
    memory: FrameMemory,
    classes: Literal["all", "likeliest", "none"] = "all",
) -> SplatImage:
    """Render one camera [1] by the kernels of this package, in memory that the next frame overwrites.

    Args:
        model: the model.
        camera: the camera.
        memory: the memory.
        classes: whose probabilities there are: all of them, or those of no class; or all, whose holes are filled in
            `coarse` alone, which is enough for :func:`most_likely_classes`.
    """
    position, inside = camera.camera_to_worlds[0, :, 3], _cropped(model)
    probabilities = model.class_probabilities if classes != "none" else model.class_probabilities[:, :0]
    gaussians = Gaussians(
        model.means.detach(),
        model.quats.detach(),
        torch.exp(model.scales.detach(), out=memory.take("scales", model.num_points, 3)),
        torch.sigmoid(model.opacities.detach(), out=memory.take("opacities", model.num_points, 1))[:, 0],
        blur=model.blur,
    )
    if inside is not None:
        gaussians, probabilities = gaussians.each(lambda part: part[inside]), probabilities[inside]
        inside = inside.nonzero()[:, 0]

    def features_of(rows: Tensor) -> list[Tensor]:
        return [model.seen_colors(position, rows if inside is None else inside[rows])]

    fills = "nothing" if not _fills_holes(model) else "features" if classes == "likeliest" else "all"
    pinhole = pinhole_camera(camera[0])
    frame = draw(gaussians, features_of, pinhole, memory, model.is_antialiased, probabilities, fills)
    rgb, seen, coarse = frame.image[..., :3], frame.image[..., 3:], frame.coarse[..., 3:]
    if fills == "nothing":
        rgb = rgb + (1 - frame.opacity)[..., None] * model.background()
    return SplatImage(rgb, seen, frame.depth, frame.opacity, coarse if fills == "features" else None)


def trained_on_cpu(model: "SemanticSplatfactoModel", camera: Cameras) -> dict[str, Tensor]:
    """Colour, opacity, summed depth and, where any, paint of one camera [1], through which gradients pass, by name."""
    colors, painted = model.seen_colors(camera.camera_to_worlds[0, :, 3]), model.painted.features
    if model._training_views is not None:
        colors = model.first_colors.held(colors, camera, len(model._training_views.views))
    image, depth, opacity = rasterize(
        model.gaussians(),
        torch.cat([colors, *painted], dim=1) if painted else colors,
        pinhole_camera(camera[0]),
        is_antialiased=model.is_antialiased,
    )
    background = model.background()
    outputs = {
        "rgb": image[..., :3] + (1 - opacity)[..., None] * background,
        "accumulation": opacity[..., None],
        SUMMED_DEPTH: depth,
        "background": background,
    }
    return outputs | {SUMMED_PAINT: image[..., 3:]} if painted else outputs


def losses_on_cpu(
    outputs: Mapping[str, Tensor], truth: Float[Tensor, "height width 3"], view: View | None, depth_weight: float
) -> dict[str, Tensor]:
    """Losses of what :func:`trained_on_cpu` gives, beside the image as it should be.

    Args:
        outputs: the rendered image.
        truth: the image, before the same background.
        view: the training image; None for a scored one.
        depth_weight: weight of the error of depth, where the image has depth.
    """
    losses = {"color_loss": color_loss(outputs["rgb"], truth, None if view is None else view.mask)}
    if view is not None and view.depth is not None and depth_weight > 0:
        opacity = outputs["accumulation"][..., 0]
        losses["depth_loss"] = depth_weight * depth_loss(outputs[SUMMED_DEPTH], opacity, view.depth, view.mask)
    return losses


def on_cuda(model: "SemanticSplatfactoModel", camera: Cameras) -> SplatImage:
    """Render one camera [1] by gsplat: colours as splatfacto, classes as features of more channels."""
    from gsplat.rendering import rasterization
    from nerfstudio.models.splatfacto import SplatfactoModel, get_viewmat

    outputs: Any = SplatfactoModel.get_outputs(model, camera)
    # Of a crop that holds nothing they lie where the viewer's colour does, which is no matter of the device.
    outputs = {name: value.to(model.device) for name, value in outputs.items()}
    opacity = outputs["accumulation"][..., 0]
    depth = outputs["depth"]
    height, width = opacity.shape
    classes = model.class_probabilities
    inside = _cropped(model)
    is_known = len(classes) == model.num_points and (inside is None or bool(inside.any()))
    if not is_known:  # Gaussians were added or removed since
        probabilities = classes.new_zeros(height, width, classes.shape[1])
    else:
        chosen = slice(None) if inside is None else inside
        gaussians = model.gaussians()
        probabilities = rasterization(
            means=gaussians.means[chosen],
            quats=gaussians.quats[chosen],
            scales=gaussians.scales[chosen],
            opacities=gaussians.opacities[chosen],
            colors=classes[chosen],
            viewmats=get_viewmat(camera.camera_to_worlds),
            Ks=camera.get_intrinsics_matrices().to(classes),
            width=width,
            height=height,
            packed=False,
            sh_degree=None,
            rasterize_mode=model.config.rasterize_mode,
        )[0][0]
    rgb = outputs["rgb"]
    if _fills_holes(model):
        light = rgb - (1 - opacity)[..., None] * outputs["background"]
        filled = fill_light(torch.cat([light, probabilities], dim=-1), opacity)
        rgb, probabilities = filled[..., :3], filled[..., 3:]
    return SplatImage(rgb, probabilities, depth[..., 0] * opacity, opacity)


@memory_errors_as_scene_error("an image of the Gaussians")
def rendered(model: "SemanticSplatfactoModel", camera: Cameras, is_on_cpu: bool) -> dict[str, Tensor]:
    """Colour, opacity, distances, logits and planar depth [H, W, c] of a camera [1], by the names of outputs.

    Raises:
        SceneError: they do not fit into memory.
    """
    with model.frame_memories.lent() as memory:
        return _outputs(on_cpu(model, camera, memory) if is_on_cpu else on_cuda(model, camera), camera)


def seen_by(image: SplatImage, camera: Cameras) -> dict[str, Tensor]:
    """Outputs [H, W, c] of an image but for classes, none of which lies in the memory of the image."""
    opacity = image.opacity[..., None]
    planar = image.depth[..., None] / opacity.clamp(min=_LEAST_OPACITY)
    # Where there is nothing, it is as far as the farthest.
    planar = planar.where(opacity > _LEAST_OPACITY, planar.max())
    distance = planar * direction_lengths(camera)
    return {
        "rgb": image.rgb.clamp(0, 1),
        "accumulation": opacity.clone(),
        "depth": distance,
        "expected_depth": distance,
        PLANAR_DEPTH: planar,
    }


def _outputs(image: SplatImage, camera: Cameras) -> dict[str, Tensor]:
    """Outputs of an image, none of which lies in the memory of the image."""
    probabilities = image.probabilities.clamp(min=_LEAST_PROBABILITY)
    return {
        **seen_by(image, camera),
        CLASSLESS: are_classless(image.probabilities, image.opacity)[..., None],
        LOGITS: probabilities.div_(probabilities.sum(dim=-1, keepdim=True)).log_(),
    }


def most_likely_classes(image: SplatImage) -> Int64[Tensor, "height width"]:
    """The class of each pixel that the logits of its outputs have, void (-1) where these are classless; on the CPU."""
    labels = torch.empty(image.opacity.shape, dtype=torch.int64)
    shares = image.probabilities
    coarse = shares[:0] if image.coarse is None else image.coarse
    parts = shares.numpy(), image.opacity.numpy(), coarse.numpy(), _LEAST_PROBABILITY, LEAST_SHARE
    classes_numba.most_likely(*parts, labels.numpy())
    return labels


def direction_lengths(camera: Cameras) -> Float[Tensor, "height width 1"]:
    """Distance along the ray of each pixel per planar depth, of a camera [1]."""
    parts = (camera.fx, camera.fy, camera.cx, camera.cy)
    fx, fy, cx, cy = (part.flatten()[0].float().cpu() for part in parts)
    x = (torch.arange(int(camera.width[0])) + 0.5 - cx) / fx
    y = (torch.arange(int(camera.height[0])) + 0.5 - cy) / fy
    return (1 + x[None, :] ** 2 + y[:, None] ** 2).sqrt()[..., None].to(camera.device)
