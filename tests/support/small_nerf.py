"""`semantic-nerf`, small and without a scene."""

import copy
from typing import Any

import torch
from nerfstudio.data.scene_box import SceneBox

from semantic_ns.labels.taxonomy import Taxonomy
from semantic_ns.methods.semantic_nerf.method import semantic_nerf
from semantic_ns.methods.semantic_nerf.model import SemanticNerfModel, SemanticNerfModelConfig
from support.ray_batches import CLASSES


def lean_config(**changes: Any) -> SemanticNerfModelConfig:
    config = copy.deepcopy(semantic_nerf.config.pipeline.model)
    assert isinstance(config, SemanticNerfModelConfig)
    for name, value in ({"log2_hashmap_size": 10, "num_levels": 4, "max_res": 64} | changes).items():
        setattr(config, name, value)
    return config


def build(config: SemanticNerfModelConfig, taxonomy: Taxonomy = CLASSES) -> SemanticNerfModel:
    torch.manual_seed(0)
    model = config.setup(
        scene_box=SceneBox(torch.tensor([[-1.0, -1, -1], [1, 1, 1]])),
        num_train_data=3,
        metadata={"taxonomy": taxonomy, "metres_per_unit": 2.0, "near_far_m": (0.1, 10.0)},
        device="cpu",
    )
    with torch.no_grad():  # a scene with structure
        for grid in (model.field.mlp_base.model[0], model.proposal_networks[0].encoding):
            grid.hash_table *= 2000
    return model
