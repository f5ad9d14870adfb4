"""Brings annotations onto the stored pixels of a frame's image: its size, and its EXIF orientation."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from semantic_ns.annotations.types import AnnotatedImage, Notes
from semantic_ns.dataparsers.scene import ImageSize
from semantic_ns.errors import SceneError
from semantic_ns.io.images import color_image_size
from semantic_ns.io.orientation import UPRIGHT, exif_orientation, swaps_sides, to_stored


def draw_for_frame(
    image: AnnotatedImage, color: Path, are_stored: bool, notes: Notes, seen_orientation: int | None = None
) -> Int[ndarray, "height width"]:
    """Draw annotations for the stored pixels of an image.

    Tools show a photo upright, as its EXIF orientation says, and so annotations are taken as made on the upright
    picture, unless their size is that of the stored pixels alone. Annotations of a smaller or larger copy of the image
    are scaled, if width and height differ by one factor.

    Args:
        image: the annotations.
        color: the image file of the frame.
        are_stored: whether the annotations were made on the stored pixels in any case.
        notes: notes, to which what was decided is added.
        seen_orientation: orientation by which the stored pixels become the annotated photo, where its content told it;
            None takes that of the image file.

    Returns:
        Classes [height, width] with `VOID` and `UNLABELLED`.

    Raises:
        SceneError: if the annotations were made for an image of another shape, or cannot be read.
    """
    orientation = exif_orientation(color) if seen_orientation is None else seen_orientation
    target = Target(color_image_size(color), UPRIGHT if are_stored else orientation, f"the image {color}")
    return draw_at(image, target, notes)


@dataclass(frozen=True)
class Target:
    """The stored pixels that annotations are drawn for.

    Attributes:
        size: their width and height.
        orientation: EXIF orientation by which they become the picture that was annotated.
        name: what has these pixels, for errors.
    """

    size: ImageSize
    orientation: int
    name: str


def draw_at(
    image: AnnotatedImage,
    target: Target,
    notes: Notes,
    are_alike: Callable[[ImageSize, ImageSize], bool] | None = None,
) -> Int[ndarray, "height width"]:
    """Draw annotations for some pixels, see `draw_for_frame`.

    Args:
        image: the annotations.
        target: the pixels.
        notes: notes, to which what was decided is added.
        are_alike: whether pictures of two sizes show the same; by default `is_copy`.

    Raises:
        SceneError: if the annotations were made for an image of another shape, or cannot be read.
    """
    are_alike = are_alike or is_copy
    stored, orientation = target.size, target.orientation
    upright = (stored[1], stored[0]) if swaps_sides(orientation) else stored
    recorded = image.find_size() or upright
    if not are_alike(recorded, upright) and are_alike(recorded, stored):
        orientation, upright = UPRIGHT, stored
        notes.count("images have an EXIF orientation, but annotations of the size of the stored pixels, and stay")
    if not are_alike(recorded, upright):
        raise SceneError(
            f"Expected annotations for {upright[0]}x{upright[1]} pixels as {target.name} has, found "
            f"{recorded[0]}x{recorded[1]} for {image.name!r} in {image.where}; annotate the images of the scene itself "
            "or copies of the same shape, neither cut nor stretched."
        )
    if recorded != upright:
        notes.count(
            f"images were annotated in another size (such as {_times(recorded)} for {_times(upright)}) and scaled"
        )
    if orientation != UPRIGHT:
        notes.count(
            "images have an EXIF orientation; their annotations were taken as made on the upright picture and turned "
            "to the stored pixels (sns-import-labels --orientation stored leaves them)"
        )
    return to_stored(np.asarray(image.read(upright)), orientation)


def is_copy(one: ImageSize, other: ImageSize) -> bool:
    """Whether two sizes differ by one factor for width and height, up to the rounding of the smaller one."""
    small, large = sorted((one, other))
    factor = max(large) / max(small)
    return all(
        abs(of_small * factor - of_large) < max(factor, 1) for of_small, of_large in zip(small, large, strict=True)
    )


def _times(size: ImageSize) -> str:
    return f"{size[0]}x{size[1]}"
