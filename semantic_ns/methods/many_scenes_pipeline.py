"""The pipeline of methods that learn from many scenes: given weights decide the label space before scenes are read."""

from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast

import torch
import tyro
from torch import Tensor
from torch.cuda.amp.grad_scaler import GradScaler

from semantic_ns.datamanagers.many_scenes_datamanager import ManyScenesDataManager
from semantic_ns.errors import SceneError
from semantic_ns.methods.weights import label_space_of, read_weights
from semantic_ns.pipeline import SemanticPipeline, SemanticPipelineConfig


@dataclass
class ManyScenesPipelineConfig(SemanticPipelineConfig):
    """Configuration of `ManyScenesPipeline`."""

    _target: type = field(default_factory=lambda: ManyScenesPipeline)
    warn_of_veils: tyro.conf.Suppress[bool] = False  # its models render no single rays

    def settle(self) -> None:
        """Take the label space of the weights, if some are given; config.yml then holds it and the weights may go.

        Raises:
            SceneError: if there are no weights where they should be, or if the depth of sources that a network reads
                would come from elsewhere in training than in scored scenes.
        """
        depth = cast(Any, self.datamanager).depth
        if getattr(self.model, "depth_input", False) and depth != "scene":
            raise SceneError(
                "Expected --pipeline.datamanager.depth scene with --pipeline.model.depth-input True, for scored scenes "
                f"give the network their depth images, found {depth}; change one of them."
            )
        model, parser = cast(Any, self.model), cast(Any, self.datamanager).dataparser
        if model.weights is not None and parser.label_space is None:
            parser.label_space = label_space_of(read_weights(model.weights)).to_json()

    def for_resume(self) -> "ManyScenesPipelineConfig":
        """The configuration without the weights to begin with: a checkpoint holds later ones."""
        return replace(self, model=replace(cast(Any, self.model), weights=None))


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
        config.settle()
        if test_mode != "val":
            # A checkpoint is loaded next.
            config = config.for_resume()
        super().__init__(config, device, test_mode, world_size, local_rank, grad_scaler)

    def numbered_losses(self, number: int) -> dict[str, Tensor]:
        """Losses of a sample of the stream by its number, which alone decides what is drawn for it.

        So they do not depend on which process takes it, nor on what that has done before.
        """
        sample, batch, seed = self._samples.numbered_sample(number)
        torch.manual_seed(seed)
        return cast(Any, self.model).get_loss_dict(self.model(cast(Any, sample)), batch)

    @property
    def _samples(self) -> ManyScenesDataManager:
        return cast(ManyScenesDataManager, self.datamanager)
