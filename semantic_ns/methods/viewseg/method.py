"""The registered method `viewseg`."""

from nerfstudio.engine.optimizers import AdamOptimizerConfig

from semantic_ns.datamanagers.many_scenes_datamanager import ManyScenesDataManagerConfig
from semantic_ns.many_scenes.samples import Augmentation
from semantic_ns.methods.many_scenes_pipeline import ManyScenesPipelineConfig
from semantic_ns.methods.many_scenes_trainer import ManyScenesTrainerConfig
from semantic_ns.methods.specification import IS_CUDA, specification
from semantic_ns.methods.viewseg.model import ViewsegModelConfig
from semantic_ns.propagation.config import PropagationConfig

_NUM_STEPS = 50_000
"""13 epochs of 120 000 pairs in batches of 32 (Qian et al. 2021)."""

viewseg = specification(
    "viewseg",
    "ViewSeg at its published sizes: classes and depth of a view that no image shows, of a room that it has not seen; "
    "needs CUDA.",
    ManyScenesPipelineConfig(
        datamanager=ManyScenesDataManagerConfig(
            targets_per_step=1,
            train_sources=(1, 4),
            augmentation=Augmentation(mirror=0.0, scale=1.0, color=0.0),
            depth="scene",
            max_image_width=1024,
        ),
        model=ViewsegModelConfig(eval_num_rays_per_chunk=6000 if IS_CUDA else 256),
        propagation=PropagationConfig(enabled=False),
    ),
    num_iterations=_NUM_STEPS,
    optimizers={"network": {"optimizer": AdamOptimizerConfig(lr=5e-4, eps=1e-8), "scheduler": None}},
    mixed_precision=False,
    trainer=ManyScenesTrainerConfig,
)
