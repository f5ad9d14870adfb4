"""The COLMAP scene with CVAT's labels that the end-to-end figures are of."""

from pathlib import Path

import numpy as np
import torch

from benchmarks import colmap_with_cvat
from semantic_ns.annotations.formats import read_annotations
from semantic_ns.annotations.scene_labels import ImportOptions, import_labels
from semantic_ns.dataparsers.auto import AutoDataParserConfig
from semantic_ns.datasets.semantic_dataset import SemanticDataset


def read(scene: Path) -> SemanticDataset:
    return SemanticDataset(AutoDataParserConfig(data=scene, split="all").setup().get_dataparser_outputs("train"))


def test_labels_and_distances_between_cameras_are_those_of_the_scene(nerfstudio_scene: Path, tmp_path: Path) -> None:
    colmap_with_cvat.main([str(nerfstudio_scene), str(tmp_path / "colmap")])
    import_labels(tmp_path / "colmap", read_annotations(tmp_path / "colmap/annotations.xml"), ImportOptions())
    before, after = read(nerfstudio_scene), read(tmp_path / "colmap")
    order = [[path.name for path in before.image_filenames].index(path.name) for path in after.image_filenames]
    for index, former in enumerate(order):
        names = [np.array([*dataset.taxonomy.names, "void"]) for dataset in (after, before)]
        labels = [dataset.labels_of(number) for dataset, number in ((after, index), (before, former))]
        np.testing.assert_array_equal(names[0][labels[0]], names[1][labels[1]])
    distances = []
    for dataset, chosen in ((before, order), (after, list(range(len(order))))):
        positions = dataset.cameras.camera_to_worlds[chosen, :, 3].double()
        between = torch.cdist(positions, positions)
        distances.append(between / between.max())
    torch.testing.assert_close(distances[0], distances[1], atol=1e-5, rtol=0)
