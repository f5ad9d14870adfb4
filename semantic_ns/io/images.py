"""Label, depth and colour image files. Everything that a broken file can raise becomes one sentence."""

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int64
from numpy import ndarray
from PIL import Image

from semantic_ns.errors import SceneError
from semantic_ns.io.hdf5 import hdf5_shape, is_hdf5, read_hdf5

# "P" is an index image: its pixel values are the ids, its palette only shows them.
_LABEL_MODES = frozenset({"1", "L", "P", "I", "I;16", "I;16B", "I;16L"})
_DEPTH_MODES = frozenset({"L", "I", "I;16", "I;16B", "I;16L", "F"})
_COLOR_MODES = frozenset({"L", "RGB", "RGBA"})
_BROKEN_FILE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    zlib.error,
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


def read_label_image(path: Path) -> Int64[ndarray, "height width"]:
    """The ids in a label image with one channel of 1, 8, 16 or 32 bits; index images give their indices.

    HDF5 files give their integers as they are, negative ones too.

    Raises:
        SceneError: if the file is missing, damaged, truncated, or has more than one channel.
    """
    if is_hdf5(path):
        return _read_hdf5_ids(path)
    with told_as_scene_error(path, "label image"), Image.open(path) as image:
        if image.mode not in _LABEL_MODES:
            raise SceneError(
                f"Expected a label image with one channel of class ids at {path}, found {len(image.getbands())} "
                f"channels ({image.mode}); save the ids, not their colours, as an 8 or 16 bit grey PNG."
            )
        return np.asarray(image).astype(np.int64)


def _read_hdf5_ids(path: Path) -> Int64[ndarray, "height width"]:
    ids = read_hdf5(path, "label image")
    if ids.ndim != 2 or ids.dtype.kind not in "iu":
        raise SceneError(
            f"Expected a label image of whole numbers, one per pixel, at {path}, found {ids.dtype} of shape "
            f"{ids.shape}; save the class ids."
        )
    return ids.astype(np.int64)


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
            values = np.load(path, allow_pickle=False)
            kind = f"shape {values.shape}"
        else:
            with Image.open(path) as image:
                kind = f"channels {image.mode}"
                values = np.asarray(image) if image.mode in _DEPTH_MODES else np.zeros(0)
    if values.ndim == 3 and values.shape[-1] == 1:
        values = values[..., 0]
    if values.ndim != 2:
        raise SceneError(f"Expected a depth image with one channel at {path}, found {kind}; save one number per pixel.")
    depth_m = values.astype(np.float32) * np.float32(metres_per_unit)
    return np.where(np.isfinite(depth_m) & (depth_m > 0), depth_m, np.float32(0))


def color_image_size(path: Path) -> tuple[int, int]:
    """(width, height) of a colour image, from its header alone.

    Raises:
        SceneError: if the file is missing, is no image, or is not 8 bit grey, RGB or RGBA (linear RGB in HDF5).
    """
    if is_hdf5(path):
        height, width = _check_hdr_shape(hdf5_shape(path, "colour image"), path)
        return width, height
    with told_as_scene_error(path, "colour image"), Image.open(path) as image:
        if image.mode not in _COLOR_MODES:
            raise SceneError(
                f"Expected a colour image with 8 bits per channel (grey, RGB or RGBA) at {path}, found mode "
                f"{image.mode}; convert it to RGB."
            )
        return image.size


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
