"""The methods that the package registers, and small trainings of them."""

import copy
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from nerfstudio.plugins.types import MethodSpecification

from semantic_ns.trainer import SemanticTrainerConfig

METHODS: dict[str, MethodSpecification] = {
    entry.name: entry.load()
    for entry in sorted(entry_points(group="nerfstudio.method_configs"), key=lambda entry: entry.name)
    if entry.value.startswith("semantic_ns.")
}
"""By the name that `ns-train` knows."""
FIELDS = {
    name: method for name, method in METHODS.items() if hasattr(method.config.pipeline.model, "semantic_loss_weight")
}
"""Those that train a field of one scene from rays; the others see a view from source views of any scene."""
_PROPOSALS = {"hidden_dim": 16, "log2_hashmap_size": 8, "num_levels": 5, "max_res": 128}
SMALL: dict[str, dict[str, Any]] = {
    "gsnerf": {"num_source_views": 2, "rays_per_target": 16, "num_samples": 8},
    "gsnerf-small": {"num_source_views": 2, "rays_per_target": 64, "encoder": "unet"},
    "viewseg": {"num_source_views": 2, "rays_per_image": 8, "num_coarse_samples": 4, "num_fine_samples": 4},
    "viewseg-small": {"num_source_views": 2, "source_rays": 16, "encoder": "unet"},
    "semantic-nerf": {
        "num_levels": 4, "log2_hashmap_size": 8, "num_nerf_samples_per_ray": 8, "proposal_net_args_list": [_PROPOSALS],
    },
    "semantic-nerf-big": {
        "num_levels": 4, "log2_hashmap_size": 8, "num_nerf_samples_per_ray": 8,
        "num_proposal_samples_per_ray": (32, 16), "proposal_net_args_list": [_PROPOSALS] * 2,
    },
    "semantic-ngp": {"num_levels": 4, "log2_hashmap_size": 8, "grid_resolution": 16},
    "semantic-splatfacto": {},
    "semantic-nerf-vanilla": {"hidden_dim": 16, "num_coarse_samples": 8, "num_importance_samples": 8},
}  # fmt: skip
"""Model options of the methods that make them small."""


def configured(
    method: MethodSpecification, scene: Path, output: Path, steps: int, **model: Any
) -> SemanticTrainerConfig:
    """A small training of a method on a CPU; it ends without scores, which take longer than its steps."""
    config = copy.deepcopy(method.config)
    assert isinstance(config, SemanticTrainerConfig)
    config.output_dir = output
    config.max_num_iterations = steps
    config.vis = "tensorboard"
    config.machine.device_type = "cpu"
    config.pipeline.datamanager.data = scene
    config.pipeline.eval_images_at_end = 0  # pyright: ignore[reportAttributeAccessIssue]
    manager: Any = config.pipeline.datamanager
    if hasattr(manager, "train_sources"):
        manager.train_sources, manager.targets_per_step = (2, 2), 1
    else:
        manager.train_num_rays_per_batch = 512
    has_grid = hasattr(config.pipeline.model, "log2_hashmap_size")
    for name, value in (({"log2_hashmap_size": 12, "max_res": 128} if has_grid else {}) | model).items():
        setattr(config.pipeline.model, name, copy.deepcopy(value))
    return config
