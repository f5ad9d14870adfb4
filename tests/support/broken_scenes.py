"""Copies of a scene in nerfstudio's format, each with one of the usual mistakes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

AXES = np.array([1.0, -1.0, -1.0, 1.0])
Change = Callable[[Path], object]


def edit(change: Callable[[dict[str, Any]], object]) -> Change:
    """Change the content of transforms.json."""

    def apply(folder: Path) -> None:
        path = folder / "transforms.json"
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return apply


def each_pose(change: Callable[[np.ndarray], np.ndarray]) -> Change:
    def apply(content: dict[str, Any]) -> None:
        for frame in content["frames"]:
            frame["transform_matrix"] = change(np.array(frame["transform_matrix"])).tolist()

    return edit(apply)


def positions_times(factor: float) -> np.ndarray:
    """What to multiply a pose with."""
    return np.array([[1, 1, 1, factor]] * 3 + [[1, 1, 1, 1]], float)


def each_image(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Change:
    def apply(folder: Path) -> None:
        for path in (folder / name).iterdir():
            values = np.array(Image.open(path))
            Image.fromarray(change(values.astype(np.float64)).round().astype(values.dtype)).save(path)

    return apply


def roll_images(name: str) -> Change:
    """Give each frame what belongs to the one before it."""

    def apply(folder: Path) -> None:
        paths = sorted((folder / name).iterdir())
        contents = [path.read_bytes() for path in paths]
        for path, content in zip(paths[1:], contents[:-1], strict=True):
            path.write_bytes(content)

    return apply


def roll_poses(content: dict[str, Any]) -> None:
    matrices = [frame["transform_matrix"] for frame in content["frames"]]
    for frame, matrix in zip(content["frames"], matrices[1:], strict=False):
        frame["transform_matrix"] = matrix


def lengths_of_rays(depth: np.ndarray) -> np.ndarray:
    """Length of each pixel's ray whose z is 1, pixel by pixel, for a horizontal field of view of 90 degrees."""
    height, width = depth.shape
    result = np.zeros(depth.shape)
    for row in range(height):
        for column in range(width):
            x, y = (column + 0.5 - width / 2) / (width / 2), (row + 0.5 - height / 2) / (width / 2)
            result[row, column] = np.linalg.norm([x, y, 1])
    return result


def scaled(*names: str, by: float) -> Change:
    return edit(lambda content: content.update({name: content[name] * by for name in names}))


def moved(by: float) -> Change:
    return edit(lambda content: content.update(cx=content["cx"] + by, cy=content["cy"] + by))


def swapped(content: dict[str, Any]) -> None:
    content.update(fl_x=content["fl_y"], fl_y=content["fl_x"], cx=content["cy"], cy=content["cx"])


MISTAKES: dict[str, tuple[Change, str, str]] = {
    "OpenCV axes": (each_pose(lambda pose: pose * AXES), "camera axes flipped", "columns 2 and 3"),
    "world to camera": (each_pose(np.linalg.inv), "world-to-camera poses", "invert each matrix."),
    "world to OpenCV camera": (
        each_pose(lambda pose: np.linalg.inv(pose * AXES)),
        "world-to-camera poses with flipped axes",
        "invert each matrix, then",
    ),
    "positions in millimetres": (
        each_pose(lambda pose: pose * positions_times(1000)),
        "camera positions in millimetres",
        "by 0.001",
    ),
    "positions in centimetres": (
        each_pose(lambda pose: pose * positions_times(100)),
        "camera positions in centimetres",
        "by 0.01",
    ),
    "positions in kilometres": (
        each_pose(lambda pose: pose * positions_times(0.001)),
        "camera positions in kilometres",
        "by 1000",
    ),
    "depth in 1/6553.5 m": (each_image("depth", lambda d: d * 6.5535), "depth scale 6553.5", "to 6553.5"),
    "depth in 1/5000 m": (each_image("depth", lambda d: d * 5), "depth scale 5000", "to 5000"),
    "ray distance": (
        each_image("depth", lambda d: d * lengths_of_rays(d)),
        "ray distance for planar depth",
        "divide each",
    ),
    "divided by the ray": (
        each_image("depth", lambda d: d / lengths_of_rays(d)),
        "planar depth for ray distance",
        "multiply each",
    ),
    "half a pixel too far": (moved(0.5), "half a pixel", "add -0.5"),
    "half a pixel too near": (moved(-0.5), "half a pixel", "add 0.5"),
    "ids one too large": (each_image("semantics", lambda ids: ids + 1), "label ids off by one", "subtract 1"),
    "labels of the frame before": (roll_images("semantics"), "labels of the next frame", "shift the labels"),
    "depth of the frame before": (roll_images("depth"), "depth of the next frame", "shift the depth"),
    "poses of the frame after": (edit(roll_poses), "pose of the previous frame", "shift the pose"),
    "intrinsics of twice the size": (
        scaled("fl_x", "fl_y", "cx", "cy", by=2),
        "intrinsics of another image size",
        "multiply fx, fy, cx and cy by 0.5",
    ),
    "rows for columns": (edit(swapped), "intrinsics swapped", "exchange fx with fy"),
}
"""What was done, the name of the mistake, and a part of the sentence that says what to change."""
