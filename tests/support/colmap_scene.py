"""A hand-made scene as a COLMAP model."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

from support.hand_made_scene import CLASSES, FOCAL, HEIGHT, WIDTH

POINTS = np.array([[0.5, 0.25, 1.0], [-1.0, 2.0, 0.0]])
LENS = (0.1, -0.02, 0.003, -0.002, 0.01, 0.3, 0.1, 0.02)
"""k1, k2, p1, p2, k3, k4, k5 and k6 of COLMAP's FULL_OPENCV."""
COLORS = ((10, 20, 30), (200, 100, 50))


def quaternion_of(rotation: np.ndarray) -> np.ndarray:
    """Unit quaternion (w, x, y, z) of a rotation: the eigenvector of the largest eigenvalue of a symmetric matrix."""
    m = rotation
    k = np.array([
        [m[0, 0] + m[1, 1] + m[2, 2], m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]],
        [m[2, 1] - m[1, 2], m[0, 0] - m[1, 1] - m[2, 2], m[0, 1] + m[1, 0], m[0, 2] + m[2, 0]],
        [m[0, 2] - m[2, 0], m[0, 1] + m[1, 0], m[1, 1] - m[0, 0] - m[2, 2], m[1, 2] + m[2, 1]],
        [m[1, 0] - m[0, 1], m[0, 2] + m[2, 0], m[1, 2] + m[2, 1], m[2, 2] - m[0, 0] - m[1, 1]],
    ])  # fmt: skip
    return np.linalg.eigh(k)[1][:, -1]


def as_colmap(folder: Path, model: str = "sparse/0", binary: bool = False, camera: str = "PINHOLE") -> Path:
    """Turn a scene's json file into a COLMAP model with two points; its classes go to classes.txt."""
    content = json.loads((folder / "transforms.json").read_text())
    (folder / "transforms.json").unlink()
    (folder / "classes.txt").write_text("\n".join(CLASSES))
    poses = []
    for frame in content["frames"]:
        w2c = np.linalg.inv(np.array(frame["transform_matrix"]) * [1, -1, -1, 1])
        poses.append((Path(frame["file_path"]).name, quaternion_of(w2c[:3, :3]), w2c[:3, 3]))
    (folder / model).mkdir(parents=True, exist_ok=True)
    pinhole = [FOCAL, FOCAL, WIDTH / 2, HEIGHT / 2]
    parameters = {"PINHOLE": pinhole, "FULL_OPENCV": [*pinhole, *LENS], "FOV": [*pinhole, 0.5]}[camera]
    (write_binary if binary else write_text)(folder / model, poses, camera, parameters)
    return folder


def write_text(folder: Path, poses: list[Any], camera: str, parameters: list[float]) -> None:
    numbers = " ".join(map(str, parameters))
    (folder / "cameras.txt").write_text(f"# cameras\n1 {camera} {WIDTH} {HEIGHT} {numbers}\n")
    lines = [
        f"{index + 1} {' '.join(map(repr, map(float, (*rotation, *translation))))} 1 {name}\n\n"
        for index, (name, rotation, translation) in enumerate(poses)
    ]
    (folder / "images.txt").write_text("".join(lines))
    points = [
        f"{i + 1} {' '.join(map(str, point))} {' '.join(map(str, color))} 0.5 1 0 2 0\n"
        for i, (point, color) in enumerate(zip(POINTS.tolist(), COLORS, strict=True))
    ]
    (folder / "points3D.txt").write_text("".join(points))


def write_binary(folder: Path, poses: list[Any], camera: str, parameters: list[float]) -> None:
    number = {"PINHOLE": 1, "FULL_OPENCV": 6, "FOV": 7}[camera]
    content = struct.pack("<Q", 1) + struct.pack(f"<iiQQ{len(parameters)}d", 1, number, WIDTH, HEIGHT, *parameters)
    (folder / "cameras.bin").write_bytes(content)
    content = struct.pack("<Q", len(poses))
    for index, (name, rotation, translation) in enumerate(poses):
        content += struct.pack("<i7di", index + 1, *rotation, *translation, 1) + name.encode() + b"\0"
        content += struct.pack("<Q", 0)
    (folder / "images.bin").write_bytes(content)
    content = struct.pack("<Q", len(POINTS))
    for index, (point, color) in enumerate(zip(POINTS, COLORS, strict=True)):
        content += struct.pack("<Q3d3Bd", index + 1, *point, *color, 0.5) + struct.pack("<Q4i", 2, 1, 0, 2, 0)
    (folder / "points3D.bin").write_bytes(content)
