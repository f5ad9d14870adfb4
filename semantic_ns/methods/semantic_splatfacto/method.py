"""The registered method `semantic-splatfacto`."""

from typing import Any

from nerfstudio.engine.optimizers import AdamOptimizerConfig
from nerfstudio.engine.schedulers import ExponentialDecaySchedulerConfig

from semantic_ns.dataparsers.auto import AutoDataParserConfig
from semantic_ns.methods.semantic_splatfacto.datamanager import SplatDataManagerConfig
from semantic_ns.methods.semantic_splatfacto.model import SemanticSplatfactoModelConfig
from semantic_ns.methods.semantic_splatfacto.optimizer import HeldDecayConfig, SparseAdamConfig
from semantic_ns.methods.semantic_splatfacto.pipeline import SplatPipelineConfig
from semantic_ns.methods.specification import IS_CUDA, specification

_CUDA_RATES = {
    "means": 1.6e-4, "features_dc": 2.5e-3, "features_rest": 2.5e-3 / 20,
    "opacities": 5e-2, "scales": 5e-3, "quats": 1e-3,
}  # fmt: skip
"""Those of splatfacto."""
_CPU_RATES = {
    "means": 0.06, "features_dc": 1e-2 / 0.28209479177387814, "features_rest": 1e-2 / 0.28209479177387814 / 20,
    "opacities": 5e-2, "scales": 2e-2, "quats": 1e-2,
}  # fmt: skip
"""Those of `splatting.fit.FitConfig`: means in the median scale of the Gaussians, colours in harmonics of degree 0."""


def _cuda_optimizer(name: str) -> dict[str, Any]:
    scheduler = ExponentialDecaySchedulerConfig(lr_final=1.6e-6, max_steps=30_000) if name == "means" else None
    return {"optimizer": AdamOptimizerConfig(lr=_CUDA_RATES[name], eps=1e-15), "scheduler": scheduler}


def _cpu_optimizer(name: str) -> dict[str, Any]:
    return {"optimizer": SparseAdamConfig(lr=_CPU_RATES[name], eps=1e-15), "scheduler": HeldDecayConfig()}


semantic_splatfacto = specification(
    "semantic-splatfacto",
    "Gaussians with classes in closed form, from depth images; trains on a CPU in a minute or two.",
    SplatPipelineConfig(
        # The field's type stays nerfstudio's union, so that each dataparser is a word of the command line.
        datamanager=SplatDataManagerConfig(dataparser=AutoDataParserConfig()),
        model=SemanticSplatfactoModelConfig(sh_degree=3 if IS_CUDA else 1),
    ),
    num_iterations=30_000 if IS_CUDA else 400,
    optimizers={
        **{name: _cuda_optimizer(name) if IS_CUDA else _cpu_optimizer(name) for name in _CPU_RATES},
        "bilateral_grid": {  # as splatfacto has it
            "optimizer": AdamOptimizerConfig(lr=2e-3, eps=1e-15),
            "scheduler": ExponentialDecaySchedulerConfig(
                lr_final=1e-4, max_steps=30_000, warmup_steps=1000, lr_pre_warmup=0
            ),
        },
        "camera_opt": {
            "optimizer": AdamOptimizerConfig(lr=1e-4, eps=1e-15),
            "scheduler": ExponentialDecaySchedulerConfig(lr_final=5e-7, max_steps=30_000),
        },
    },
    mixed_precision=False,
)
if IS_CUDA:  # where Gaussians are many, their classes take longer than the thousand steps between checkpoints or images
    semantic_splatfacto.config.steps_per_save = semantic_splatfacto.config.steps_per_eval_image = 10_000
