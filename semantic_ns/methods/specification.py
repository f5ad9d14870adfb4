"""What registered methods have in common. Every `ns-*` command imports this module: it must stay light."""

from collections.abc import Mapping
from typing import Any

from nerfstudio.configs.base_config import MachineConfig, ViewerConfig
from nerfstudio.models.base_model import ModelConfig
from nerfstudio.plugins.types import MethodSpecification

from semantic_ns import host
from semantic_ns.datamanagers.semantic_datamanager import SemanticDataManagerConfig
from semantic_ns.dataparsers.auto import AutoDataParserConfig
from semantic_ns.optimizers import FusedAdamConfig, FusedAdamWConfig, RunDecayConfig
from semantic_ns.pipeline import SemanticPipelineConfig
from semantic_ns.trainer import SemanticTrainerConfig

IS_CUDA = host.default_device() == "cuda"
"""A step on CUDA takes the same time with 2048 rays and with 32768: there the host is what limits it."""
NERF_LEARNING_RATES = {"proposal_networks": 1e-2, "fields": 1e-2, "grids": 1e-2, "camera_opt": 1e-3}
_GRID_SHRINK = 1e-2
"""Share by which the entries of tables shrink in a step at the full learning rate, however high that is."""


def specification(
    name: str,
    description: str,
    pipeline: SemanticPipelineConfig,
    num_iterations: int,
    optimizers: dict[str, dict[str, Any]],
    mixed_precision: bool,
    trainer: type[SemanticTrainerConfig] = SemanticTrainerConfig,
) -> MethodSpecification:
    """A method: what all have in common around one pipeline configuration."""
    config = trainer(
        method_name=name,
        steps_per_eval_batch=1000,
        steps_per_eval_image=1000,
        steps_per_eval_all_images=1_000_000,
        steps_per_save=1000,
        max_num_iterations=num_iterations,
        mixed_precision=mixed_precision,
        machine=MachineConfig(device_type=host.default_device()),
        viewer=ViewerConfig(
            num_rays_per_chunk=min(1 << 15, 2 * pipeline.model.eval_num_rays_per_chunk),
            websocket_host="127.0.0.1",  # nerfstudio's default gives the viewer to everybody on the network
        ),
        vis="viewer",
        pipeline=pipeline,
        optimizers=optimizers,
    )
    return MethodSpecification(config=config, description=description)


def hash_grid_method(
    name: str,
    description: str,
    model: ModelConfig,
    num_iterations: int,
    rays_per_batch: int,
    learning_rates: Mapping[str, float],
) -> MethodSpecification:
    """A method with a hash grid: what these have in common around one model configuration."""

    def optimiser(group: str, learning_rate: float) -> dict[str, Any]:
        adam = FusedAdamConfig(lr=learning_rate, eps=1e-15)
        if group == "grids":
            adam = FusedAdamWConfig(lr=learning_rate, eps=1e-15, weight_decay=_GRID_SHRINK / learning_rate)
        return {"optimizer": adam, "scheduler": RunDecayConfig()}

    pipeline = SemanticPipelineConfig(
        # The field's type stays nerfstudio's union, so that each dataparser is a word of the command line.
        datamanager=SemanticDataManagerConfig(
            dataparser=AutoDataParserConfig(),
            train_num_rays_per_batch=rays_per_batch,
            eval_num_rays_per_batch=1024,
        ),
        model=model,
    )
    optimizers = {group: optimiser(group, learning_rate) for group, learning_rate in learning_rates.items()}
    return specification(
        # Half precision saves nothing where the device waits for the host.
        name,
        description,
        pipeline,
        num_iterations,
        optimizers,
        mixed_precision=False,
    )
