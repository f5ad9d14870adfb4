"""Metric world coordinates of a scene that its dataparser has moved, turned and scaled."""

import numpy as np
import torch
from jaxtyping import Float
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from numpy import ndarray
from torch import Tensor

WORLD_FROM_SCENE = "world_from_scene"
"""Key of the training data set's metadata: [3, 4] from scene units to metres in the world of the data set's files."""


def world_from_scene(outputs: DataparserOutputs, dtype: torch.dtype = torch.float32) -> Float[Tensor, "3 4"]:
    """The inverse of p_scene = scale (R p_world + t), with [R | t] = `dataparser_transform`.

    The world is that of the poses in the data set's files. Where transforms.json has an `applied_transform` (and in
    what older versions of nerfstudio made of a COLMAP model), nerfstudio takes it back: then it is that of the model.
    """
    transform = outputs.dataparser_transform.to(dtype)
    rotation, translation = transform[:, :3], transform[:, 3:]
    return torch.cat([rotation.T / float(outputs.dataparser_scale), -rotation.T @ translation], dim=-1)


def scene_from_world(outputs: DataparserOutputs, dtype: torch.dtype = torch.float32) -> Float[Tensor, "3 4"]:
    """The way back of `world_from_scene`: [scale R | scale t]."""
    return (outputs.dataparser_transform.double() * float(outputs.dataparser_scale)).to(dtype)


def units_of_files(outputs: DataparserOutputs) -> float:
    """How many units of the data set's files a scene unit is: how many metres, where their scale is known.

    What shares a file with `poses_in_world` is in these units. Metres per scene unit are other than this where metres
    are stated by an option, as for many scenes of unknown scale.
    """
    return 1 / float(outputs.dataparser_scale)


def poses_in_world(outputs: DataparserOutputs, c2w: Float[ndarray, "frames 3 4"]) -> Float[ndarray, "frames 4 4"]:
    """Camera poses in the world of the data set's files, in their units; the axes of the cameras stay as they are.

    Args:
        outputs: The scene, or a split of it.
        c2w: Poses in scene units, camera to world.
    """
    matrix = world_from_scene(outputs, torch.float64).numpy()
    linear, translation = matrix[:, :3], matrix[:, 3]
    moved = np.tile(np.eye(4), (len(c2w), 1, 1))
    moved[:, :3, :3] = linear * float(outputs.dataparser_scale) @ c2w[:, :, :3]  # turned, but not scaled
    moved[:, :3, 3] = c2w[:, :, 3] @ linear.T + translation
    return moved
