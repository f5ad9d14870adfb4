"""Masks of single frames that the user gives: images of ids, named like the frames."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int32
from numpy import ndarray

from semantic_ns.errors import SceneError
from semantic_ns.io.images import read_label_image

LARGEST_ID = 65535
"""Largest id of an image of ids: they have 16 bits."""


def read_masks(
    folder: Path, images: Sequence[Path], sizes: Sequence[tuple[int, int]]
) -> list[Int32[ndarray, "_height _width"] | None]:
    """The mask image of each frame, None for a frame without one.

    Args:
        folder: Folder of PNGs, each named like the image of its frame; 0 is no mask.
        images: The image of each frame.
        sizes: Its height and width.

    Raises:
        SceneError: if the folder has no PNG, none of its files belongs to a frame, or one has another size than its
            frame or several channels.
    """
    files = {path.stem: path for path in sorted(folder.glob("*.png"))} if folder.is_dir() else {}
    if not files:
        raise SceneError(
            f"Expected PNG images of mask ids in {folder}, found none; name each like the image of its frame, or leave "
            "--masks out."
        )
    found = [
        _read(files[image.stem], size) if image.stem in files else None
        for image, size in zip(images, sizes, strict=True)
    ]
    if all(masks is None for masks in found):
        raise SceneError(
            f"Expected masks named like the frames, such as {images[0].stem}.png, found {next(iter(files))}.png in "
            f"{folder}; rename the masks."
        )
    return found


def _read(path: Path, size: tuple[int, int]) -> Int32[ndarray, "height width"]:
    ids = read_label_image(path)
    if ids.shape != size:
        raise SceneError(
            f"Expected {size[1]}x{size[0]} pixels as its frame has in {path}, found {ids.shape[1]}x{ids.shape[0]}; "
            "make the masks on the images of the scene itself."
        )
    return ids.astype(np.int32)
