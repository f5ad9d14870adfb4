"""Whether Gaussians of a file lie where the scene is: what they show beside a few of its images."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from semantic_ns.splatting.fit import View
from semantic_ns.splatting.project import Gaussians, every_nth, project
from semantic_ns.splatting.rasterize import rasterize

_NUM_IMAGES = 8
_NUM_PIXELS = 20_000
"""Pixels of an image that are compared, about."""
_OPAQUE = 0.5
_LEAST_COVERED = 0.05
"""Share of the pixels of an image that has to be covered, or there is nothing to compare."""
_LEAST_VISIBLE = 0.05
_ALIKE, _UNLIKE = 0.5, 0.2
"""Correlation with the images from which on Gaussians are right, and below which they are likely wrong: in rooms of
Replica and ScanNet right ones had .5 to .97, however sparse, coarse, dark or translucent, those of wrong frames -.3 to
.5, but for frames that were only scaled by a fifth, which `fitting_scale` finds."""
_WRONG_DB = 18.0
"""Images with so little in them that any picture has a PSNR above this say nothing of where it was taken."""
_CLEARLY_BETTER_DB = 3.0
_SCALE_STEPS = 1.04, 1.02, 1.01
"""Factors by which another scale is looked for, and then found more closely. In a room of Replica the PSNR of Gaussians
that fit is 6 dB above that of a scale 3 % off, and falls further on either side as far as a fifth away."""
_LARGEST_SCALE = 1.5


@dataclass(frozen=True)
class Likeness:
    """How Gaussians look beside the images of a scene.

    Attributes:
        visible: share of the Gaussians that some camera sees.
        psnr: PSNR of what they cover, the median over images, dB; minus infinity where they cover nothing.
        plain_psnr: that of one colour for each image.
        correlation: correlation of the brightness of pixels, whatever the exposure, the median over images.
    """

    visible: float
    psnr: float = -math.inf
    plain_psnr: float = 0.0
    correlation: float = 0.0

    @property
    def is_alike(self) -> bool:
        """Whether the Gaussians show what the images do."""
        return self.is_seen and self.correlation >= _ALIKE

    @property
    def is_seen(self) -> bool:
        """Whether the cameras see more than a few of the Gaussians."""
        return self.visible >= _LEAST_VISIBLE

    @property
    def is_unlike(self) -> bool:
        """Whether they show something else for sure: less like the images than one colour, and without their shapes."""
        has_shapes = self.correlation >= _UNLIKE
        return math.isfinite(self.psnr) and not has_shapes and self.psnr < min(self.plain_psnr, _WRONG_DB)

    def is_clearly_better(self, other: "Likeness") -> bool:
        """Whether these Gaussians are alike, and much more so than others."""
        return self.is_alike and self.psnr >= other.psnr + _CLEARLY_BETTER_DB


@torch.no_grad()
def likeness(gaussians: Gaussians, colors: Float[Tensor, "gaussians 3"], views: Sequence[View]) -> Likeness:
    """Compare what Gaussians show with some of the images, where they cover a part of them.

    Args:
        gaussians: the Gaussians, in the units of the cameras.
        colors: their colours.
        views: the images.
    """
    is_visible = torch.zeros(len(gaussians), dtype=torch.bool)
    for view in views:
        is_visible |= project(gaussians, view.camera).reach[:, 0] > 0
    visible = float(is_visible.float().mean())
    chosen = _evenly(len(views), _NUM_IMAGES)
    compared = [found for index in chosen if (found := _compared(gaussians, colors, views[index])) is not None]
    return Likeness(visible, *np.median(compared, axis=0).tolist()) if compared else Likeness(visible)


@torch.no_grad()
def fitting_scale(
    scaled: Callable[[float], Gaussians], colors: Float[Tensor, "gaussians 3"], views: Sequence[View]
) -> tuple[float, Likeness, Likeness]:
    """The scale at which Gaussians look most like the images; 1 where none near it is better.

    It goes with how they look there, and at 1, beside the same few images.

    Args:
        scaled: gives the Gaussians in the units of the cameras, as they are at a scale of their file's coordinates.
        colors: their colours.
        views: the images.
    """
    chosen = [views[index] for index in _evenly(len(views), _NUM_IMAGES // 2)]

    def look(scale: float) -> Likeness:
        return likeness(scaled(scale), colors, chosen)

    best, found = 1.0, (as_they_are := look(1.0))
    for step in _SCALE_STEPS:
        for factor in (step, 1 / step):
            while 1 / _LARGEST_SCALE < best * factor < _LARGEST_SCALE:
                other = look(best * factor)
                if other.psnr <= found.psnr:
                    break
                best, found = best * factor, other
        if best == 1:  # smaller steps tell nothing that is worth a word
            break
    return best, found, as_they_are


def _evenly(count: int, number: int) -> list[int]:
    """Numbers below a count, evenly over them, of which there are a given number if there are so many."""
    return np.unique(np.linspace(0, count - 1, number).round().astype(int)).tolist()


def _compared(gaussians: Gaussians, colors: Tensor, view: View) -> tuple[float, float, float] | None:
    """PSNR, that of one colour, and correlation of an image; None where hardly anything of it is covered."""
    stride = max(1, math.isqrt(view.camera.height * view.camera.width // _NUM_PIXELS))
    image, _, opacity = rasterize(gaussians, colors, every_nth(view.camera, stride))
    truth, alpha = view.before(torch.zeros(3))[::stride, ::stride], view.alpha
    is_used = opacity >= _OPAQUE
    if alpha is None:
        image = image / opacity.clamp(min=_OPAQUE)[..., None]
    else:  # where the image shows something, and the Gaussians nothing, they differ
        is_used = is_used | (alpha[::stride, ::stride] >= _OPAQUE)
    if view.mask is not None:
        is_used = is_used & view.mask[::stride, ::stride]
    if float(is_used.float().mean()) < _LEAST_COVERED:
        return None
    found, true = image.clamp(0, 1)[is_used], truth[is_used]
    grey, true_grey = (colors.mean(dim=1) - colors.mean() for colors in (found, true))
    product = float((grey * true_grey).sum())
    correlation = product / max(float(grey.norm() * true_grey.norm()), 1e-12)
    return _psnr(found, true), _psnr(true.mean(dim=0).expand_as(true), true), correlation


def _psnr(image: Tensor, truth: Tensor) -> float:
    return -10 * math.log10(float((image - truth).square().mean()) + 1e-12)
