"""Label, depth and colour image files. Everything that a broken file can raise becomes one sentence."""

import importlib
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int64, Shaped
from numpy import ndarray
from PIL import Image

from semantic_ns.errors import SceneError
from semantic_ns.io.hdf5 import hdf5_shape, is_hdf5, read_hdf5

# "P" is an index image: its pixel values are the ids, its palette only shows them.
_LABEL_MODES = frozenset({"1", "L", "P", "I", "I;16", "I;16B", "I;16L", "F"})
_LABEL_MODES_OF_SEVERAL_CHANNELS = frozenset({"LA", "RGB", "RGBA"})
_DEPTH_MODES = frozenset({"L", "I", "I;16", "I;16B", "I;16L", "F"})
PLAIN_COLOR_MODES = frozenset({"L", "RGB", "RGBA"})
"""Modes of colour images that need no conversion."""
_CONVERTED_COLOR_MODES = {
    **dict.fromkeys(("1",), "L"),
    **dict.fromkeys(("LA", "PA"), "RGBA"),
    **dict.fromkeys(("P", "CMYK", "YCbCr", "LAB", "HSV"), "RGB"),
    **dict.fromkeys(("I", "I;16", "I;16B", "I;16L"), "L"),
}
_ALPHA_MODES = frozenset({"RGBA", "LA", "PA"})
_LOSSY_FORMATS = frozenset({"JPEG", "MPO", "JPEG2000", "WEBP", "AVIF"})
_HEIC_FORMATS = frozenset({".heic", ".heif", ".hif"})
_CAMERA_FORMATS = frozenset({".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2"})
_LARGEST_DEPTH_M = 100.0
MAX_PIXELS = 2**27
"""Pixels of the largest image that is decoded: 134 million. A small file can announce any number."""
_BROKEN_FILE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,  # of NumPy's .npz
    Image.DecompressionBombError,
)


@contextmanager
def told_as_scene_error(path: Path, kind: str) -> Iterator[None]:
    """Turn whatever a missing, damaged or truncated file raises inside into a SceneError that names it.

    Args:
        path: the file that is read inside.
        kind: what it should hold, for example "label image".
    """
    try:
        yield
    except SceneError:
        raise
    except FileNotFoundError as error:
        raise SceneError(f"Expected a {kind} at {path}, found none; restore the file.") from error
    except _BROKEN_FILE_ERRORS as error:
        raise SceneError(
            f"Expected a complete {kind} at {path}, found one that cannot be read ({_in_short(error)}); it is damaged "
            "or truncated, so write it again."
        ) from error


def _in_short(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:120]


@contextmanager
def _opened(path: Path, kind: str) -> Iterator[Image.Image]:
    """An image that is not yet decoded, and not too large to be."""
    with Image.open(path) as image:
        if image.width * image.height > MAX_PIXELS:
            raise SceneError(
                f"Expected a {kind} of at most {MAX_PIXELS} pixels at {path}, found {image.width}x{image.height}; "
                "make it smaller."
            )
        yield image


