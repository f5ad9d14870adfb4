"""Folders for images that are computed once from a scene: beside it, or in the user's cache where that is read-only."""

import hashlib
import os
from pathlib import Path

import numpy as np
from PIL import Image

from semantic_ns.dataparsers.scene import ImageSize
from semantic_ns.errors import SceneError
from semantic_ns.io.images import read_label_image, told_as_scene_error
from semantic_ns.io.user_cache import user_cache
from semantic_ns.io.writing import replacing, write_errors_as_scene_error


def cache_folder(scene: Path, name: str) -> Path:
    """The folder `name` in the scene, made if need be, or where that cannot be written one in the user's cache.

    The user's cache is `$XDG_CACHE_HOME` or `~/.cache`; scenes of one name but other places do not meet there.

    Raises:
        SceneError: if neither can be written.
    """
    scene = scene.resolve()
    place = hashlib.sha256(str(scene).encode()).hexdigest()[:12]
    candidates = (scene / name, user_cache() / "semantic_ns" / f"{scene.name}-{place}" / name)
    for folder in candidates:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            return folder
    raise SceneError(
        f"Expected a folder to keep images in, found that neither {candidates[0]} nor {candidates[1]} can be written; "
        "change their rights or set XDG_CACHE_HOME."
    )


def four_thirds_color(source: Path, copy: Path, size: ImageSize) -> Path:
    """Write colour with black rows above and below that make it 4:3, then resized (bilinear, over each pixel's area).

    Args:
        source: 8 bit colour image.
        copy: PNG to write, with the source's time of modification; it is kept while the two times are equal.
        size: width and height of the copy.

    Raises:
        SceneError: if the source cannot be read or is not about 4:3, or the copy cannot be written.
    """
    if not _is_current(source, copy):
        modified_ns = _modified_ns(source)
        with told_as_scene_error(source, "colour image"), Image.open(source) as image:
            rows = rows_to_four_thirds(image.size, source)
            pixels = np.pad(np.asarray(image.convert("RGB")), ((rows, rows), (0, 0), (0, 0)))
        _save(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR), copy, modified_ns)
    return copy


def four_thirds_labels(source: Path, copy: Path, size: ImageSize, void: int) -> Path:
    """Write 16 bit labels as `four_thirds_color` writes colour, with void rows and by nearest neighbours."""
    if not _is_current(source, copy):
        modified_ns = _modified_ns(source)
        raw = read_label_image(source)
        rows = rows_to_four_thirds((raw.shape[1], raw.shape[0]), source)
        labels = np.pad(raw, ((rows, rows), (0, 0)), constant_values=void)
        _save(Image.fromarray(labels.astype(np.uint16)).resize(size, Image.Resampling.NEAREST), copy, modified_ns)
    return copy


def rows_to_four_thirds(size: ImageSize, path: Path) -> int:
    """How many rows above, and as many below, make an image of width x height 4:3 (2 for 1296x968).

    Raises:
        SceneError: if the number is not whole, or more than 1 % of the rows.
    """
    width, height = size
    rows, rest = divmod(width * 3 - height * 4, 8)
    if rest or not 0 <= rows <= 0.01 * height:
        raise SceneError(
            f"Expected images that a few rows make 4:3, such as 1296x968, for --paper-size, found {width}x{height} at "
            f"{path}; leave out --paper-size."
        )
    return rows


def _is_current(source: Path, copy: Path) -> bool:
    # Not "newer than the source": unpacked or restored files are older than what they replace.
    return copy.is_file() and source.is_file() and copy.stat().st_mtime_ns == source.stat().st_mtime_ns


def _modified_ns(source: Path) -> int:
    # Taken before the source is read: what changes it meanwhile makes the copy out of date.
    with told_as_scene_error(source, "source image"):
        return source.stat().st_mtime_ns


def _save(image: Image.Image, path: Path, modified_ns: int) -> None:
    # At once, as a copy that was not finished must not be taken for one.
    with write_errors_as_scene_error(path), replacing(path) as temporary:
        image.save(temporary, "PNG", compress_level=1)
        os.utime(temporary, ns=(modified_ns, modified_ns))
