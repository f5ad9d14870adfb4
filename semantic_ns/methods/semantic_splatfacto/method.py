"""The registered method `semantic-splatfacto`."""

from typing import Any

from nerfstudio.engine.optimizers import AdamOptimizerConfig
from nerfstudio.engine.schedulers import ExponentialDecaySchedulerConfig

from semantic_ns.dataparsers.auto import AutoDataParserConfig
from semantic_ns.methods.semantic_splatfacto.config import SemanticSplatfactoModelConfig
from semantic_ns.methods.semantic_splatfacto.datamanager import SplatDataManagerConfig
from semantic_ns.methods.semantic_splatfacto.optimizer import HeldDecayConfig, SparseAdamConfig
from semantic_ns.methods.semantic_splatfacto.pipeline import SplatPipelineConfig
from semantic_ns.methods.semantic_splatfacto.trainer import SplatTrainerConfig
from semantic_ns.methods.specification import IS_CUDA, specification
from semantic_ns.splatting.fit_config import ADAM_EPSILON, SH_0, FitConfig

_CUDA_RATES = {
    "means": 1.6e-4, "features_dc": 2.5e-3, "features_rest": 2.5e-3 / 20,
    "opacities": 5e-2, "scales": 5e-3, "quats": 1e-3,
}  # fmt: skip
"""Those of splatfacto."""
_FIT = FitConfig()
_CPU_RATES = {
    "means": _FIT.mean_rate, "features_dc": _FIT.color_rate / SH_0, "features_rest": _FIT.color_rate / SH_0 / 20,
    "opacities": _FIT.opacity_rate, "scales": _FIT.scale_rate, "quats": _FIT.quat_rate,
}  # fmt: skip
"""Means in the median scale of the Gaussians, colours in harmonics of degree 0."""


def _cuda_optimizer(name: str) -> dict[str, Any]:
    scheduler = ExponentialDecaySchedulerConfig(lr_final=1.6e-6, max_steps=30_000) if name == "means" else None
    return {"optimizer": AdamOptimizerConfig(lr=_CUDA_RATES[name], eps=1e-15), "scheduler": scheduler}


def _cpu_optimizer(name: str) -> dict[str, Any]:
    return {"optimizer": SparseAdamConfig(lr=_CPU_RATES[name], eps=ADAM_EPSILON), "scheduler": HeldDecayConfig()}


semantic_splatfacto = specification(
    "semantic-splatfacto",
    "Gaussians with classes in closed form, from depth images or stereo; trains on a CPU in two minutes.",
    SplatPipelineConfig(
        # The field's type stays nerfstudio's union, so that each dataparser is a word of the command line.
        datamanager=SplatDataManagerConfig(dataparser=AutoDataParserConfig()),
        model=SemanticSplatfactoModelConfig(sh_degree=3 if IS_CUDA else 1),
    ),
    num_iterations=30_000 if IS_CUDA else _FIT.steps,
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
    trainer=SplatTrainerConfig,
)
if IS_CUDA:  # where Gaussians are many, their classes take longer than the thousand steps between checkpoints or images
    semantic_splatfacto.config.steps_per_save = semantic_splatfacto.config.steps_per_eval_image = 10_000
