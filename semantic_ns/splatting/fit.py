"""Gaussians that look like posed images: their parameters are trained by rendering, one image at a time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from semantic_ns.errors import SceneError
from semantic_ns.splatting.fit_config import DEPTH_WEIGHT, OUTLINE_WEIGHT, FitConfig
from semantic_ns.splatting.held_colors import held
from semantic_ns.splatting.outlines import Outlines, outline_loss
from semantic_ns.splatting.project import Gaussians, PinholeCamera
from semantic_ns.splatting.rasterize import rasterize
from semantic_ns.splatting.sparse_adam import Moments, step_rows

_COLOR_WEIGHT = 3.0
_LEAST_OPACITY = 0.01
_WITH_ALPHA = 4
"""Channels of an image that has an opacity."""


@dataclass(frozen=True, eq=False)
class View:
    """One image to look like.

    Attributes:
        camera: its camera.
        pixels: three channels of colour, and where not all is opaque a fourth one of opacity, by which the colours are
            not multiplied. They are in 0..1, or bytes of 0..255, which are a quarter as large and stand for the same.
        depth: planar depth in the units of the camera, 0 where unknown; None if all of it is.
        mask: which pixels are used; None for all.
    """

    camera: PinholeCamera
    pixels: Float[Tensor, "height width channels"] | UInt8[Tensor, "height width channels"]
    depth: Float[Tensor, "height width"] | None = None
    mask: Bool[Tensor, "height width"] | None = None

    @property
    def color(self) -> Float[Tensor, "height width 3"]:
        """Colours in 0..1, of bytes made anew each time."""
        return _in_floats(self.pixels[..., :3])

    @property
    def has_alpha(self) -> bool:
        """Whether pixels have an opacity; without one all are opaque."""
        return self.pixels.shape[-1] == _WITH_ALPHA

    @property
    def alpha(self) -> Float[Tensor, "height width"] | None:
        """Opacity of the pixels in 0..1, of bytes made anew each time; None where all are opaque."""
        return _in_floats(self.pixels[..., 3]) if self.has_alpha else None

    def in_floats(self) -> "View":
        """This view with pixels in 0..1, for who looks at them more than once."""
        return replace(self, pixels=_in_floats(self.pixels))

    def color_where(self, chosen: Bool[Tensor, "height width"]) -> Float[Tensor, "pixels 3"]:
        """Colours in 0..1 of some pixels."""
        return _in_floats(self.pixels[chosen][:, :3])

    def before(self, background: Float[Tensor, "3"]) -> Float[Tensor, "height width 3"]:
        """Its colours before a background."""
        alpha, color = self.alpha, self.color
        return color if alpha is None else background + alpha[..., None] * (color - background)


def _in_floats(pixels: Tensor) -> Tensor:
    return pixels / 255 if pixels.dtype == torch.uint8 else pixels


def fit(
    gaussians: Gaussians,
    colors: Float[Tensor, "gaussians 3"],
    views: Sequence[View],
    config: FitConfig | None = None,
    after_step: Callable[[int], None] = lambda _: None,
    outlines: Outlines | None = None,
) -> tuple[Gaussians, Float[Tensor, "kept 3"]]:
    """Train Gaussians and their colours on images.

    The loss of an image is 3 |c - c'|² over used pixels, divided by all. Where depth d is known, 0.02 |z - A d| / d
    is added, with summed depth z and opacity A, and of outlines 0.3 times their loss. If asked for, colours are drawn
    back to the first ones, see `splatting.held_colors`. Behind the Gaussians lies another colour in each step, so that
    surfaces become opaque. Each step trains what its image shows (Kerbl et al. 2023 train all). What is hardly opaque
    afterwards is left out.

    Args:
        gaussians: the Gaussians to begin with; they keep their blur.
        colors: their colours.
        views: the images.
        config: how they are trained.
        after_step: called with the number of each step.
        outlines: classes whose outlines the Gaussians are to follow.

    Raises:
        SceneError: there is no image, or no Gaussian is left.
    """
    if not views:
        raise SceneError("Expected images to train Gaussians on, found none; choose a scene with training frames.")
    config = config or FitConfig()
    state = _State(gaussians, colors, config, outlines, len(views))
    generator = np.random.default_rng(config.seed)
    order: list[int] = []
    for step in range(config.steps):
        order = order or generator.permutation(len(views)).tolist()
        background = torch.from_numpy(generator.random(3, np.float32))
        number = order.pop()
        labels = None if outlines is None else outlines.labels[number]
        state.step(views[number], background, config.rate(step), labels)
        after_step(step)
    return state.result()


def view_loss(view: View, background: Tensor, image: Tensor, depth: Tensor, opacity: Tensor) -> Float[Tensor, ""]:
    """The loss of an image as it is rendered: a background, colours before it, summed depth and opacity."""
    loss = color_loss(image, view.before(background), view.mask)
    if view.depth is not None:
        loss = loss + DEPTH_WEIGHT * depth_loss(depth, opacity, view.depth, view.mask)
    return loss


def color_loss(
    image: Float[Tensor, "height width 3"],
    color: Float[Tensor, "height width 3"],
    mask: Bool[Tensor, "height width"] | None,
) -> Float[Tensor, ""]:
    """3 |c - c'|² of used pixels over the number of all, with the mean over channels in |.|²."""
    error = (image - color).square().mean(dim=-1)
    return _COLOR_WEIGHT * (error if mask is None else error * mask).mean()


