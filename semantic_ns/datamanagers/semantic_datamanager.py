"""nerfstudio's data manager over labelled images."""

from dataclasses import dataclass, field

from nerfstudio.data.datamanagers.base_datamanager import VanillaDataManager, VanillaDataManagerConfig

from semantic_ns.datamanagers.semantic_dataset import SemanticDataset


@dataclass
class SemanticDataManagerConfig(VanillaDataManagerConfig):
    """Options of the data manager."""

    _target: type = field(default_factory=lambda: SemanticDataManager)


class SemanticDataManager(VanillaDataManager[SemanticDataset]):
    """Batches of rays with colour [rays, 3] and `semantics` [rays, 1], classes -1..C-1."""

    config: SemanticDataManagerConfig  # pyright: ignore[reportIncompatibleVariableOverride]
