"""Colours of things one by one."""

import colorsys

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

_GOLDEN = 0.618034


def instance_color(number: int) -> tuple[int, int, int]:
    """A colour for an instance: hues far from those of the numbers before, none grey or black; 0 is black."""
    if number == 0:
        return 0, 0, 0
    red, green, blue = colorsys.hsv_to_rgb(
        number * _GOLDEN % 1, 0.55 + 0.4 * (number % 2), 0.95 - 0.25 * (number % 3) / 2
    )
    return round(red * 255), round(green * 255), round(blue * 255)


def instance_colors(count: int) -> UInt8[ndarray, "ids 3"]:
    """The colours of the ids 0 to `count`, see `instance_color`."""
    return np.array([instance_color(number) for number in range(count + 1)], np.uint8)
