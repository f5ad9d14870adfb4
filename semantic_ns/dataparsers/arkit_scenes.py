"""ARKitScenes (Baruch et al. 2021), as published: frames with a trajectory and a file of intrinsics for each.

The folders `lowres_wide`, `lowres_wide_intrinsics` and `lowres_depth` (millimetres) and the file `lowres_wide.traj` lie
in the folder of the video (raw data) or in `<video>_frames` in it (data for 3D object detection). Frames are named
`<video>_<seconds>.png`. A line of the trajectory has the seconds, the rotation from world to camera as axis times
angle, and the translation in metres; cameras look along +z with y down, and the world's z axis points up.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64
from numpy import ndarray
from scipy.spatial.transform import Rotation

from semantic_ns.errors import SceneError
from semantic_ns.geometry.poses import opencv_to_opengl
from semantic_ns.io.console import announce
from semantic_ns.io.text import read_text

_IMAGES, _DEPTH, _INTRINSICS, _TRAJECTORY = "lowres_wide", "lowres_depth", "lowres_wide_intrinsics", "lowres_wide.traj"
_LARGEST_GAP_S = 0.005
"""Of the times of an image and of its pose; nerfstudio's."""
_INTRINSICS_GAPS_S = (0.0, -0.001, 0.001)


def find_video(data: Path) -> Path | None:
    """The folder of the frames of a scene, None where it is no scene of ARKitScenes."""
    for folder in (data, data / f"{data.name}_frames"):
        if (folder / _TRAJECTORY).is_file() and (folder / _IMAGES).is_dir():
            return folder
    return None


def read_video(video: Path) -> dict[str, Any]:
    """The frames that have a pose as the content of a `transforms.json`, in metres.

    Args:
        video: folder of the frames.

    Raises:
        SceneError: if a file is missing or damaged, or no frame has a pose.
    """
    times, poses = _trajectory(video / _TRAJECTORY)
    images = sorted((video / _IMAGES).glob("*.png"))
    frames = []
    for image in images:
        time = _time_of(image)
        nearest = int(np.argmin(np.abs(times - time)))
        if abs(times[nearest] - time) < _LARGEST_GAP_S:
            frames.append(_frame(video, image, time, poses[nearest]))
    if not frames:
        raise SceneError(
            f"Expected images in {video / _IMAGES} at the times of {video / _TRAJECTORY}, found none of {len(images)} "
            f"within {_LARGEST_GAP_S} s of a pose; download the scene again."
        )
    if left := len(images) - len(frames):
        announce("nerfstudio-semantic-data", f"{left} of {len(images)} images without a pose are left out")
    return {"camera_model": "OPENCV", "frames": frames}


def _frame(video: Path, image: Path, time: float, pose: Float64[ndarray, "4 4"]) -> dict[str, Any]:
    depth = video / _DEPTH / image.name
    further = {"depth_file_path": depth.as_posix()} if depth.is_file() else {}
    own = {"file_path": image.as_posix(), "transform_matrix": pose.tolist()}
    return {**own, **further, **_intrinsics(video, image, time)}


def _time_of(image: Path) -> float:
    text = image.stem.rpartition("_")[2]
    try:
        return float(text)
    except ValueError:
        raise SceneError(
            f"Expected images named <video>_<seconds>.png in {image.parent}, found {image.name}; move others away."
        ) from None


def _intrinsics(video: Path, image: Path, time: float) -> dict[str, float]:
    name = image.stem.rpartition("_")[0]
    files = [video / _INTRINSICS / f"{image.stem}.pincam"]
    files += [video / _INTRINSICS / f"{name}_{time + gap:.3f}.pincam" for gap in _INTRINSICS_GAPS_S]
    path = next((file for file in files if file.is_file()), None)
    if path is None:
        raise SceneError(
            f"Expected the intrinsics of {image.name} at {files[0]}, found none; download the scene again."
        )
    width, height, *rest = _numbers(read_text(path).split(), 6, str(path))
    return {"w": width, "h": height, **dict(zip(("fl_x", "fl_y", "cx", "cy"), rest, strict=True))}


def _trajectory(path: Path) -> tuple[Float64[ndarray, "poses"], Float64[ndarray, "poses 4 4"]]:
    """Times in seconds, and camera-to-world poses (OpenGL axes)."""
    lines = [line.split() for line in read_text(path).splitlines() if line.strip()]
    if not lines:
        raise SceneError(f"Expected a line for each pose in {path}, found none; download the scene again.")
    rows = np.array([_numbers(line, 7, f"line {i} of {path}") for i, line in enumerate(lines, 1)])
    w2c = np.tile(np.eye(4), (len(rows), 1, 1))
    w2c[:, :3, :3] = Rotation.from_rotvec(rows[:, 1:4]).as_matrix()
    w2c[:, :3, 3] = rows[:, 4:7]
    return rows[:, 0], opencv_to_opengl(np.linalg.inv(w2c))


def _numbers(texts: Sequence[str], count: int, where: str) -> list[float]:
    try:
        numbers = [float(text) for text in texts]
    except ValueError:
        numbers = []
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise SceneError(f"Expected {count} finite numbers in {where}, found another thing; download the scene again.")
    return numbers
