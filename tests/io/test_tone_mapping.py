import math

import numpy as np
import pytest

from semantic_ns.io.tone_mapping import image_exposure, tone_map, trajectory_exposure

RNG = np.random.default_rng(0)
EVERY_PIXEL = np.ones((30, 40), bool)


def random_hdr():
    return RNG.lognormal(0, 1, (30, 40, 3)).astype(np.float32)


def test_exposure_maps_the_90th_percentile_of_the_brightness_to_grey_0_8():
    hdr = random_hdr()
    mapped = hdr * image_exposure(hdr, EVERY_PIXEL)
    brightness = sorted((0.3 * r + 0.59 * g + 0.11 * b) for r, g, b in mapped.reshape(-1, 3).astype(float))
    position = 0.9 * (len(brightness) - 1)
    low, share = int(position), position % 1
    percentile = (1 - share) * brightness[low] + share * brightness[low + 1]
    assert percentile ** (1 / 2.2) == pytest.approx(0.8, rel=1e-4)


def test_exposure_passes_over_invalid_pixels_and_what_is_not_finite():
    hdr = random_hdr()
    expected = image_exposure(hdr[:, :20].copy(), EVERY_PIXEL[:, :20])
    is_valid = EVERY_PIXEL.copy()
    is_valid[:, 20:30] = False
    hdr[:, 20:30] = 1e4
    hdr[:, 30:35] = np.nan
    hdr[:, 35:] = np.inf
    assert image_exposure(hdr, is_valid) == pytest.approx(expected)


@pytest.mark.parametrize("is_valid", [EVERY_PIXEL, ~EVERY_PIXEL])
def test_black_or_invalid_images_have_no_exposure(is_valid):
    hdr = np.zeros((30, 40, 3), np.float32) if is_valid.any() else random_hdr()
    assert math.isnan(image_exposure(hdr, is_valid))


def test_the_exposure_of_a_trajectory_is_the_median_of_those_that_are_known():
    assert trajectory_exposure([8.0, np.nan, 1.0, 2.0]) == 2
    assert trajectory_exposure([np.nan]) == 1
    assert trajectory_exposure([]) == 1


def test_tone_mapping_is_the_formula_pixel_by_pixel():
    hdr = random_hdr() - np.float32(0.2)
    mapped = tone_map(hdr, 0.7)
    assert mapped.dtype == np.uint8
    for value, result in zip(hdr.ravel().tolist(), mapped.ravel().tolist(), strict=True):
        expected = 255 * min(max(0.7 * value, 0), 1) ** (1 / 2.2)
        assert abs(result - expected) <= 0.5 + 1e-3


def test_what_is_not_finite_becomes_black_or_white():
    hdr = np.array([[[np.nan, np.inf, -np.inf]]], np.float32)
    assert tone_map(hdr, 2.0).tolist() == [[[0, 255, 0]]]
