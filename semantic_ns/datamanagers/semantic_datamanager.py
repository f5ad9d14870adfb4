"""nerfstudio's data manager over labelled images."""

from dataclasses import dataclass, field

from nerfstudio.data.datamanagers.base_datamanager import VanillaDataManager, VanillaDataManagerConfig
from nerfstudio.data.dataparsers.base_dataparser import DataParserConfig

from semantic_ns.datamanagers.semantic_dataset import SemanticDataset
from semantic_ns.dataparsers.auto import AutoDataParserConfig


@dataclass
class SemanticDataManagerConfig(VanillaDataManagerConfig):
    """Options of the data manager."""

    _target: type = field(default_factory=lambda: SemanticDataManager)
    dataparser: DataParserConfig = field(default_factory=AutoDataParserConfig)
    """How the scene folder is read."""


class SemanticDataManager(VanillaDataManager[SemanticDataset]):
    """Batches of rays with colour [rays, 3] and `semantics` [rays, 1], classes -1..C-1."""

    config: SemanticDataManagerConfig  # pyright: ignore[reportIncompatibleVariableOverride]
