"""The doctor compares views of images that a lens bends as pinhole cameras would have taken them."""

from pathlib import Path

import numpy as np
import pytest

from semantic_ns.dataparsers.auto import AutoDataParserConfig
from semantic_ns.datasets.semantic_dataset import PinholeDataset, SemanticDataset
from semantic_ns.doctor.loading import load_scene
from support.bent_scene import BENT, write_bent_scene


def test_views_have_pinhole_cameras_and_what_they_see(tmp_path: Path) -> None:
    folder = write_bent_scene(tmp_path / "scene", BENT)
    scene = load_scene(AutoDataParserConfig(data=folder))
    assert not scene.has_distortion
    outputs = AutoDataParserConfig(data=folder).setup().get_dataparser_outputs("train")
    taken, pinholes = SemanticDataset(outputs), PinholeDataset(outputs)
    index = scene.views.images.index(taken.image_filenames[0])
    np.testing.assert_allclose(scene.views.intrinsics[index, 0], float(pinholes.cameras.fx[0]), rtol=1e-6)
    np.testing.assert_array_equal(scene.views.read_labels(index), pinholes.labels_of(0))
    assert (pinholes.labels_of(0) != taken.labels_of(0)).any()
    assert scene.views.read_depth is not None
    depth = pinholes.depth_of(0)
    assert depth is not None
    np.testing.assert_array_equal(scene.views.read_depth(index), depth)


@pytest.mark.parametrize("lens", [{"k1": 0.1, "k4": 0.1}, {"k1": -3.0}])
def test_a_lens_that_cannot_be_undone_is_left_out_and_said(lens: dict[str, float], tmp_path: Path) -> None:
    scene = load_scene(AutoDataParserConfig(data=write_bent_scene(tmp_path / "scene", lens)))
    assert scene.has_distortion
