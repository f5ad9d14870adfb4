"""Linear HDR colour to 8 bit, with one exposure for a whole trajectory.

Hypersim's own previews (Roberts et al. 2021, `scene_generate_images_tonemap.py`) choose the exposure per image: a
percentile of the brightness is mapped to a fixed grey. Then one surface has another colour in every view, which no
radiance field can explain, so here the median of those exposures serves all images of a trajectory.
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float32, UInt8
from numpy import ndarray

_LUMA = np.array([0.3, 0.59, 0.11], np.float32)
_GAMMA = 2.2
_PERCENTILE = 90
_GREY_OF_PERCENTILE = 0.8
_DARKEST = 1e-4


def image_exposure(hdr: Float32[ndarray, "height width 3"], is_valid: Bool[ndarray, "height width"]) -> float:
    """Factor that maps the 90th percentile of the brightness over the valid pixels to the grey 0.8 (after gamma 2.2).

    Args:
        hdr: linear colour; values that are not finite are passed over.
        is_valid: pixels that show geometry.

    Returns:
        `0.8^2.2 / percentile`, or NaN for an image without valid pixels or one that is black (percentile < 1e-4).
    """
    brightness = (hdr @ _LUMA)[is_valid]
    brightness = brightness[np.isfinite(brightness)]
    percentile = float(np.percentile(brightness, _PERCENTILE)) if len(brightness) else 0.0
    return _GREY_OF_PERCENTILE**_GAMMA / percentile if percentile >= _DARKEST else math.nan


def trajectory_exposure(exposures: Sequence[float]) -> float:
    """The exposure of all images of a trajectory: the median of theirs without NaN, 1 if there is none."""
    known = [exposure for exposure in exposures if math.isfinite(exposure)]
    return float(np.median(known)) if known else 1.0


def tone_map(hdr: Float32[ndarray, "height width 3"], exposure: float) -> UInt8[ndarray, "height width 3"]:
    """8 bit colour `255 clip(exposure hdr, 0, 1)^(1 / 2.2)`; NaN is black, infinity is white."""
    linear = np.nan_to_num(hdr * np.float32(exposure), nan=0.0).clip(0, 1)
    return np.rint(255 * linear ** np.float32(1 / _GAMMA)).astype(np.uint8)
