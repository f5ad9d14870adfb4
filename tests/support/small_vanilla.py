"""`semantic-nerf-vanilla`, small and without a scene."""

import copy
from typing import Any

import torch
from nerfstudio.data.scene_box import SceneBox

from semantic_ns.geometry.world import WORLD_FROM_SCENE
from semantic_ns.methods.semantic_nerf_vanilla.method import semantic_nerf_vanilla
from semantic_ns.methods.semantic_nerf_vanilla.model import SemanticNerfVanillaModel, SemanticNerfVanillaModelConfig
from support.ray_batches import CLASSES

METRES = 2.0
"""Metres per scene unit."""
TURNED = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
"""World axes of the scene's."""
OFFSET = torch.tensor([1.0, -3.0, 0.5])
SMALL = {"hidden_dim": 16, "semantic_width": 8, "num_coarse_samples": 6, "num_importance_samples": 5}


def build(metadata: dict[str, Any] | None = None, **changes: Any) -> SemanticNerfVanillaModel:
    config = copy.deepcopy(semantic_nerf_vanilla.config.pipeline.model)
    assert isinstance(config, SemanticNerfVanillaModelConfig)
    for name, value in (SMALL | changes).items():
        assert hasattr(config, name)
        setattr(config, name, value)
    world = torch.cat([METRES * TURNED, OFFSET[:, None]], dim=-1)
    given = {"taxonomy": CLASSES, "metres_per_unit": METRES, "near_far_m": (0.1, 10.0), WORLD_FROM_SCENE: world}
    torch.manual_seed(0)
    model = config.setup(
        scene_box=SceneBox(torch.tensor([[-1.0, -1, -1], [1, 1, 1]])),
        num_train_data=3,
        metadata=given if metadata is None else metadata,
        device="cpu",
    )
    with torch.no_grad():  # a scene with structure, half of it empty
        places, ahead = 10 * torch.rand(1, 500, 3) - 5, torch.tensor([[0.0, 0, 1]])
        for network in (model.field_coarse, model.field_fine):
            for layer in (network.density, network.semantic_head, network.color[2]):
                layer.weight *= 10
            network.density.bias -= network(places, ahead).raw_density.median()
    return model
