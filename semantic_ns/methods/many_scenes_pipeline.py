"""The pipeline of methods that learn from many scenes: given weights decide the label space before scenes are read."""

from dataclasses import dataclass, field
from typing import Any, Literal, cast

import torch
from torch.cuda.amp.grad_scaler import GradScaler

from semantic_ns.methods.weights import label_space_of, read_weights
from semantic_ns.pipeline import SemanticPipeline, SemanticPipelineConfig


@dataclass
class ManyScenesPipelineConfig(SemanticPipelineConfig):
    """Configuration of `ManyScenesPipeline`."""

    _target: type = field(default_factory=lambda: ManyScenesPipeline)


class ManyScenesPipeline(SemanticPipeline):
    """A `SemanticPipeline` whose scenes are read in the label space of the model's weights, if some are given."""

    def __init__(
        self,
        config: ManyScenesPipelineConfig,
        device: str | torch.device,
        test_mode: Literal["test", "val", "inference"] = "val",
        world_size: int = 1,
        local_rank: int = 0,
        grad_scaler: GradScaler | None = None,
    ) -> None:
        model, data = cast(Any, config.model), cast(Any, config.datamanager)
        if model.weights is not None and data.dataparser.label_space is None:
            data.dataparser.label_space = label_space_of(read_weights(model.weights)).to_json()
        super().__init__(config, device, test_mode, world_size, local_rank, grad_scaler)
