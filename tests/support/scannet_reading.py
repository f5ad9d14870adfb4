"""ScanNet scans as read by the dataparser, and what must be true of them."""

import shutil

from semantic_ns.dataparsers.scannet import ScanNetDataParserConfig
from semantic_ns.datasets.semantic_dataset import SemanticDataset
from support.scannet_scene import NAME, write_scan, write_sens
from support.scene_geometry import distance_to_synthetic_room, world_points

REPLICA_OF_NYU40 = {2: 40, 22: 31, 1: 93}


def parse(folder, part="train", **options):
    return ScanNetDataParserConfig(data=folder, **options).setup().get_dataparser_outputs(part)


def assert_in_the_room(outputs):
    """Depth, unprojected, lies on the floor, ceiling and walls that the labels name, to a millimetre and rounding."""
    dataset = SemanticDataset(outputs, load_depth=True)
    source_ids = outputs.metadata["taxonomy"].source_ids
    seen = set()
    for index in range(len(dataset)):
        item = dataset[index]
        points = world_points(outputs, index, item["depth_image_m"])
        for nyu40, replica in REPLICA_OF_NYU40.items():
            is_label = item["semantics"][..., 0].numpy() == source_ids.index(nyu40)
            seen |= {nyu40} if is_label.any() else set()
            assert distance_to_synthetic_room(points[is_label], replica).max(initial=0) < 1.5e-3
    assert seen == set(REPLICA_OF_NYU40)


def sens_only(root, recording, **options):
    """A scan that holds its `.sens` file and its labels only."""
    scan = write_scan(root, recording)
    for name in ("color", "depth", "pose", "intrinsic", "instance-filt"):
        shutil.rmtree(scan / name)
    write_sens(scan / f"{NAME}.sens", recording, **options)
    return scan
