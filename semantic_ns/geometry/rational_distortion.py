"""Lens distortion by a fraction of polynomials as one by a polynomial, which is what nerfstudio has."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

LARGEST_ERROR_PX = 0.1
_NUM_RADII = 512
_WIDEST = 5.0  # tangent of 79 degrees, beyond which no lens of this model is made
_MARGIN = 1.02  # of the radius, since tangential distortion moves points outwards, too


@dataclass(frozen=True)
class PolynomialDistortion:
    """Radial distortion by the factor 1 + k1 r^2 + k2 r^4 + k3 r^6 + k4 r^8.

    Attributes:
        coefficients: k1, k2, k3, k4.
        error_px: largest distance between the places that it and the fraction give to a point of the image, in pixels.
    """

    coefficients: tuple[float, float, float, float]
    error_px: float


def radial_factor(coefficients: Sequence[float], squares: Float64[ndarray, "radii"]) -> Float64[ndarray, "radii"]:
    """The factor (1 + k1 r^2 + k2 r^4 + k3 r^6) / (1 + k4 r^2 + k5 r^4 + k6 r^6) of OpenCV's rational model.

    Args:
        coefficients: k1 to k6.
        squares: squared radii r^2 of points before the distortion, at depth 1.
    """
    k1, k2, k3, k4, k5, k6 = coefficients
    powers = np.stack([squares, squares**2, squares**3])
    return (1 + np.array([k1, k2, k3]) @ powers) / (1 + np.array([k4, k5, k6]) @ powers)


def as_polynomial(coefficients: Sequence[float], radius: float, focal_px: float) -> PolynomialDistortion | None:
    """The polynomial that is nearest to a rational distortion over an image, with k4 = 0 where that is near enough.

    Args:
        coefficients: k1 to k6 of `radial_factor`.
        radius: largest radius of a point of the image after the distortion, at depth 1.
        focal_px: focal length in pixels, the larger one where there are two.

    Returns:
        The polynomial; None where the fraction does not map radii one to one as far as the edge of the image, or no
        polynomial comes nearer than `LARGEST_ERROR_PX`.
    """
    radii = np.linspace(0, _WIDEST, 64 * _NUM_RADII)
    with np.errstate(all="ignore"):
        distorted = radii * radial_factor(coefficients, radii**2)
        is_beyond = ~(distorted < radius * _MARGIN)
    end = int(is_beyond.argmax())
    if not is_beyond.any() or not np.isfinite(distorted[end]) or (np.diff(distorted[: end + 1]) <= 0).any():
        return None
    used = np.linspace(0, radii[end], _NUM_RADII)
    factor = radial_factor(coefficients, used**2)
    for count in (3, 4):
        powers = np.stack([used ** (2 * power) for power in range(1, count + 1)], axis=1)
        weighted = powers * used[:, None]
        # Columns of one length, since the powers differ by orders of magnitude.
        lengths = np.linalg.norm(weighted, axis=0)
        found = np.linalg.lstsq(weighted / lengths, used * (factor - 1), rcond=None)[0] / lengths
        error_px = float(np.abs(used * (1 + powers @ found - factor)).max() * focal_px)
        if error_px <= LARGEST_ERROR_PX:
            k1, k2, k3, k4 = (*found.tolist(), 0.0)[:4]
            return PolynomialDistortion((k1, k2, k3, k4), error_px)
    return None
