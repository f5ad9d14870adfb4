"""Every pixel of the pool belongs to exactly one unit."""

from typing import cast

import numpy as np
import pytest
from scipy import ndimage

from semantic_ns.active_learning.config import SelectionConfig, Unit
from semantic_ns.active_learning.pool.units import Units, divide, super_pixels
from semantic_ns.errors import SceneError


def images_of(*sizes: tuple[int, int]) -> list[np.ndarray]:
    """Smooth noise, different for each image."""
    generator = np.random.default_rng(0)
    images = [ndimage.gaussian_filter(generator.random((*size, 3)), (4, 4, 0)) for size in sizes]
    return [((image - image.min()) / (image.max() - image.min())).astype(np.float32) for image in images]


IMAGES = images_of((40, 60), (30, 20), (40, 60))


def numbers_of(units: Units) -> list[np.ndarray]:
    return [units.maps[frame] for frame in range(len(units.maps))]


@pytest.mark.parametrize("unit", ["pixel", "region", "frame"])
def test_units_are_a_partition_and_numbered_from_frame_to_frame(unit: Unit) -> None:
    units = divide(IMAGES, unit, 100)
    maps = numbers_of(units)
    assert [numbers.shape for numbers in maps] == [image.shape[:2] for image in IMAGES]
    seen = np.concatenate([numbers.reshape(-1) for numbers in maps])
    assert (np.unique(seen) == np.arange(len(units))).all()
    assert (np.bincount(seen) == units.num_pixels).all()
    assert units.num_pixels.sum() == sum(numbers.size for numbers in maps)
    for frame, numbers in enumerate(maps):
        assert (units.frames[np.unique(numbers)] == frame).all()
    assert (np.diff(units.frames) >= 0).all()


@pytest.mark.parametrize("unit", ["pixel", "region", "frame"])
def test_the_same_images_are_divided_the_same_way(unit: Unit) -> None:
    one, other = divide(IMAGES, unit, 100), divide([image.copy() for image in IMAGES], unit, 100)
    for a, b in zip(numbers_of(one), numbers_of(other), strict=True):
        assert (a == b).all()


def test_pixels_are_numbered_row_by_row() -> None:
    units = divide(IMAGES, "pixel", 100)
    assert units.maps[1][2, 3] == 40 * 60 + 2 * 20 + 3
    assert units.maps[-1][0, 0] == 40 * 60 + 30 * 20
    assert [numbers.shape for numbers in units.maps[1:]] == [(30, 20), (40, 60)]
    with pytest.raises(IndexError):
        units.maps[3]


def test_super_pixels_are_connected_and_about_as_large_as_asked_for() -> None:
    for size in (50, 200):
        regions = super_pixels(IMAGES[0], size)
        assert 0.5 * size < regions.size / (regions.max() + 1) < 2 * size
        for region in range(regions.max() + 1):
            _, num_parts = cast(tuple[np.ndarray, int], ndimage.label(regions == region))
            assert num_parts == 1


def test_super_pixels_keep_to_colours() -> None:
    image = np.zeros((40, 40, 3), np.float32)
    image[:, 23:] = 1.0
    regions = super_pixels(image, 100)
    assert not set(np.unique(regions[:, :23])) & set(np.unique(regions[:, 23:]))


def test_an_image_smaller_than_a_super_pixel_is_one() -> None:
    assert (super_pixels(IMAGES[1], 10_000) == 0).all()


def test_a_frame_takes_as_many_clicks_as_it_has_regions() -> None:
    regions, frames = divide(IMAGES, "region", 100), divide(IMAGES, "frame", 100)
    assert frames.clicks.tolist() == np.bincount(regions.frames).tolist()
    assert (regions.clicks == 1).all()
    assert (divide(IMAGES, "pixel", 100).clicks == 1).all()


def test_a_unit_costs_its_pixels_its_clicks_and_its_share_of_a_frame() -> None:
    regions, frames = divide(IMAGES, "region", 100), divide(IMAGES, "frame", 100)
    assert regions.costs("pixels").sum() == frames.costs("pixels").sum() == 40 * 60 * 2 + 30 * 20
    assert regions.costs("clicks").sum() == frames.costs("clicks").sum() == len(regions)
    assert frames.costs("frames").tolist() == [1, 1, 1]
    for frame in range(3):
        assert np.isclose(regions.costs("frames")[regions.frames == frame].sum(), 1)


def test_the_mask_of_a_unit_is_its_pixels() -> None:
    units = divide(IMAGES, "region", 100)
    unit = len(units) - 1
    assert (units.mask(unit) == (units.maps[2] == unit)).all()
    assert units.mask(unit).sum() == units.num_pixels[unit]


def test_nothing_to_divide_is_told() -> None:
    with pytest.raises(SceneError, match="at least one training image"):
        divide([], "region", 100)


@pytest.mark.parametrize(
    "options", [{"region_pixels": 0}, {"voxel_size_m": 0.0}, {"voxel_size_m": float("nan")}], ids=str
)
def test_an_option_out_of_range_is_named(options: dict[str, float]) -> None:
    with pytest.raises(SceneError, match=next(iter(options))):
        SelectionConfig(**options).refuse_wrong_values()  # pyright: ignore[reportArgumentType]
