"""The registered method `gsnerf-small`."""

from semantic_ns.datamanagers.many_scenes_datamanager import ManyScenesDataManagerConfig
from semantic_ns.methods.gsnerf.model import GsnerfModelConfig
from semantic_ns.methods.many_scenes_pipeline import ManyScenesPipelineConfig
from semantic_ns.methods.specification import specification
from semantic_ns.optimizers import FusedAdamWConfig, RunDecayConfig
from semantic_ns.propagation.config import PropagationConfig

RATES = {"network": 2e-3, "trunk": 4e-4}


def adam(rate: float) -> FusedAdamWConfig:
    """AdamW with a bound on the gradient of a group."""
    return FusedAdamWConfig(lr=rate, eps=1e-8, weight_decay=1e-2, max_norm=2.0)


gsnerf_small = specification(
    "gsnerf-small",
    "One model for many rooms: depth, colour and classes of a room that it was not trained on; trains on two cores.",
    ManyScenesPipelineConfig(
        datamanager=ManyScenesDataManagerConfig(),
        model=GsnerfModelConfig(eval_num_rays_per_chunk=1 << 14),
        propagation=PropagationConfig(enabled=False),
        warn_of_veils=False,
    ),
    num_iterations=2000,
    optimizers={name: {"optimizer": adam(rate), "scheduler": RunDecayConfig(warmup_fraction=0.02, final_fraction=0.01, decay="cosine")} for name, rate in RATES.items()},
    mixed_precision=False,
)
