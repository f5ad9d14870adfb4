"""The registered method `semantic-nerf-vanilla`."""

from nerfstudio.engine.schedulers import ExponentialDecaySchedulerConfig

from semantic_ns.dataparsers.auto import AutoDataParserConfig
from semantic_ns.methods.semantic_nerf_vanilla.datamanager import SemanticNerfVanillaDataManagerConfig
from semantic_ns.methods.semantic_nerf_vanilla.model import SemanticNerfVanillaModelConfig
from semantic_ns.methods.specification import specification
from semantic_ns.optimizers import FusedAdamConfig
from semantic_ns.pipeline import SemanticPipelineConfig
from semantic_ns.propagation.config import PropagationConfig

semantic_nerf_vanilla = specification(
    "semantic-nerf-vanilla",
    "The network, sampling and schedule of the Semantic-NeRF paper as published; hours on a CUDA device.",
    SemanticPipelineConfig(
        datamanager=SemanticNerfVanillaDataManagerConfig(
            dataparser=AutoDataParserConfig(), train_num_rays_per_batch=1024, eval_num_rays_per_batch=1024
        ),
        model=SemanticNerfVanillaModelConfig(eval_num_rays_per_chunk=1 << 9),
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
