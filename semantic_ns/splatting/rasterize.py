"""Images of Gaussians: those that gradients pass through, and frames in memory that is kept."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from semantic_ns.geometry import pull_and_push_numba
from semantic_ns.geometry.pull_and_push import pull_and_push
from semantic_ns.splatting.composite import Tiles
from semantic_ns.splatting.frame_memory import FrameMemory
from semantic_ns.splatting.project import (
    NEAR,
    Gaussians,
    PinholeCamera,
    ProjectedGradients,
    project,
    project_backward,
)

_LEAST_OPACITY = 1e-8


class Frame(NamedTuple):
    """What one camera sees, in memory that the next frame overwrites.

    Attributes:
        image: features [H, W, C], composited.
        depth: sum of planar depths by rendering weight [H, W].
        opacity: share of the light that is stopped [H, W].
        coarse: the image of half the size without holes [H / 2, W / 2, C]; without pixels if nothing was filled.
    """

    image: Tensor
    depth: Tensor
    opacity: Tensor
    coarse: Tensor


def rasterize(
    gaussians: Gaussians,
    features: Float[Tensor, "gaussians channels"],
    camera: PinholeCamera,
    near: float = NEAR,
    is_antialiased: bool = False,
) -> tuple[Float[Tensor, "height width channels"], Float[Tensor, "height width"], Float[Tensor, "height width"]]:
    """Image of features, sum of planar depths by rendering weight, and opacity, on the CPU.

    The expected depth of a pixel is its summed depth over its opacity. Gradients of first order pass to means,
    quaternions, scales, opacities and features.

    Args:
        gaussians: the Gaussians.
        features: colours, or whatever is to be composited.
        camera: the camera.
        near: planar depth below which nothing is visible.
        is_antialiased: whether small Gaussians are fainter, as in gsplat's antialiased mode.
    """
    constants = camera, near, is_antialiased, gaussians.blur
    image, left = _Rasterize.apply(*gaussians.parts, features, *constants)  # pyright: ignore[reportGeneralTypeIssues]
    return image[..., :-1], image[..., -1], 1 - left


@torch.no_grad()
def draw(
    gaussians: Gaussians,
    features_of: Callable[[Int[Tensor, "visible"]], Sequence[Float[Tensor, "visible _channels"]]],
    camera: PinholeCamera,
    memory: FrameMemory,
    is_antialiased: bool = False,
    more: Float[Tensor, "gaussians further"] | None = None,
    fills: Literal["nothing", "features", "all"] = "nothing",
) -> Frame:
    """What :func:`rasterize` gives, to the bit, without gradients, in memory that the next frame overwrites.

    Args:
        gaussians: the Gaussians.
        features_of: gives what is to be composited, its channels in turn, of the Gaussians that are visible.
        camera: the camera.
        memory: where the result lies, and all on the way to it.
        is_antialiased: whether small Gaussians are fainter, as in gsplat's antialiased mode.
        more: features of all Gaussians, most of which are 0, such as classes; they are not copied, and their channels
            come last.
        fills: which channels of the image are as :func:`fill_light` makes them; depth is never filled.
    """
    projected = project(gaussians, camera, is_antialiased=is_antialiased, memory=memory)
    tiles = Tiles.of(projected, camera.height, camera.width, memory)
    rows = tiles.visible
    depths = torch.index_select(projected.depths, 0, rows, out=memory.take("depths of visible", len(rows)))
    features = tiles.gathered([depths[:, None], *features_of(rows)], memory)
    image, left = tiles.composite(features, memory, more)
    opacity, depth = torch.neg(left, out=memory.take("opacity", *left.shape)).add_(1), image[..., 0]
    coarse = image[:0]
    if fills != "nothing":
        last = features.shape[1] if fills == "features" else image.shape[2]
        coarse = _fill_in_place(image, opacity, memory, kept=1, last=last)
    return Frame(image[..., 1:], depth, opacity, coarse[..., 1:])


@torch.no_grad()
def fill_light(
    image: Float[Tensor, "height width channels"], opacity: Float[Tensor, "height width"]
) -> Float[Tensor, "height width channels"]:
    """An image without holes: light that no Gaussian stops shows the mean of what lies around.

    Means are taken over ever larger windows, by opacity (Gortler et al. 1996, pull and push). An image in which nothing
    is opaque stays empty.

    Args:
        image: composited features.
        opacity: their opacity.
    """
    if image.device.type != "cpu" or image.dtype != torch.float32:
        return pull_and_push(image.permute(2, 0, 1), opacity, is_saturated=False).permute(1, 2, 0)
    filled = image.clone(memory_format=torch.contiguous_format)
    _fill_in_place(filled, opacity.contiguous(), FrameMemory(), kept=0, last=image.shape[2])
    return filled


def _fill_in_place(
    image: Float[Tensor, "height width channels"],
    opacity: Float[Tensor, "height width"],
    memory: FrameMemory,
    kept: int,
    last: int,
) -> Float[Tensor, "half_height half_width channels"]:
    """:func:`fill_light` by a kernel, on memory without gaps, of the channels from `kept` to `last`.

    Returns:
        The image of half the size, rounded up, filled in all channels but those kept; none of a single pixel.
    """
    height, width, channels = image.shape
    num_levels = max(height - 1, width - 1).bit_length()
    if num_levels == 0:
        image[..., kept:].div_(opacity.clamp(min=_LEAST_OPACITY)[..., None])
        return image[:0]
    count = sum(-(-height >> k) * -(-width >> k) for k in range(1, num_levels + 1))
    coarse, weights = memory.take("coarse image", count, channels), memory.take("coarse opacity", count)
    pull_and_push_numba.fill(image.numpy(), opacity.numpy(), kept, last, num_levels, coarse.numpy(), weights.numpy())
    half_height, half_width = -(-height // 2), -(-width // 2)
    return coarse[: half_height * half_width].view(half_height, half_width, channels)


class _Rasterize(torch.autograd.Function):
    """Features and, as the last channel, planar depth."""

    @staticmethod
    def forward(  # noqa: PLR0913, PLR0917  # each tensor that gradients pass to must be an argument
        ctx: Any,
        means: Tensor,
        quats: Tensor,
        scales: Tensor,
        opacities: Tensor,
        features: Tensor,
        camera: PinholeCamera,
        near: float,
        is_antialiased: bool,
        blur: float,
    ) -> tuple[Tensor, Tensor]:
        gaussians = Gaussians(means, quats, scales, opacities, blur=blur)
        projected = project(gaussians, camera, near, is_antialiased)
        tiles = Tiles.of(projected, camera.height, camera.width)
        with_depth = torch.cat([features, projected.depths[:, None]], dim=1)
        image, left = tiles.composite(with_depth)
        ctx.save_for_backward(means, quats, scales, opacities, with_depth, image, left)
        ctx.camera, ctx.tiles, ctx.blur = camera, tiles, blur
        return image, left

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]  # that of torch names no gradients
        ctx: Any, g_image: Tensor, g_left: Tensor
    ) -> tuple[Tensor | None, ...]:
        means, quats, scales, opacities, features, image, left = ctx.saved_tensors
        found = ctx.tiles.backward(features, image, left, g_image, g_left)
        tiles: Tiles = ctx.tiles
        g_features, g_depths = found.features[:, :-1], found.features[:, -1]
        gradients = project_backward(
            Gaussians(means, quats, scales, opacities, blur=ctx.blur),
            ctx.camera,
            tiles.projected,
            tiles.visible,
            ProjectedGradients(found.at, found.conics, g_depths, found.opacities),
        )
        of_gaussians = gradients.means, gradients.quats, gradients.scales, gradients.opacities
        return *of_gaussians, g_features, None, None, None, None
