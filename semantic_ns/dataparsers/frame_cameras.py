"""The cameras of the frames of a `transforms.json`, whatever numbers it gives of them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nerfstudio.cameras.cameras import CAMERA_MODEL_TO_TYPE

from semantic_ns.dataparsers import scene
from semantic_ns.errors import SceneError
from semantic_ns.geometry.rational_distortion import LARGEST_ERROR_PX, PolynomialDistortion, as_polynomial

_RADIAL = ("k1", "k2", "k3", "k4")
_DISTORTION = (*_RADIAL, "p1", "p2")
_INTRINSICS = ("fl_x", "fl_y", "cx", "cy", "w", "h")
_LARGEST_OFF_CENTRE = 0.2
_LARGEST_ASPECT_ERROR = 0.01


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
    return {**top, **shared, "camera_model": models.pop(), "frames": frames}, _notes(cameras)


def _notes(cameras: "Sequence[_Camera]") -> tuple[str, ...]:
    notes = []
    factors = sorted({round(camera.factor, 6) for camera in cameras} - {1.0})
    if factors:
        words = ", ".join(f"{factor:.6g}" for factor in factors)
        notes.append(f"w and h state another size than that of the images, so intrinsics are scaled by {words}")
    errors = [camera.error_px for camera in cameras if camera.error_px is not None]
    if errors:
        notes.append(
            "the lens distortion by a fraction (k4 to k6 of OpenCV) is taken as a polynomial, which differs by at most "
            f"{max(errors):.2g} pixels"
        )
    return tuple(notes)


def _shared_values(cameras: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The numbers that all cameras share; nerfstudio takes those of the distortion from the top if any is there."""
    names = {*_DISTORTION, "distortion_params"}
    shared = {name: value for name, value in cameras[0].items() if all(each.get(name) == value for each in cameras)}
    if all(names & camera.keys() <= shared.keys() for camera in cameras):
        return shared
    return {name: value for name, value in shared.items() if name not in names}


@dataclass(frozen=True)
class _Camera:
    """A camera's model, its numbers by nerfstudio's names, and what was done to them.

    Attributes:
        factor: by what they were scaled to fit the real image.
        error_px: by how many pixels the distortion differs from a rational one that was given, None without one.
    """

    model: str
    values: Mapping[str, Any]
    factor: float
    error_px: float | None = None


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
    if _is_rational(entry, path):
        polynomial = _polynomial(entry, values, path)
        own = dict(zip(_RADIAL, polynomial.coefficients, strict=True))
        return _Camera("OPENCV", {**values, **own}, across, polynomial.error_px)
    return _Camera(model, values, across)


def _camera_model(entry: Mapping[str, Any], path: Path) -> str:
    model = str(entry.get("camera_model") or "OPENCV").upper()
    if model == "FULL_OPENCV":
        return "OPENCV"
    if model not in CAMERA_MODEL_TO_TYPE:
        raise SceneError(
            f"Expected a camera_model that nerfstudio has ({', '.join(sorted(CAMERA_MODEL_TO_TYPE))}) in {path}, found "
            f"{model}; undistort the images first, for example by `colmap image_undistorter`."
        )
    return model


def _is_rational(entry: Mapping[str, Any], path: Path) -> bool:
    """Whether the distortion is a fraction: in FULL_OPENCV k4 to k6 are its divisor, and k5 and k6 are in no other."""
    model = str(entry.get("camera_model") or "OPENCV").upper()
    keys = {"FULL_OPENCV": ("k4", "k5", "k6"), "OPENCV": ("k5", "k6")}.get(model, ())
    given = [key for key in keys if entry.get(key) is not None]
    return any(_number(entry[key], key, entry["file_path"], path) != 0 for key in given)


def _polynomial(entry: Mapping[str, Any], values: Mapping[str, Any], path: Path) -> PolynomialDistortion:
    """The polynomial in the place of a rational distortion, over the image of a camera."""
    name = entry["file_path"]
    given = [_number(entry.get(key) or 0.0, key, name, path) for key in (*_RADIAL, "k5", "k6")]
    corners = [
        math.hypot((x - values["cx"]) / values["fl_x"], (y - values["cy"]) / values["fl_y"])
        for x in (0, values["w"])
        for y in (0, values["h"])
    ]
    found = as_polynomial(given, max(corners), max(values["fl_x"], values["fl_y"]))
    if found is None:
        listed = ", ".join(f"{value:g}" for value in given)
        raise SceneError(
            f"Expected a lens distortion for {name} in {path} that a polynomial comes near to within "
            f"{LARGEST_ERROR_PX} pixels, found k1 to k6 of {listed}; undistort the images first, for example by "
            "`colmap image_undistorter`."
        )
    return found


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
    if min(stated) > 0:
        across, down = (real / length for real, length in zip(size, stated, strict=True))
        is_centred = all(abs(c / length - 0.5) <= _LARGEST_OFF_CENTRE for c, length in zip(centre, stated, strict=True))
        if down > 0 and math.isfinite(across) and abs(across / down - 1) <= _LARGEST_ASPECT_ERROR and is_centred:
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
