"""Whether a predictor is as often right as it says: expected calibration error, reliability diagram, likelihood."""

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64, UInt8
from numpy import ndarray
from torch import Tensor

from semantic_ns.labels.taxonomy import VOID

NUM_BINS = 15
SMALLEST_PROBABILITY = 1e-6
"""Of the true class: without it a single certain error makes the likelihood of a scene 0."""


def _no_pixels() -> Float64[Tensor, "bins"]:
    return torch.zeros(NUM_BINS, dtype=torch.float64)


@dataclass(frozen=True)
class CalibrationSums:
    """Sums over pixels by the probability of their predicted class; those of several images add up.

    The bins are (0, 1/15], (1/15, 2/15], ..., (14/15, 1] (Guo et al. 2017, section 2).
    """

    num_pixels: Float64[Tensor, "bins"] = field(default_factory=_no_pixels)
    num_right: Float64[Tensor, "bins"] = field(default_factory=_no_pixels)
    confidence: Float64[Tensor, "bins"] = field(default_factory=_no_pixels)
    """Sum of the probabilities of the predicted classes."""

    def __add__(self, other: "CalibrationSums") -> "CalibrationSums":
        """The sums over both sets of pixels."""
        return CalibrationSums(
            self.num_pixels + other.num_pixels, self.num_right + other.num_right, self.confidence + other.confidence
        )

    @property
    def has_pixels(self) -> bool:
        """Whether a single pixel was scored."""
        return bool(self.num_pixels.any())

    def expected_error(self) -> float:
        """Expected calibration error: |accuracy - confidence| of the bins, weighted by their pixels.

        Guo, Pleiss, Sun, Weinberger: On Calibration of Modern Neural Networks, ICML 2017, equation (3). In [0, 1]; NaN
        without a single pixel.
        """
        if not self.has_pixels:
            return math.nan
        return float((self.num_right - self.confidence).abs().sum() / self.num_pixels.sum())


def calibration_sums(
    confidence: Float[Tensor, "*pixels"], is_right: Bool[Tensor, "*pixels"], is_scored: Bool[Tensor, "*pixels"]
) -> CalibrationSums:
    """Sort the scored pixels into bins.

    Args:
        confidence: probability of the predicted class, in [0, 1].
        is_right: whether that class is the true one.
        is_scored: False where the truth is void.
    """
    chosen = confidence[is_scored].double()
    bins = ((chosen * NUM_BINS).ceil().long() - 1).clamp(0, NUM_BINS - 1)

    def summed(values: Float64[Tensor, "scored"]) -> Float64[Tensor, "bins"]:
        # Of nothing it counts in integers.
        return torch.bincount(bins, values, minlength=NUM_BINS).double().cpu()

    return CalibrationSums(summed(torch.ones_like(chosen)), summed(is_right[is_scored].double()), summed(chosen))


@dataclass(frozen=True)
class LikelihoodSums:
    """Sums over pixels with a true class; those of several images add up."""

    num_pixels: int = 0
    negative_log: float = 0.0
    """Sum of -ln p of the true class, p at least 1e-6."""

    def __add__(self, other: "LikelihoodSums") -> "LikelihoodSums":
        """The sums over both sets of pixels."""
        return LikelihoodSums(self.num_pixels + other.num_pixels, self.negative_log + other.negative_log)

    def mean(self) -> float:
        """Negative log-likelihood per pixel in nats; NaN without a single pixel."""
        return self.negative_log / self.num_pixels if self.num_pixels else math.nan


def likelihood_sums(
    probabilities: Float[Tensor, "*pixels classes"], target: Int64[Tensor, "*pixels"]
) -> LikelihoodSums:
    """Compare distributions with the true classes; void (-1) does not count."""
    is_scored = target != VOID
    likelihood = probabilities[is_scored].gather(-1, target[is_scored][:, None]).double()
    negative_log = -likelihood.clamp(min=SMALLEST_PROBABILITY).log()
    return LikelihoodSums(likelihood.shape[0], float(negative_log.sum()))


def reliability_diagram(sums: CalibrationSums, size_px: int = 480) -> UInt8[ndarray, "height width 3"]:
    """Picture of accuracy over confidence, a bar per bin, above the share of the pixels in each bin.

    Bars below the diagonal say that the predictor is too sure of itself, bars above it that it is not sure enough.
    """
    # Slow to import, and only needed when pictures are made. Without pyplot, which would keep the figure.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    num_pixels = sums.num_pixels.numpy()
    accuracy = sums.num_right.numpy() / np.maximum(num_pixels, 1)
    left, width = np.arange(NUM_BINS) / NUM_BINS, 1 / NUM_BINS
    figure = Figure(figsize=(size_px / 100, size_px / 80), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    above.bar(left, accuracy, width, align="edge", edgecolor="black", color="tab:blue")
    above.plot([0, 1], [0, 1], "--", color="grey")
    above.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy", title=f"ECE {sums.expected_error():.3f}")
    below.bar(left, num_pixels / max(num_pixels.sum(), 1), width, align="edge", edgecolor="black", color="tab:grey")
    below.set(ylim=(0, 1), xlabel="confidence", ylabel="pixels")
    canvas.draw()
    return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])
