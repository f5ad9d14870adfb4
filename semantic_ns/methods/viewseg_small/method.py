"""The registered method `viewseg-small`."""

from semantic_ns.datamanagers.many_scenes_datamanager import ManyScenesDataManagerConfig
from semantic_ns.methods.many_scenes_pipeline import ManyScenesPipelineConfig
from semantic_ns.methods.many_scenes_trainer import ManyScenesTrainerConfig
from semantic_ns.methods.specification import specification
from semantic_ns.methods.viewseg_small.model import ViewsegSmallModelConfig
from semantic_ns.optimizers import FusedAdamWConfig, RunDecayConfig
from semantic_ns.propagation.config import PropagationConfig

viewseg_small = specification(
    "viewseg-small",
    "One model for many rooms: classes and depth of a view that no image shows, from one to four images; trains on two "
    "cores.",
    ManyScenesPipelineConfig(
        datamanager=ManyScenesDataManagerConfig(targets_per_step=2, train_sources=(1, 4)),
        model=ViewsegSmallModelConfig(eval_num_rays_per_chunk=1 << 14),
        propagation=PropagationConfig(enabled=False),
    ),
    num_iterations=1200,
    optimizers={
        "network": {
            "optimizer": FusedAdamWConfig(lr=2e-3, eps=1e-8, weight_decay=1e-2, max_norm=2.0),
            "scheduler": RunDecayConfig(warmup_fraction=0.02, final_fraction=0.01, decay="cosine"),
        }
    },
    mixed_precision=False,
    trainer=ManyScenesTrainerConfig,
)
