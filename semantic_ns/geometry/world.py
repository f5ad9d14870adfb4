"""Metric world coordinates of a scene that its dataparser has moved, turned and scaled."""

import torch
from jaxtyping import Float
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from torch import Tensor

WORLD_FROM_SCENE = "world_from_scene"
"""Key of the training data set's metadata: [3, 4] from scene units to metres in the world of the data set's files."""


def world_from_scene(outputs: DataparserOutputs) -> Float[Tensor, "3 4"]:
    """The inverse of p_scene = scale (R p_world + t), with [R | t] = `dataparser_transform`."""
    transform = outputs.dataparser_transform.float()
    rotation, translation = transform[:, :3], transform[:, 3:]
    return torch.cat([rotation.T / float(outputs.dataparser_scale), -rotation.T @ translation], dim=-1)
