"""The content of a `transforms.json`, in any of the forms that tools write, as the one form that nerfstudio reads.

In that form every frame has a 4x4 pose, the path of an image that exists and numbers for its camera; these stand at the
top where all frames share them, else in each frame.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from nerfstudio.cameras.cameras import CAMERA_MODEL_TO_TYPE
from numpy import ndarray

from semantic_ns.dataparsers import scene
from semantic_ns.dataparsers.frame_paths import find_file
from semantic_ns.errors import SceneError
from semantic_ns.geometry import poses

SPLITS = ("train", "val", "test")
_DISTORTION = ("k1", "k2", "k3", "k4", "p1", "p2")
_INTRINSICS = ("fl_x", "fl_y", "cx", "cy", "w", "h")
_RATIONAL_DISTORTION = ("k4", "k5", "k6")
_MAX_PATH = 4096
_PATHS = ("file_path", "semantics_path", "depth_file_path", "mask_path")
_SCALE_TOLERANCE = 1e-3
_LARGEST_OFF_CENTRE = 0.2
_LARGEST_ASPECT_ERROR = 0.01


@dataclass(frozen=True)
class Frames:
    """The frames of a scene's file, checked.

    Attributes:
        entries: content of each frame, with the path of its image as `file_path` and a 4x4 list as `transform_matrix`.
        places: index in `entries` of each frame as the file lists them; one that repeats another has the same.
        notes: what was read otherwise than it stands in the file, as sentences.
    """

    entries: list[dict[str, Any]]
    places: list[int]
    notes: tuple[str, ...]


def read_frames(meta: Any, path: Path, further_folders: Sequence[Path] = ()) -> Frames:
    """The frames of the content of a scene's file.

    Args:
        meta: content of the file.
        path: the file, for errors; image paths are relative to its folder.
        further_folders: folders that image paths may be relative to instead.

    Raises:
        SceneError: if there is no frame, a frame has no image path or no pose that is a rigid motion, or two frames of
            one image differ.
    """
    given = meta.get("frames") if isinstance(meta, dict) else None
    if not isinstance(given, list) or not given:
        raise SceneError(f"Expected a list of frames in {path}, found none; make it with `ns-process-data`.")
    for index, entry in enumerate(given):
        if not isinstance(entry, dict) or not isinstance(entry.get("file_path"), str) or not entry["file_path"]:
            raise SceneError(f"Expected file_path in frame number {index} of {path}, found none; name its image.")
        for key in _PATHS:
            _require_path(entry.get(key), f"{key} of frame number {index} of {path}")
        if "transform_matrix" not in entry:
            raise SceneError(
                f"Expected a pose (transform_matrix) for {entry['file_path']} in {path}, found none; add it or remove "
                "the frame."
            )
    _require_path(meta.get("ply_file_path"), f"ply_file_path of {path}")
    matrices, scale = _without_common_scale(np.stack([_matrix(entry, path) for entry in given]))
    poses.check_poses(matrices, [f"{entry['file_path']} in {path}" for entry in given])
    images = [find_file(entry["file_path"], path.parent, further_folders) for entry in given]
    read = [
        {**entry, "file_path": image.as_posix(), "transform_matrix": matrix.tolist()}
        for entry, image, matrix in zip(given, images, matrices, strict=True)
    ]
    entries, places = _without_repetitions(read, [entry["file_path"] for entry in given], path)
    num_repeated = len(read) - len(entries)
    notes = [
        f"the rotations of all poses are scaled by {scale:.6g}, which is divided out" if scale != 1 else "",
        f"{num_repeated} frames repeat another one in all they say, and are read once" if num_repeated else "",
    ]
    return Frames(entries, places, tuple(note for note in notes if note))


def _require_path(value: Any, what: str) -> None:
    """Raise a SceneError unless a value is a path, or nothing."""
    if value is not None and (not isinstance(value, str) or len(value) > _MAX_PATH):
        found = f"one of {len(value)}" if isinstance(value, str) else type(value).__name__
        raise SceneError(f"Expected a path of at most {_MAX_PATH} letters as {what}, found {found}; correct it.")


def _matrix(entry: dict[str, Any], path: Path) -> Float[ndarray, "4 4"]:
    """The pose as 4x4 numbers; the last row may be left out, and the rows may follow each other in one list."""
    try:
        matrix = np.asarray(entry["transform_matrix"], np.float64)
    except (TypeError, ValueError):
        matrix = np.zeros(0)
    if matrix.shape in ((16,), (12,)):
        matrix = matrix.reshape(-1, 4)
    if matrix.shape == (3, 4):
        matrix = np.concatenate([matrix, [[0.0, 0.0, 0.0, 1.0]]])
    if matrix.shape != (4, 4):
        raise SceneError(
            f"Expected 4x4 numbers as transform_matrix of {entry['file_path']} in {path}, found something "
            "else; correct it."
        )
    return matrix


def _without_common_scale(matrices: Float[ndarray, "frames 4 4"]) -> tuple[Float[ndarray, "frames 4 4"], float]:
    """The poses with rotations of determinant 1 and the scale they had, where it is common to all; else unchanged."""
    rotations = matrices[:, :3, :3]
    if not np.isfinite(rotations).all():
        return matrices, 1.0
    scales = np.cbrt(np.linalg.det(rotations))
    scale = float(np.median(scales))
    if scale <= 0 or np.abs(scales / scale - 1).max() > _SCALE_TOLERANCE or abs(scale - 1) <= _SCALE_TOLERANCE:
        return matrices, 1.0
    result = matrices.copy()
    result[:, :3, :3] /= scale
    return result, scale


def _without_repetitions(
    entries: Sequence[dict[str, Any]], names: Sequence[str], path: Path
) -> tuple[list[dict[str, Any]], list[int]]:
    """Each image once, and the place of each frame there; two frames of an image must say the same."""
    place_of: dict[str, int] = {}
    kept: list[dict[str, Any]] = []
    for entry, name in zip(entries, names, strict=True):
        place = place_of.setdefault(entry["file_path"], len(kept))
        if place == len(kept):
            kept.append(entry)
        elif kept[place] != entry:
            key = next(key for key in {**kept[place], **entry} if kept[place].get(key) != entry.get(key))
            count = sum(other["file_path"] == entry["file_path"] for other in entries)
            raise SceneError(
                f"Expected each image once in {path}, found {name} {count} times with another {key}; remove the "
                "repetitions that are wrong."
            )
    return kept, [place_of[entry["file_path"]] for entry in entries]


def with_cameras(
    meta: Mapping[str, Any], entries: Sequence[dict[str, Any]], sizes: Sequence[scene.ImageSize], path: Path
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The content of a scene's file with numbers for the camera of every frame.

    A frame's own numbers go before those at the top. A focal length may be given by `camera_angle_x`, and what is left
    out is the other focal length, the middle or the size of the image. Intrinsics for images that are larger or smaller
    than the real ones by one factor are scaled.

    Args:
        meta: content of the file.
        entries: its frames, see `read_frames`.
        sizes: width and height of each image.
        path: the file, for errors.

    Returns:
        The content, and what was read otherwise than it stands in the file.

    Raises:
        SceneError: if a number is none or is missing, or if the size of an image fits none that the file states.
    """
    shared_by_all = {key: value for key, value in meta.items() if key != "frames"}
    cameras = [_camera({**shared_by_all, **entry}, size, path) for entry, size in zip(entries, sizes, strict=True)]
    models = {camera.model for camera in cameras}
    if len(models) > 1:
        raise SceneError(
            f"Expected one camera_model for all frames of {path}, found {', '.join(sorted(models))}; split the scene."
        )
    own = [dict(camera.values) for camera in cameras]
    names = {*_INTRINSICS, *_DISTORTION, "distortion_params", "camera_model"}
    shared = _shared_values(own)
    frames = [
        {key: value for key, value in entry.items() if key not in names}
        | {name: value for name, value in each.items() if name not in shared}
        for entry, each in zip(entries, own, strict=True)
    ]
    top = {key: value for key, value in meta.items() if key not in names}
    factors = sorted({round(camera.factor, 6) for camera in cameras} - {1.0})
    notes = ()
    if factors:
        words = ", ".join(f"{factor:.6g}" for factor in factors)
        notes = (f"w and h state another size than that of the images, so intrinsics are scaled by {words}",)
    return {**top, **shared, "camera_model": models.pop(), "frames": frames}, notes


