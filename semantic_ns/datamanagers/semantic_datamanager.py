"""nerfstudio's data manager over labelled images."""

from dataclasses import dataclass, field

from nerfstudio.data.datamanagers.base_datamanager import VanillaDataManager, VanillaDataManagerConfig

from semantic_ns.datamanagers.semantic_dataset import SemanticDataset
from semantic_ns.rays import FastRayGenerator


@dataclass
class SemanticDataManagerConfig(VanillaDataManagerConfig):
    """Options of the data manager."""

    _target: type = field(default_factory=lambda: SemanticDataManager)


class SemanticDataManager(VanillaDataManager[SemanticDataset]):
    """Batches of rays with colour [rays, 3] and `semantics` [rays, 1], classes -1..C-1."""

    config: SemanticDataManagerConfig  # pyright: ignore[reportIncompatibleVariableOverride]

    def setup_train(self) -> None:
        """The parent's loaders and samplers, and rays from one kernel."""
        super().setup_train()
        self.train_ray_generator = FastRayGenerator(self.train_dataset.cameras.to(self.device))
