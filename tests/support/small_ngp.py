"""`semantic-ngp`, small and without a scene."""

import copy
from typing import Any

import torch
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.scene_box import SceneBox

from semantic_ns.labels.taxonomy import Taxonomy
from semantic_ns.methods.semantic_ngp.method import semantic_ngp
from semantic_ns.methods.semantic_ngp.model import SemanticNgpModel, SemanticNgpModelConfig
from support.ray_batches import CLASSES


def lean_config(**changes: Any) -> SemanticNgpModelConfig:
    config = copy.deepcopy(semantic_ngp.config.pipeline.model)
    assert isinstance(config, SemanticNgpModelConfig)
    sizes = {"log2_hashmap_size": 10, "num_levels": 4, "max_res": 64, "grid_resolution": 8, "render_step_size": 0.1}
    for name, value in (sizes | changes).items():
        setattr(config, name, value)
    return config


def build(
    config: SemanticNgpModelConfig, taxonomy: Taxonomy = CLASSES, occupied: float = 0.6, device: str = "cpu"
) -> SemanticNgpModel:
    torch.manual_seed(0)
    model = config.setup(
        scene_box=SceneBox(torch.tensor([[-1.0, -1, -1], [1, 1, 1]])),
        num_train_data=3,
        metadata={"taxonomy": taxonomy, "metres_per_unit": 2.0, "near_far_m": (0.1, 10.0)},
        device=device,
    )
    with torch.no_grad():  # a scene with structure
        model.field.mlp_base.model[0].hash_table *= 2000
    model.occupancy_grid.binaries = torch.rand(model.occupancy_grid.binaries.shape) < occupied
    model.occupancy_grid.occs = model.occupancy_grid.binaries.flatten().float()
    return model


def render(model: SemanticNgpModel, bundle: RayBundle) -> dict[str, Any]:
    with torch.no_grad(), model.eval().raw_outputs():
        return model(bundle)
