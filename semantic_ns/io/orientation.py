"""The EXIF orientation of a photo: how its stored pixels are turned to be looked at.

Tools in which people draw show the upright picture; a scene's cameras belong to the stored pixels.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Shaped
from numpy import ndarray
from PIL import ExifTags

from semantic_ns.io.hdf5 import is_hdf5
from semantic_ns.io.images import opened_color_image

UPRIGHT = 1
_SWAPS_SIDES = frozenset({5, 6, 7, 8})


def exif_orientation(path: Path) -> int:
    """The orientation 1..8 of an image file, 1 (upright as stored) where it says none or something else.

    Raises:
        SceneError: if the file is missing or is no image.
    """
    if is_hdf5(path):
        return UPRIGHT
    with opened_color_image(path) as image:
        value = image.getexif().get(ExifTags.Base.Orientation, UPRIGHT)
    return value if isinstance(value, int) and 1 <= value <= 8 else UPRIGHT


def swaps_sides(orientation: int) -> bool:
    """Whether width and height of the upright picture are those of the stored pixels the other way round."""
    return orientation in _SWAPS_SIDES


def to_upright(stored: Shaped[ndarray, "height width"], orientation: int) -> Shaped[ndarray, "_height _width"]:
    """Stored pixels as the upright picture shows them."""
    turned = stored.T if swaps_sides(orientation) else stored
    # After rows and columns are exchanged, some orientations mirror left to right, and some up to down.
    if orientation in {2, 3, 6, 7}:
        turned = turned[:, ::-1]
    if orientation in {3, 4, 7, 8}:
        turned = turned[::-1]
    return np.ascontiguousarray(turned)


def to_stored(upright: Shaped[ndarray, "height width"], orientation: int) -> Shaped[ndarray, "_height _width"]:
    """Inverse of `to_upright`."""
    turned = upright
    if orientation in {2, 3, 6, 7}:
        turned = turned[:, ::-1]
    if orientation in {3, 4, 7, 8}:
        turned = turned[::-1]
    return np.ascontiguousarray(turned.T if swaps_sides(orientation) else turned)