def depth_loss(
    summed: Float[Tensor, "height width"],
    opacity: Float[Tensor, "height width"],
    depth: Float[Tensor, "height width"],
    mask: Bool[Tensor, "height width"] | None,
) -> Float[Tensor, ""]:
    """|z - A d| / d of used pixels of known depth d over the number of all, with summed depth z and opacity A."""
    is_known = depth > 0 if mask is None else (depth > 0) & mask
    off = (summed - opacity * depth).abs() / depth.where(is_known, 1.0)
    return off.where(is_known, 0.0).mean()


class _State:
    """Parameters as they are trained, and Adam's moments of them."""

    def __init__(
        self, gaussians: Gaussians, colors: Tensor, config: FitConfig, outlines: Outlines | None, num_views: int
    ) -> None:
        self.outlines, self.num_views = outlines, num_views
        self.first_colors, self.blur = colors if config.holds_colors else None, gaussians.blur
        typical = float(gaussians.scales.median())
        self.parameters = {
            "means": gaussians.means.clone(),
            "quats": gaussians.quats.clone(),
            "scales": gaussians.scales.clamp(min=1e-8).log(),
            "opacities": torch.logit(gaussians.opacities, eps=1e-4)[:, None],
            "colors": colors.clone(),
        }
        self.rates = {
            "means": config.mean_rate * typical,
            "quats": config.quat_rate,
            "scales": config.scale_rate,
            "opacities": config.opacity_rate,
            "colors": config.color_rate,
        }
        self.turns = torch.zeros(len(gaussians))
        self.moments = {
            name: Moments(torch.zeros_like(p), torch.zeros_like(p), self.turns) for name, p in self.parameters.items()
        }

    def gaussians(self) -> Gaussians:
        p = self.parameters
        return Gaussians(p["means"], p["quats"], p["scales"].exp(), p["opacities"].sigmoid()[:, 0], blur=self.blur)

    def step(self, view: View, background: Tensor, factor: float, labels: Tensor | None = None) -> None:
        for parameter in self.parameters.values():
            parameter.requires_grad_().grad = None
        colors, outlines = self.parameters["colors"], self.outlines
        if self.first_colors is not None:
            num_pixels = view.camera.height * view.camera.width
            colors = held(colors, self.first_colors, num_pixels, self.num_views)
        features = colors if outlines is None else torch.cat([colors, outlines.of_gaussians], dim=1)
        image, depth, opacity = rasterize(self.gaussians(), features, view.camera)
        seen = image[..., :3] + (1 - opacity)[..., None] * background
        loss = view_loss(view, background, seen, depth, opacity)
        if outlines is not None and labels is not None:
            loss = loss + OUTLINE_WEIGHT * outline_loss(image[..., 3:], opacity, labels, outlines.of_classes)
        loss.backward()
        visible = self.parameters["opacities"].grad[:, 0].nonzero()[:, 0]  # pyright: ignore[reportOptionalSubscript]
        self.turns[visible] += 1
        for name, parameter in self.parameters.items():
            assert parameter.grad is not None
            step_rows(parameter, parameter.grad, self.moments[name], visible, self.rates[name] * factor)

    @torch.no_grad()
    def result(self) -> tuple[Gaussians, Tensor]:
        found, colors = self.gaussians(), self.parameters["colors"].detach()
        parts = found.means, found.quats, found.scales, colors
        is_kept = found.opacities > _LEAST_OPACITY
        for part in parts:
            is_kept = is_kept & part.isfinite().all(dim=-1)
        if not bool(is_kept.any()):
            raise SceneError(
                "Expected Gaussians after training, found none that is opaque; the images do not show what the points "
                "say, check poses and depth with sns-doctor."
            )
        return found.each(lambda part: part[is_kept].detach()), colors[is_kept]
