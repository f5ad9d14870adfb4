"""The registered method `gsnerf`."""

from semantic_ns.datamanagers.many_scenes_datamanager import ManyScenesDataManagerConfig
from semantic_ns.many_scenes.samples import Augmentation
from semantic_ns.methods.gsnerf.model import PublishedGsnerfModelConfig
from semantic_ns.methods.gsnerf.training import ClippedAdamConfig
from semantic_ns.methods.many_scenes_pipeline import ManyScenesPipelineConfig
from semantic_ns.methods.many_scenes_trainer import ManyScenesTrainerConfig
from semantic_ns.methods.specification import IS_CUDA, specification
from semantic_ns.optimizers import RunDecayConfig
from semantic_ns.propagation.config import PropagationConfig

_NUM_STEPS, _WARMUP_STEPS = 300_000, 500
_RATE, _FINAL_RATE = 5e-4, 1e-5

gsnerf = specification(
    "gsnerf",
    "GSNeRF at its published sizes: depth, colour and classes of a room that it was not trained on; needs CUDA.",
    ManyScenesPipelineConfig(
        datamanager=ManyScenesDataManagerConfig(
            targets_per_step=1,
            train_sources=(8, 8),
            source_selection="nearest",
            augmentation=Augmentation(mirror=0.0, scale=1.0, color=0.0),
            depth="scene",
            max_image_width=320,
        ),
        model=PublishedGsnerfModelConfig(eval_num_rays_per_chunk=4096 if IS_CUDA else 512),
        propagation=PropagationConfig(enabled=False),
    ),
    num_iterations=_NUM_STEPS,
    optimizers={
        "network": {
            "optimizer": ClippedAdamConfig(lr=_RATE, eps=1e-8, weight_decay=1e-5),
            "scheduler": RunDecayConfig(
                warmup_fraction=_WARMUP_STEPS / _NUM_STEPS,
                final_fraction=_FINAL_RATE / _RATE,
                ramp="linear",
                decay="cosine",
            ),
        }
    },
    mixed_precision=False,
    trainer=ManyScenesTrainerConfig,
)
