"""Geometry that tests share: from pixels with depth to the world and into another camera, through nerfstudio's rays."""

import numpy as np
import torch
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from torch import Tensor

from semantic_ns.synthetic_scene import ROOM_HALF_SIZE


def scene_points(outputs: DataparserOutputs, index: int, depth_m: Tensor) -> Tensor:
    """Scene point of every pixel [H, W, 3] from its planar depth in metres [H, W, 1]."""
    rays = outputs.cameras.generate_rays(index)
    # Planar depth to distance along the unit ray: times the length of the direction whose z is 1.
    distance = depth_m / outputs.metadata["metres_per_unit"] * rays.metadata["directions_norm"]
    return rays.origins + rays.directions * distance


def world_points(outputs: DataparserOutputs, index: int, depth_m: Tensor) -> np.ndarray:
    """World point of every pixel in metres: `p_scene = scale * (T p_world)` solved for p_world."""
    points = scene_points(outputs, index, depth_m).double() / outputs.dataparser_scale
    transform = outputs.dataparser_transform.double()
    return ((points - transform[:, 3]) @ torch.linalg.inv(transform[:, :3]).T).numpy()


def distance_to_synthetic_room(points: np.ndarray, label: int) -> np.ndarray:
    """Distance of world points to the floor (40), ceiling (31) or nearest wall (93) of the synthetic room."""
    length, width, height = ROOM_HALF_SIZE
    if label == 93:
        return np.minimum(abs(abs(points[..., 0]) - length), abs(abs(points[..., 1]) - width))
    return abs(points[..., 2] - {40: 0, 31: 2 * height}[label])


def label_agreement(outputs: DataparserOutputs, dataset, source: int, target: int) -> tuple[int, int]:
    """Pixels of one frame seen in another and labelled in both: how many agree, how many there are."""
    from_item, to_item = dataset[source], dataset[target]
    points = scene_points(outputs, source, from_item["depth_image_m"])
    camera = outputs.cameras[target]
    pose = camera.camera_to_worlds
    in_camera = (points - pose[:, 3]) @ pose[:, :3]  # [H, W, 3], OpenGL
    depth_m = -in_camera[..., 2] * outputs.metadata["metres_per_unit"]
    column = (camera.fx * in_camera[..., 0] / -in_camera[..., 2] + camera.cx).floor().long()
    row = (camera.cy - camera.fy * in_camera[..., 1] / -in_camera[..., 2]).floor().long()
    height, width = depth_m.shape
    is_inside = (depth_m > 0.05) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
    is_inside &= from_item["depth_image_m"][..., 0] > 0
    row, column = row[is_inside], column[is_inside]
    there = to_item["depth_image_m"][row, column, 0]
    first, second = from_item["semantics"][is_inside][:, 0], to_item["semantics"][row, column, 0]
    is_seen = (abs(there - depth_m[is_inside]) < 0.03) & (first >= 0) & (second >= 0)
    return int((first == second)[is_seen].sum()), int(is_seen.sum())
