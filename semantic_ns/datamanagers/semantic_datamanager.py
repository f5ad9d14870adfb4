"""nerfstudio's data manager over labelled images."""

from dataclasses import dataclass, field
from typing import Any

from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.datamanagers.base_datamanager import VanillaDataManager, VanillaDataManagerConfig

from semantic_ns.datamanagers.semantic_dataset import SEMANTICS, SemanticDataset
from semantic_ns.rays import FastRayGenerator
from semantic_ns.supervision import attach_targets


@dataclass
class SemanticDataManagerConfig(VanillaDataManagerConfig):
    """Options of the data manager."""

    _target: type = field(default_factory=lambda: SemanticDataManager)


class SemanticDataManager(VanillaDataManager[SemanticDataset]):
    """Batches of rays with colour [rays, 3] and `semantics` int64 [rays, 1], classes -1..C-1."""

    config: SemanticDataManagerConfig  # pyright: ignore[reportIncompatibleVariableOverride]

    def setup_train(self) -> None:
        """The parent's loaders and samplers, over labels of 16 bits, and rays from one kernel."""
        # The parent keeps all images; 64 bits would be 40 % of them.
        self.train_dataset.has_16_bit_labels = True
        super().setup_train()
        self.train_ray_generator = FastRayGenerator(self.train_dataset.cameras.to(self.device))

    def next_train(self, step: int) -> tuple[RayBundle, dict[str, Any]]:
        """The parent's batch, its labels widened."""
        ray_bundle, batch = super().next_train(step)
        batch[SEMANTICS] = batch[SEMANTICS].long()
        attach_targets(ray_bundle, batch)
        return ray_bundle, batch