def _shared_values(cameras: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The numbers that all cameras share; nerfstudio takes those of the distortion from the top if any is there."""
    names = {*_DISTORTION, "distortion_params"}
    shared = {name: value for name, value in cameras[0].items() if all(each.get(name) == value for each in cameras)}
    if all(names & camera.keys() <= shared.keys() for camera in cameras):
        return shared
    return {name: value for name, value in shared.items() if name not in names}


@dataclass(frozen=True)
class _Camera:
    """A camera's model, its numbers by nerfstudio's names, and by what they were scaled to fit the real image."""

    model: str
    values: Mapping[str, Any]
    factor: float


def _camera(entry: Mapping[str, Any], size: scene.ImageSize, path: Path) -> _Camera:
    name = entry["file_path"]
    numbers = {key: _number(entry[key], key, name, path) for key in _INTRINSICS if entry.get(key) is not None}
    width, height = numbers.get("w", float(size[0])), numbers.get("h", float(size[1]))
    model = _camera_model(entry, path)
    focal_x, focal_y = _focal_lengths(entry, numbers, (width, height), model, path)
    centre = numbers.get("cx", width / 2), numbers.get("cy", height / 2)
    across, down = _factors((width, height), size, centre, name, path)
    values = {
        "fl_x": focal_x * across,
        "fl_y": focal_y * down,
        "cx": centre[0] * across,
        "cy": centre[1] * down,
        "w": size[0],
        "h": size[1],
        **_distortion(entry, name, path),
    }
    return _Camera(model, values, across)


def _camera_model(entry: Mapping[str, Any], path: Path) -> str:
    model = str(entry.get("camera_model") or "OPENCV").upper()
    given = [key for key in _RATIONAL_DISTORTION if entry.get(key) is not None]
    is_rational = any(_number(entry[key], key, entry["file_path"], path) != 0 for key in given)
    if model == "FULL_OPENCV" and not is_rational:
        return "OPENCV"
    if model not in CAMERA_MODEL_TO_TYPE:
        raise SceneError(
            f"Expected a camera_model that nerfstudio has ({', '.join(sorted(CAMERA_MODEL_TO_TYPE))}) in {path}, found "
            f"{model}; undistort the images first, for example by `colmap image_undistorter`."
        )
    return model


def _focal_lengths(
    entry: Mapping[str, Any], numbers: Mapping[str, float], size: tuple[float, float], model: str, path: Path
) -> tuple[float, float]:
    focal: dict[str, float] = {}
    for axis, length in zip("xy", size, strict=True):
        angle = entry.get(f"camera_angle_{axis}")
        if f"fl_{axis}" in numbers:
            focal[axis] = numbers[f"fl_{axis}"]
        elif angle is not None:
            radians = _number(angle, f"camera_angle_{axis}", entry["file_path"], path)
            focal[axis] = 0.5 * length / math.tan(0.5 * radians) if 0 < radians < math.pi else -1.0
    if not focal and model == "EQUIRECTANGULAR":
        return size[0] / 2, size[1]  # 360 degrees across and 180 degrees down, as nerfstudio casts the rays
    if not focal:
        raise SceneError(
            f"Expected a focal length (fl_x, or camera_angle_x) for {entry['file_path']} in {path}, found none; add it."
        )
    if min(focal.values()) <= 0:
        raise SceneError(
            f"Expected a focal length above 0 for {entry['file_path']} in {path}, found {focal}; correct fl_x, fl_y or "
            "camera_angle_x."
        )
    either = next(iter(focal.values()))
    return focal.get("x", either), focal.get("y", either)


def _factors(
    stated: tuple[float, float], size: scene.ImageSize, centre: tuple[float, float], name: str, path: Path
) -> tuple[float, float]:
    """By what intrinsics for the stated size are multiplied, across and down, to fit the real one."""
    if stated == size:
        return 1.0, 1.0
    across, down = (real / length if length > 0 else math.inf for real, length in zip(size, stated, strict=True))
    is_centred = all(abs(c / length - 0.5) <= _LARGEST_OFF_CENTRE for c, length in zip(centre, stated, strict=True))
    if math.isfinite(across) and abs(across / down - 1) <= _LARGEST_ASPECT_ERROR and is_centred:
        return across, down
    turned = "; it may be turned by its EXIF orientation" if stated == size[::-1] else ""
    raise SceneError(
        f"Expected images of {stated[0]:g}x{stated[1]:g} as {path} states (w, h), found {size[0]}x{size[1]} in "
        f"{name}{turned}; correct w, h and the intrinsics."
    )


def _distortion(entry: Mapping[str, Any], name: str, path: Path) -> dict[str, Any]:
    given = entry.get("distortion_params")
    if given is not None:
        if not isinstance(given, list):
            raise SceneError(
                f"Expected a list as distortion_params of {name} in {path}, found {given!r}; correct or remove it."
            )
        return {"distortion_params": [_number(value, "distortion_params", name, path) for value in given]}
    return {key: _number(entry[key], key, name, path) for key in _DISTORTION if entry.get(key) is not None}


def _number(value: Any, key: str, name: str, path: Path) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise SceneError(f"Expected a finite number as {key} of {name} in {path}, found {value!r}; correct it.")
    return number


def with_split_lists(meta: Mapping[str, Any], entries: Sequence[dict[str, Any]], path: Path) -> dict[str, Any]:
    """The content with the lists of file names of its splits as paths of its images.

    A list may hold a path, a file name or a name without suffix, as long as it means one image.

    Args:
        meta: content of the file.
        entries: its frames, see `read_frames`.
        path: the file, for errors.

    Raises:
        SceneError: if a list is none, is empty, or holds a name that means no image or several.
    """
    images = [Path(entry["file_path"]) for entry in entries]
    known = set(images)
    of_name: dict[str, set[Path]] = {}
    for image in images:
        for name in (image.name, image.stem):
            of_name.setdefault(name, set()).add(image)
    result = dict(meta)
    for split in SPLITS:
        key = f"{split}_filenames"
        if key not in meta:
            continue
        listed = meta[key]
        if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
            raise SceneError(f"Expected a list of file names as {key} of {path}, found another thing; correct it.")
        result[key] = [_listed_image(name, key, known, of_name, path).as_posix() for name in listed]
    return result


def _listed_image(name: str, key: str, known: set[Path], of_name: Mapping[str, set[Path]], path: Path) -> Path:
    found = find_file(name, path.parent)
    if found in known:
        return found
    plain = name.replace("\\", "/").removeprefix("./")
    ending = {image for image in known if image.as_posix().endswith(f"/{plain}")}
    candidates = ending or of_name.get(plain.rpartition("/")[2], set())
    if len(candidates) != 1:
        found_words = "none" if not candidates else f"{len(candidates)} of them"
        raise SceneError(
            f"Expected one frame for {name}, which {key} of {path} lists, found {found_words}; correct the list."
        )
    return next(iter(candidates))
