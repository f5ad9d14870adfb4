"""The registered methods. Every `ns-*` command imports this module: it must stay light."""

from collections.abc import Mapping
from typing import Any

from nerfstudio.cameras.camera_optimizers import CameraOptimizerConfig
from nerfstudio.configs.base_config import MachineConfig, ViewerConfig
from nerfstudio.engine.schedulers import ExponentialDecaySchedulerConfig
from nerfstudio.models.base_model import ModelConfig
from nerfstudio.plugins.types import MethodSpecification

from semantic_ns import host
from semantic_ns.datamanagers.semantic_datamanager import SemanticDataManagerConfig
from semantic_ns.dataparsers.auto import AutoDataParserConfig
from semantic_ns.models.semantic_nerf import SemanticNerfModelConfig
from semantic_ns.models.semantic_ngp import SemanticNgpModelConfig
from semantic_ns.optimizers import FusedAdamConfig, FusedAdamWConfig, RunDecayConfig
from semantic_ns.pipeline import SemanticPipelineConfig
from semantic_ns.propagation.config import PropagationConfig
from semantic_ns.trainer import SemanticTrainerConfig
from semantic_ns.vanilla.datamanager import PaperDataManagerConfig
from semantic_ns.vanilla.model import PaperModelConfig

host.prepare()

_IS_CUDA = host.default_device() == "cuda"
"""A step on CUDA takes the same time with 2048 rays and with 32768: there the host is what limits it."""
_NERF_LEARNING_RATES = {"proposal_networks": 1e-2, "fields": 1e-2, "grids": 1e-2, "camera_opt": 1e-3}
_SHORT_RUN_GRID_RATE = 8e-2
"""Of the tables of a run of few steps: eight times the usual rate finds the surface in half the steps."""
_GRID_SHRINK = 1e-2
"""Share by which the entries of tables shrink in a step at the full learning rate, however high that is."""


def _specification(
    name: str,
    description: str,
    pipeline: SemanticPipelineConfig,
    num_iterations: int,
    optimizers: dict[str, dict[str, Any]],
    mixed_precision: bool,
) -> MethodSpecification:
    """A method: what all have in common around one pipeline configuration."""
    config = SemanticTrainerConfig(
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


def _method(
    name: str,
    description: str,
    model: ModelConfig,
    num_iterations: int,
    rays_per_batch: int,
    learning_rates: Mapping[str, float],
    semantic_interval: int = 1,
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
            semantic_interval=semantic_interval,
        ),
        model=model,
    )
    optimizers = {group: optimiser(group, learning_rate) for group, learning_rate in learning_rates.items()}
    return _specification(
        # Half precision saves nothing where the device waits for the host.
        name,
        description,
        pipeline,
        num_iterations,
        optimizers,
        mixed_precision=False,
    )


semantic_nerf = _method(
    "semantic-nerf",
    "Posed images and label images to a 3D-consistent semantic scene; trains on a CPU in minutes.",
    SemanticNerfModelConfig(
        num_levels=10,
        max_res=1024,
        log2_hashmap_size=16,
        num_proposal_iterations=1,
        num_proposal_samples_per_ray=(32,),
        num_nerf_samples_per_ray=16,
        proposal_net_args_list=[{"hidden_dim": 16, "log2_hashmap_size": 16, "num_levels": 5, "max_res": 128}],
        proposal_warmup=500,
        proposal_weights_anneal_max_num_iters=300,
        use_appearance_embedding=False,
        geometry_fraction=0.15,
        camera_optimizer=CameraOptimizerConfig(mode="off"),
        eval_num_rays_per_chunk=1 << 14,
    ),
    num_iterations=1000 if _IS_CUDA else 2000,
    rays_per_batch=16_384 if _IS_CUDA else 2048,
    learning_rates={**_NERF_LEARNING_RATES, "grids": _SHORT_RUN_GRID_RATE},
    semantic_interval=2,
)
semantic_nerf_big = _method(
    "semantic-nerf-big",
    "semantic-nerf with nerfacto's sizes; for a CUDA device.",
    SemanticNerfModelConfig(camera_optimizer=CameraOptimizerConfig(mode="off"), eval_num_rays_per_chunk=1 << 15),
    num_iterations=30_000,
    rays_per_batch=4096,
    learning_rates=_NERF_LEARNING_RATES,
)
semantic_ngp = _method(
    "semantic-ngp",
    "semantic-nerf with an occupancy grid in place of the proposal network.",
    SemanticNgpModelConfig(
        num_levels=10,
        max_res=1024,
        log2_hashmap_size=16,
        grid_resolution=64,
        grid_levels=3,
        grid_decay=0.7,
        grid_threshold=0.05,
        max_samples_per_ray=16,
        average_init_density=0.1,
        render_step_size=0.01,
        eval_num_rays_per_chunk=1 << 12,
    ),
    num_iterations=3000,
    rays_per_batch=2048,
    learning_rates={"fields": 1e-2, "grids": 1e-2},
)
semantic_nerf_vanilla = _specification(
    "semantic-nerf-vanilla",
    "The network, sampling and schedule of the Semantic-NeRF paper as published; hours on a CUDA device.",
    SemanticPipelineConfig(
        datamanager=PaperDataManagerConfig(
            dataparser=AutoDataParserConfig(), train_num_rays_per_batch=1024, eval_num_rays_per_batch=1024
        ),
        model=PaperModelConfig(eval_num_rays_per_chunk=1 << 9),
        propagation=PropagationConfig(enabled=False),
    ),
    num_iterations=200_000,
    optimizers={
        "fields": {
            "optimizer": FusedAdamConfig(lr=5e-4, eps=1e-8),
            # 0.1^(step / 250 000), however long the run is.
            "scheduler": ExponentialDecaySchedulerConfig(lr_final=5e-5, max_steps=250_000),
        }
    },
    mixed_precision=False,
)
