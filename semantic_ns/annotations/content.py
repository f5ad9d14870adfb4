"""Which frame of a scene an annotated photo became, told by what both show.

Tools such as `ns-process-data` write images under new names, turn or scale them and compress them anew. A photo and a
frame are compared as thumbnails of 16x16 pixels, each the mean of its part of the image. They are the same picture if
the thumbnails differ by at most `MAX_DIFFERENCE`, and every other frame differs more than `LEAST_RATIO` times as much.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from numpy import ndarray
from PIL import Image

from semantic_ns.annotations.placement import is_copy
from semantic_ns.dataparsers.scene import ImageSize, image_headers
from semantic_ns.io.hdf5 import is_hdf5
from semantic_ns.io.images import opened_color_image, to_8_bit_color
from semantic_ns.io.orientation import UPRIGHT, exif_orientation, swaps_sides, to_upright

MAX_DIFFERENCE = 4.0
"""Largest root mean square difference of two thumbnails of one picture, of 255. Copies of half to an eighth of the size
and JPEGs of quality 30 differ by 0.1 to 3, neighbouring frames of a video by 6 and more."""
LEAST_RATIO = 3.0
_SIDE = 16
_LEAST_DECODED = 256


@dataclass(frozen=True)
class Sight:
    """The frame that shows a photo.

    Attributes:
        frame: index of the frame.
        orientation: EXIF orientation that turns the frame's stored pixels to the upright photo.
        difference: root mean square difference of the thumbnails, of 255.
    """

    frame: int
    orientation: int
    difference: float


def find_frames(photos: Mapping[str, Path], frames: Sequence[Path]) -> tuple[dict[str, Sight], list[str]]:
    """Find the frame of each photo.

    Args:
        photos: file of each photo, by any key.
        frames: images of the scene.

    Returns:
        The frame of each photo that is one, and the keys of photos that look like several frames, or like the frame of
        another photo. Photos that look like no frame are in neither.

    Raises:
        SceneError: if an image of the scene or a photo cannot be read.
    """
    files = [path for path in frames if not is_hdf5(path)]
    places = [place for place, path in enumerate(frames) if not is_hdf5(path)]
    sizes = [header.size for header in image_headers(files)]
    known = np.stack([_thumbnail(path) for path in files]) if files else np.zeros((0, _SIDE, _SIDE, 3), np.float32)
    seen: dict[str, Sight] = {}
    ambiguous = []
    for key, path in photos.items():
        looks = sorted(_differences(path, known, sizes))
        if not looks or looks[0][0] > MAX_DIFFERENCE:
            continue
        difference, index, orientation = looks[0]
        others = [other for other, place, _ in looks if place != index]
        if others and others[0] <= LEAST_RATIO * difference:
            ambiguous.append(key)
        else:
            seen[key] = Sight(places[index], orientation, difference)
    num_claims = Counter(sight.frame for sight in seen.values())
    twice = [key for key, sight in seen.items() if num_claims[sight.frame] > 1]
    return {key: sight for key, sight in seen.items() if key not in twice}, ambiguous + twice


def _differences(
    photo: Path, known: Float32[ndarray, "frames side side 3"], sizes: Sequence[ImageSize]
) -> Iterator[tuple[float, int, int]]:
    """Difference, frame and orientation for every frame of the photo's shape, as it is stored and turned upright."""
    stored = _thumbnail(photo)
    with opened_color_image(photo) as image:
        size = image.size
    orientation = exif_orientation(photo)
    views = [(stored, size, orientation)]
    if orientation != UPRIGHT:
        views.append((_upright(stored, orientation), (size[1], size[0]) if swaps_sides(orientation) else size, UPRIGHT))
    for thumbnail, shape, left_to_turn in views:
        near = [index for index, other in enumerate(sizes) if is_copy(shape, other)]
        squares = ((known[near] - thumbnail) ** 2).mean(axis=(1, 2, 3))
        yield from ((float(np.sqrt(square)), index, left_to_turn) for square, index in zip(squares, near, strict=True))


def _thumbnail(path: Path) -> Float32[ndarray, "side side 3"]:
    with opened_color_image(path) as image:
        image.draft("RGB", (_LEAST_DECODED, _LEAST_DECODED))  # JPEG can be decoded smaller, which is faster
        small = to_8_bit_color(image).convert("RGB").resize((_SIDE, _SIDE), Image.Resampling.BOX)
    return np.asarray(small, np.float32)


def _upright(thumbnail: Float32[ndarray, "side side 3"], orientation: int) -> Float32[ndarray, "side side 3"]:
    return np.stack([to_upright(channel, orientation) for channel in np.moveaxis(thumbnail, -1, 0)], axis=-1)
