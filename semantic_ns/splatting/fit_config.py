"""How Gaussians are trained, for all that train them; it compiles no kernels, which registration must not."""

from dataclasses import dataclass

DEPTH_WEIGHT = 0.02
"""Weight of the relative error of depth beside that of colour."""
OUTLINE_WEIGHT = 0.3
"""Weight of the error of what the classes of Gaussians look like beside that of colour."""
FIRST_COLOR_WEIGHT = 2.4
"""How many pixels the colour counts for that a Gaussian at a depth image began with, beside those of all images."""
COMMON_BLUR = 0.3
"""Blur of gsplat, and of most viewers of Gaussians (Kerbl et al. 2023), pixels²."""
FINE_BLUR = 0.05
"""Blur with which Gaussians that begin at depth images keep thin things thin, pixels²; a pixel itself has 1/12."""
BLUR_RANGE = 0.03, 10.0
"""Blurs that are drawn right: below it long thin Gaussians lose their digits in single precision."""
ADAM_BETAS = 0.9, 0.99
ADAM_EPSILON = 1e-15
SH_0 = 0.28209479177387814
"""The spherical harmonic of degree 0: a colour is 0.5 more than its coefficient times this."""


@dataclass(frozen=True)
class FitConfig:
    """How Gaussians are trained.

    Attributes:
        steps: number of images that are rendered.
        mean_rate: learning rate of the means over the median scale of the Gaussians.
        scale_rate: that of the logarithms of the scales.
        quat_rate: that of the quaternions.
        opacity_rate: that of the logits of the opacities.
        color_rate: that of the colours.
        constant_share: share of the steps before the rates begin to fall.
        last_rate: rates of the last step over those of the first.
        seed: draws the order of the images.
        holds_colors: whether colours are drawn back to the first ones, see `splatting.held_colors`.
    """

    steps: int = 1000
    mean_rate: float = 0.06
    scale_rate: float = 2e-2
    quat_rate: float = 1e-2
    opacity_rate: float = 5e-2
    color_rate: float = 1e-2
    constant_share: float = 0.3
    last_rate: float = 0.05
    seed: int = 42
    holds_colors: bool = True

    def rate(self, step: int) -> float:
        """The rates of a step over those of the first; after the last step they stay."""
        passed = min(1.0, step / max(self.steps, 1))
        return self.last_rate ** max(0.0, (passed - self.constant_share) / max(1 - self.constant_share, 1e-9))


def is_blur(value: float) -> bool:
    """Whether a variance in pixels² is one that images can add; not a number is none."""
    return BLUR_RANGE[0] <= value <= BLUR_RANGE[1]
