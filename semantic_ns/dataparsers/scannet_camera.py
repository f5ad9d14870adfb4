"""The colour camera of a ScanNet scan, for images that an export may have resized."""

from pathlib import Path

import numpy as np

from semantic_ns.dataparsers.posed_scene import Intrinsics
from semantic_ns.dataparsers.scannet_frames import read_matrix
from semantic_ns.dataparsers.scene import ImageSize, folder_name
from semantic_ns.dataparsers.sens_export import INTRINSIC
from semantic_ns.errors import SceneError
from semantic_ns.io.text import read_text

_FILES = (f"{INTRINSIC}/intrinsic_color.txt", "intrinsic_color.txt", "intrinsics_color.txt")
_INFO_KEYS = ("fx_color", "fy_color", "mx_color", "my_color")
_RECORDED_SIZES = ((1296, 968), (640, 480))
_CENTRE_TOLERANCE = 0.1
"""Principal points lie nearer to the middle than this share of the side; sizes that occur differ by far more."""


def color_intrinsics(folder: Path, scene: Path, size: ImageSize) -> tuple[Intrinsics, str]:
    """The colour camera for images of a size, from intrinsic_color.txt or else the scan's text file.

    Exports resize images but often not the intrinsics. These belong to the first size whose middle is near the
    principal point: the one that the scan's text file states for the same focal length, that of the images, the one
    that the text file states for another focal length, those that ScanNet recorded. ScanNet's pixel centres are
    integers, so half a pixel is added before anything is scaled.

    Args:
        folder: folder that holds intrinsic/, or intrinsic_color.txt itself.
        scene: may have <scene>.txt.
        size: width and height of the images.

    Returns:
        The intrinsics, and a sentence that says where they are from.

    Raises:
        SceneError: if there are no intrinsics, or they fit no size.
    """
    info = _scan_info(scene)
    path, (fx, fy, cx, cy) = _stated(folder, scene, info)
    stated = (int(info.get("colorWidth", 0)), int(info.get("colorHeight", 0)))
    is_stated = abs(info.get(_INFO_KEYS[0], 0) - fx) < 1e-3 * fx
    candidates = (stated, size) if is_stated else (size, stated)
    own = next((sides for sides in (*candidates, *_RECORDED_SIZES) if _is_middle(cx, cy, sides)), None)
    if own is None:
        raise SceneError(
            f"Expected the principal point in {path} near the middle of images of {size[0]}x{size[1]}, 1296x968 or "
            f"640x480, found ({cx:g}, {cy:g}); correct the intrinsics."
        )
    sentence = f"intrinsics of {path.name}"
    if own != size:
        sentence += f" for {own[0]}x{own[1]} scaled to {size[0]}x{size[1]}"
    return resized(Intrinsics(fx, fy, cx + 0.5, cy + 0.5, own), size), sentence


def resized(camera: Intrinsics, size: ImageSize, rows_added: int = 0) -> Intrinsics:
    """The camera after rows were added above and as many below, and the images then resized to `size`."""
    scale_x, scale_y = size[0] / camera.size[0], size[1] / (camera.size[1] + 2 * rows_added)
    return Intrinsics(
        camera.fx * scale_x, camera.fy * scale_y, camera.cx * scale_x, (camera.cy + rows_added) * scale_y, size
    )


def _stated(folder: Path, scene: Path, info: dict[str, float]) -> tuple[Path, tuple[float, float, float, float]]:
    path = next((place / name for place in (folder, scene) for name in _FILES if (place / name).is_file()), None)
    skew = 0.0
    if path is not None:
        matrix = read_matrix(path)
        fx, fy, cx, cy, skew = (matrix[place] for place in ((0, 0), (1, 1), (0, 2), (1, 2), (0, 1)))
    elif info.keys() >= set(_INFO_KEYS):
        path = _info_path(scene)
        fx, fy, cx, cy = (info[key] for key in _INFO_KEYS)
    else:
        raise SceneError(
            f"Expected the camera in {folder / _FILES[0]} or {_info_path(scene)}, found neither; export the scan with "
            "its intrinsics."
        )
    if not (np.isfinite([fx, fy, cx, cy]).all() and min(fx, fy) > 0 and abs(skew) < 1e-3):
        raise SceneError(
            f"Expected positive focal lengths and no skew in {path}, found {fx:g}, {fy:g} and {skew:g}; export the "
            "scan again."
        )
    return path, (fx, fy, cx, cy)


def _is_middle(cx: float, cy: float, size: ImageSize) -> bool:
    return all(
        side > 0 and abs(value / side - 0.5) < _CENTRE_TOLERANCE for value, side in zip((cx, cy), size, strict=True)
    )


def _info_path(scene: Path) -> Path:
    return scene / f"{folder_name(scene)}.txt"


def _scan_info(scene: Path) -> dict[str, float]:
    """The single numbers in `<scene>.txt`, lines `key = value`; names, and matrices, are not needed."""
    path = _info_path(scene)
    info: dict[str, float] = {}
    for line in read_text(path).splitlines() if path.is_file() else ():
        key, _, value = line.partition("=")
        try:
            info[key.strip()] = float(value)
        except ValueError:
            continue
    return info
