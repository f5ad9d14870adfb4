"""A scene whose images a lens bends, and whose colours, labels and depth are functions of the direction of a ray."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from nerfstudio.cameras.cameras import Cameras
from numpy import ndarray
from PIL import Image
from torch import Tensor

from semantic_ns.dataparsers.auto import AutoDataParserConfig
from support.hand_made_scene import CLASSES, each_frame, pose_of, rewrite

WIDTH, HEIGHT = 64, 48
NUM_FRAMES = 4
BENT = {"k1": -0.25, "k2": 0.06, "p1": 0.004, "p2": -0.003}
FISHEYE = {"camera_model": "OPENCV_FISHEYE", "k1": 0.05, "k2": -0.02, "k3": 0.003, "k4": -0.001}


def write_bent_scene(folder: Path, lens: dict[str, Any], has_masks: bool = False) -> Path:
    """Write images/, semantics/, depth/ (and masks/) as nerfstudio's camera with this lens sees the directions."""
    import json

    for name in ("images", "semantics", "depth", "masks"):
        (folder / name).mkdir(parents=True)
    camera = {"fl_x": 40.0, "fl_y": 41.0, "cx": 31.0, "cy": 25.0, "w": WIDTH, "h": HEIGHT}
    content: dict[str, Any] = {"camera_model": "OPENCV", **camera, **lens, "semantic_classes": list(CLASSES)}
    content["frames"] = [
        {
            "file_path": f"images/{index}.png",
            "depth_file_path": f"depth/{index}.png",
            "transform_matrix": pose_of(index, NUM_FRAMES).tolist(),
        }
        for index in range(NUM_FRAMES)
    ]
    (folder / "transforms.json").write_text(json.dumps(content))
    for index in range(NUM_FRAMES):
        Image.new("RGB", (WIDTH, HEIGHT)).save(folder / "images" / f"{index}.png")
        Image.new("I;16", (WIDTH, HEIGHT)).save(folder / "depth" / f"{index}.png")
        Image.new("L", (WIDTH, HEIGHT)).save(folder / "semantics" / f"{index}.png")
    outputs = AutoDataParserConfig(data=folder, split="all").setup().get_dataparser_outputs("train")
    for index, path in enumerate(outputs.image_filenames):
        directions = directions_of(outputs.cameras, index)
        _save(folder / "images" / path.name, (color_at(directions) * 255).round(), np.uint8)
        _save(folder / "depth" / path.name, (depth_at(directions) * 1000).round(), np.uint16)
        _save(folder / "semantics" / path.name, label_at(directions), np.uint8)
        _save(folder / "masks" / path.name, mask_at(directions) * 255, np.uint8)
    if has_masks:
        each_frame(folder, lambda _index, entry: entry.update(mask_path=entry["file_path"].replace("images", "masks")))
    else:
        rewrite(folder, lambda content: content)
    return folder


def _save(path: Path, values: ndarray, kind: Any) -> None:
    Image.fromarray(values.astype(kind)).save(path)


def directions_of(cameras: Cameras, index: int) -> ndarray:
    """Directions [H, W, 3] in the world of nerfstudio's rays of a camera, distortion included."""
    rays: Tensor = cameras.generate_rays(torch.tensor([index])).directions
    return rays.reshape(int(cameras.height[index]), int(cameras.width[index]), 3).double().numpy()


def color_at(directions: ndarray) -> ndarray:
    return 0.5 + 0.25 * np.sin(3 * directions + np.array([0.0, 1.0, 2.0]))


def depth_at(directions: ndarray) -> ndarray:
    return 2 + directions[..., 0] * directions[..., 1]


def label_at(directions: ndarray) -> ndarray:
    return (directions[..., 2] > -0.25).astype(int) + 2 * (directions[..., 0] > 0.3)


def mask_at(directions: ndarray) -> ndarray:
    return (directions[..., 2] < 0.0).astype(int)