@contextmanager
def quiet_about_size() -> Iterator[None]:
    """Suppress the warning of PIL about large images, for which there is a limit of our own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield


def _read_array(path: Path, kind: str) -> Shaped[ndarray, "..."]:
    """The numbers in a `.npy` file."""
    # A mapped file cannot be larger in memory than on the disk, and pickled objects are never loaded.
    values = np.load(path, mmap_mode="r", allow_pickle=False)
    if values.size > MAX_PIXELS or values.dtype.kind not in "biuf":
        raise SceneError(
            f"Expected a {kind} of at most {MAX_PIXELS} numbers at {path}, found {values.dtype} of shape "
            f"{values.shape}; save one number per pixel."
        )
    return np.array(values)


def read_label_image(path: Path) -> Int64[ndarray, "height width"]:
    """The ids in a label image of 1, 8, 16 or 32 bits; index images give their indices.

    Several channels serve where they hold one number per pixel: equal ones, with full opacity. HDF5 and `.npy` files
    give their integers as they are, negative ones too.

    Raises:
        SceneError: if the file is missing, damaged, truncated, compressed with losses, or holds colours or fractions.
    """
    if is_hdf5(path):
        return _whole_numbers(read_hdf5(path, "label image"), path)
    with told_as_scene_error(path, "label image"):
        if path.suffix.lower() == ".npy":
            return _whole_numbers(_read_array(path, "label image"), path)
        with _opened(path, "label image") as image:
            _refuse_lossy_labels(image, path)
            if image.mode in _LABEL_MODES:
                return _whole_numbers(np.asarray(image), path)
            if image.mode in _LABEL_MODES_OF_SEVERAL_CHANNELS and (ids := _single_channel(image)) is not None:
                return ids
            raise SceneError(
                f"Expected a label image with one channel of class ids at {path}, found {len(image.getbands())} "
                f"channels ({image.mode}); save the ids, not their colours, as an 8 or 16 bit grey PNG."
            )


def _refuse_lossy_labels(image: Image.Image, path: Path) -> None:
    kind = image.format
    if kind == "WEBP" and path.read_bytes()[12:16] == b"VP8L":
        return
    if kind in _LOSSY_FORMATS:
        raise SceneError(
            f"Expected a label image without losses at {path}, found {kind}, which changes ids near edges; write the "
            "ids again as PNG."
        )


def _single_channel(image: Image.Image) -> Int64[ndarray, "height width"] | None:
    """The common values of equal channels, None where they differ or are not opaque."""
    values = np.asarray(image).astype(np.int64)
    if image.mode in ("LA", "RGBA") and (values[..., -1] != 255).any():
        return None
    colors = values[..., :-1] if image.mode in ("LA", "RGBA") else values
    return colors[..., 0] if (colors == colors[..., :1]).all() else None


def _whole_numbers(ids: Shaped[ndarray, "..."], path: Path) -> Int64[ndarray, "height width"]:
    is_whole = ids.dtype.kind in "biu" or (
        ids.dtype.kind == "f" and bool(np.isfinite(ids).all()) and bool((ids == np.round(ids)).all())
    )
    if ids.ndim != 2 or not is_whole:
        raise SceneError(
            f"Expected a label image of whole numbers, one per pixel, at {path}, found {ids.dtype} of shape "
            f"{ids.shape}; save the class ids."
        )
    return ids.astype(np.int64)


def holds_metres(path: Path) -> bool:
    """Whether a `.npy` depth file holds fractions below 100, which are metres; thousandths of them would be no depth.

    Raises:
        SceneError: if the file is missing or damaged.
    """
    if path.suffix.lower() != ".npy":
        return False
    with told_as_scene_error(path, "depth image"):
        values = _read_array(path, "depth image")
    if values.dtype.kind != "f":
        return False
    known = values[np.isfinite(values) & (values > 0)]
    return bool(known.size) and float(np.median(known)) < _LARGEST_DEPTH_M


def read_depth_image(path: Path, metres_per_unit: float) -> Float32[ndarray, "height width"]:
    """Depth in metres from a grey image, a `.npy` array or an HDF5 file; 0 (also where it is not finite) is unknown.

    Raises:
        SceneError: if the file is missing, damaged, truncated, or has more than one channel.
    """
    with told_as_scene_error(path, "depth image"):
        if is_hdf5(path):
            values = read_hdf5(path, "depth image")
            kind = f"shape {values.shape}"
        elif path.suffix == ".npy":
            values = _read_array(path, "depth image")
            kind = f"shape {values.shape}"
        else:
            with _opened(path, "depth image") as image:
                kind = f"channels {image.mode}"
                values = np.asarray(image) if image.mode in _DEPTH_MODES else np.zeros(0)
    if values.ndim == 3 and values.shape[-1] == 1:
        values = values[..., 0]
    if values.ndim != 2:
        raise SceneError(f"Expected a depth image with one channel at {path}, found {kind}; save one number per pixel.")
    depth_m = values.astype(np.float32) * np.float32(metres_per_unit)
    return np.where(np.isfinite(depth_m) & (depth_m > 0), depth_m, np.float32(0))


def color_image_size(path: Path) -> tuple[int, int]:
    """(width, height) of a colour image as it is stored, from its header alone.

    Raises:
        SceneError: if the file is missing, is no image, or holds no colours (or, in HDF5, not linear RGB).
    """
    return color_image_header(path).size


class ImageHeader(NamedTuple):
    """Size (width, height) of an image as it is stored, whether it is read without a conversion, and with alpha."""

    size: tuple[int, int]
    is_plain: bool
    has_alpha: bool = False


def color_image_header(path: Path) -> ImageHeader:
    """What the header of a colour image says; the errors are those of `color_image_size`."""
    if is_hdf5(path):
        height, width = _check_hdr_shape(hdf5_shape(path, "colour image"), path)
        return ImageHeader((width, height), True)
    with opened_color_image(path) as image:
        return ImageHeader(image.size, image.mode in PLAIN_COLOR_MODES, image.mode in _ALPHA_MODES)


@contextmanager
def opened_color_image(path: Path) -> Iterator[Image.Image]:
    """A colour image of any mode that `to_8_bit_color` converts, not yet decoded.

    Raises:
        SceneError: if the file is missing, damaged, in a camera's format that cannot be read here, or no colour.
    """
    _refuse_camera_formats(path)
    with told_as_scene_error(path, "colour image"), _opened(path, "colour image") as image:
        if image.mode not in PLAIN_COLOR_MODES | _CONVERTED_COLOR_MODES.keys():
            raise SceneError(
                f"Expected a colour image (grey, RGB, RGBA, CMYK or with a palette) at {path}, found mode "
                f"{image.mode}; convert it to RGB."
            )
        yield image


def to_8_bit_color(image: Image.Image) -> Image.Image:
    """A colour image as grey, RGB or RGBA of 8 bits per channel; 65535 of 16 bits becomes 255.

    Args:
        image: an image of `opened_color_image`.
    """
    if image.mode in PLAIN_COLOR_MODES:
        return image
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.float64) / 257
        return Image.fromarray(values.round().clip(0, 255).astype(np.uint8))
    if image.mode == "P" and "transparency" in image.info:
        return image.convert("RGBA")
    return image.convert(_CONVERTED_COLOR_MODES[image.mode])


def _refuse_camera_formats(path: Path) -> None:
    kind = path.suffix.lower()
    is_heic = kind in _HEIC_FORMATS
    if ((is_heic and not _reads_heic()) or kind in _CAMERA_FORMATS) and path.is_file():
        extra = "install the extra semantic-ns[heic], or " if is_heic else ""
        raise SceneError(
            f"Expected a PNG or JPEG image at {path}, found {path.suffix.upper()[1:]}, which cannot be read here; "
            f"{extra}convert all images, for example by ImageMagick's `magick mogrify -format jpg`, and name the new "
            "files in the scene."
        )


@cache
def _reads_heic() -> bool:
    """Whether Pillow reads HEIC images, which it does once pillow-heif, an optional package, has told it how."""
    try:
        pillow_heif = importlib.import_module("pillow_heif")
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True


def read_mask_image(path: Path) -> Bool[ndarray, "height width"]:
    """Which pixels of a mask are used: those that are not black, and not transparent.

    Raises:
        SceneError: if the file is missing, damaged or truncated.
    """
    with told_as_scene_error(path, "mask"), _opened(path, "mask") as image:
        has_palette = image.mode == "P"
        values = np.asarray(image.convert("RGBA" if "transparency" in image.info else "RGB") if has_palette else image)
    if values.ndim == 2:
        return values > 0
    has_alpha = values.shape[-1] in (2, 4)
    colors = values[..., :-1] if has_alpha else values
    return (colors > 0).any(axis=-1) & (values[..., -1] > 0 if has_alpha else True)


def read_hdr_image(path: Path) -> Float32[ndarray, "height width 3"]:
    """Linear colour in an HDF5 file, as it is: above 1 where it is bright, and not always finite.

    Raises:
        SceneError: if the file is missing, damaged, truncated, or has not three channels.
    """
    values = read_hdf5(path, "colour image")
    _check_hdr_shape(values.shape, path)
    return values.astype(np.float32)


def _check_hdr_shape(shape: tuple[int, ...], path: Path) -> tuple[int, int]:
    """Height and width."""
    if len(shape) != 3 or shape[-1] != 3:
        raise SceneError(
            f"Expected a colour image of shape (height, width, 3) at {path}, found {shape}; save linear RGB."
        )
    return shape[0], shape[1]
