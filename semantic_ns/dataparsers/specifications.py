"""The dataparsers as nerfstudio's entry points. Kept apart: nerfstudio imports this while half imported itself."""

from nerfstudio.plugins.registry_dataparser import DataParserSpecification

from semantic_ns.dataparsers.auto import AutoDataParserConfig
from semantic_ns.dataparsers.nerfstudio_semantic import NerfstudioSemanticDataParserConfig
from semantic_ns.dataparsers.replica import ReplicaDataParserConfig

auto = DataParserSpecification(
    config=AutoDataParserConfig(),
    description="Labelled scene; recognises replica-data and nerfstudio-semantic-data.",
)
replica = DataParserSpecification(
    config=ReplicaDataParserConfig(),
    description="Replica scene with labels in the layout of Semantic-NeRF.",
)
nerfstudio_semantic = DataParserSpecification(
    config=NerfstudioSemanticDataParserConfig(),
    description="nerfstudio's transforms.json with label images.",
)
