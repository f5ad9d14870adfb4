"""The dataparsers as nerfstudio's entry points. Kept apart: nerfstudio imports this while half imported itself."""

from nerfstudio.plugins.registry_dataparser import DataParserSpecification

from semantic_ns.dataparsers.auto import AutoDataParserConfig
from semantic_ns.dataparsers.hypersim import HypersimDataParserConfig
from semantic_ns.dataparsers.nerfstudio_semantic import NerfstudioSemanticDataParserConfig
from semantic_ns.dataparsers.replica import ReplicaDataParserConfig
from semantic_ns.dataparsers.scannet import ScanNetDataParserConfig

auto = DataParserSpecification(
    config=AutoDataParserConfig(),
    description="Labelled scene; recognises Replica, nerfstudio's format, Hypersim and ScanNet.",
)
replica = DataParserSpecification(
    config=ReplicaDataParserConfig(),
    description="Replica scene with labels, in the layouts of Semantic-NeRF and of SLAM systems.",
)
nerfstudio_semantic = DataParserSpecification(
    config=NerfstudioSemanticDataParserConfig(),
    description="nerfstudio's transforms.json with label images.",
)
scannet = DataParserSpecification(
    config=ScanNetDataParserConfig(),
    description="ScanNet scan with labels: exported folders or the .sens file.",
)
hypersim = DataParserSpecification(
    config=HypersimDataParserConfig(),
    description="Hypersim scene with NYU40 labels: one camera trajectory.",
)
