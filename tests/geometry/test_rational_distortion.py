"""A lens distortion by a fraction and the polynomial in its place send the points of an image to the same pixels."""

import math

import numpy as np
import pytest

from semantic_ns.geometry.rational_distortion import as_polynomial, radial_factor

LENSES = {
    "none": (0.0,) * 6,
    "a polynomial": (0.1, -0.05, 0.01, 0.0, 0.0, 0.0),
    "k5 alone": (0.1, 0.0, 0.0, 0.0, 0.1, 0.0),
    "a calibrated lens": (-0.25, 0.09, 0.004, 0.12, -0.02, 0.011),
    "a strong one": (0.5, 0.2, 0.05, 0.9, 0.3, 0.05),
}


def factor_at(lens: tuple[float, ...], radius: float) -> float:
    k1, k2, k3, k4, k5, k6 = lens
    above = 1 + k1 * radius**2 + k2 * radius**4 + k3 * radius**6
    return above / (1 + k4 * radius**2 + k5 * radius**4 + k6 * radius**6)


def undistorted_radius(lens: tuple[float, ...], distorted: float) -> float:
    """By halving an interval in which the distorted radius grows."""
    low, high = 0.0, 3.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if middle * factor_at(lens, middle) < distorted else (low, middle)
    return low


@pytest.mark.parametrize("name", LENSES)
def test_the_polynomial_sends_every_point_of_the_image_to_within_a_tenth_of_a_pixel(name: str) -> None:
    lens, focal_px, edge = LENSES[name], 500.0, 0.7
    found = as_polynomial(lens, edge, focal_px)
    assert found is not None
    errors = []
    for place in range(1, 101):
        radius = undistorted_radius(lens, edge * place / 100)
        polynomial = 1 + sum(k * radius ** (2 * power) for power, k in enumerate(found.coefficients, 1))
        errors.append(abs(radius * (polynomial - factor_at(lens, radius))) * focal_px)
    assert max(errors) <= 0.1
    assert max(errors) <= found.error_px * 1.01 + 1e-9
    if name in {"none", "a polynomial"}:
        assert found.coefficients == pytest.approx((*lens[:3], 0.0), abs=1e-6)


def test_the_factor_is_the_fraction() -> None:
    radii = np.linspace(0, 1, 11)
    for lens in LENSES.values():
        expected = [factor_at(lens, radius) for radius in radii]
        np.testing.assert_allclose(radial_factor(lens, radii**2), expected, rtol=1e-12)


@pytest.mark.parametrize("lens", [
    (0.0, 0.0, 0.0, -9.0, 0.0, 0.0),  # the divisor is 0 at a third of the focal length
    (-1.0, 0.0, 0.0, 0.0, 0.0, 0.0),  # turns back before the edge
    (0.0, 0.0, 0.0, 0.0, 0.0, 1e12),
    (math.nan, 0.0, 0.0, 0.0, 0.0, 0.0),
])  # fmt: skip
def test_a_fraction_that_maps_the_image_on_nothing_has_no_polynomial(lens: tuple[float, ...]) -> None:
    assert as_polynomial(lens, 0.7, 500.0) is None


def test_a_fraction_of_which_no_polynomial_is_near_has_none() -> None:
    lens = (0.0, 0.0, 0.0, 8.0, 3.0, 0.0)
    assert as_polynomial((0.9 * 8, 0.9 * 3, 0.4, *lens[3:]), 1.5, 1e5) is None
