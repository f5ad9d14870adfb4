"""The registered method `gsnerf-small`."""

from semantic_ns.datamanagers.many_scenes_datamanager import ManyScenesDataManagerConfig
from semantic_ns.methods.gsnerf_small.model import GsnerfSmallModelConfig
from semantic_ns.methods.many_scenes_pipeline import ManyScenesPipelineConfig
from semantic_ns.methods.many_scenes_trainer import ManyScenesTrainerConfig
from semantic_ns.methods.specification import specification
from semantic_ns.optimizers import FusedAdamWConfig, RunDecayConfig
from semantic_ns.propagation.config import PropagationConfig

gsnerf_small = specification(
    "gsnerf-small",
    "One model for many rooms: depth, colour and classes of a room that it was not trained on; trains on two cores.",
    ManyScenesPipelineConfig(
        datamanager=ManyScenesDataManagerConfig(),
        model=GsnerfSmallModelConfig(eval_num_rays_per_chunk=1 << 14),
        propagation=PropagationConfig(enabled=False),
    ),
    num_iterations=2000,
    optimizers={
        "network": {
            "optimizer": FusedAdamWConfig(lr=2e-3, eps=1e-8, weight_decay=1e-2, max_norm=2.0),
            "scheduler": RunDecayConfig(warmup_fraction=0.02, final_fraction=0.01, decay="cosine"),
        }
    },
    mixed_precision=False,
    trainer=ManyScenesTrainerConfig,
)
