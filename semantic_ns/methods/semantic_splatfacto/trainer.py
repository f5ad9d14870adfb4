"""The trainer of Gaussians."""

from dataclasses import dataclass, field

from nerfstudio.engine.trainer import TRAIN_INTERATION_OUTPUT

from semantic_ns.splatting.memory import memory_errors_as_scene_error
from semantic_ns.trainer import SemanticTrainer, SemanticTrainerConfig


@dataclass
class SplatTrainerConfig(SemanticTrainerConfig):
    """Options of the trainer of Gaussians."""

    _target: type = field(default_factory=lambda: SplatTrainer)


class SplatTrainer(SemanticTrainer):
    """A `SemanticTrainer` that says in one sentence if there are more Gaussians than fit into memory."""

    @memory_errors_as_scene_error("the Gaussians and their gradients")
    def _train_step(self, step: int) -> TRAIN_INTERATION_OUTPUT:
        return super()._train_step(step)
