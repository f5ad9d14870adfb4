from copy import deepcopy

import numpy as np
import pytest
import torch
from nerfstudio.data.datasets.base_dataset import InputDataset
from PIL import Image

from semantic_ns.datamanagers.semantic_dataset import SemanticDataset
from semantic_ns.dataparsers.replica import ReplicaDataParserConfig
from semantic_ns.errors import SceneError


@pytest.fixture(scope="module")
def outputs(replica_scene):
    return ReplicaDataParserConfig(data=replica_scene).setup().get_dataparser_outputs("train")


def test_labels_are_the_files_through_the_taxonomy(outputs):
    dataset = SemanticDataset(outputs)
    for index in (0, 5):
        item = dataset[index]
        raw = np.array(Image.open(outputs.metadata["label_filenames"][index]))
        assert item["semantics"].dtype == torch.int64
        assert item["semantics"].shape == (36, 48, 1)
        expected = [[dataset.taxonomy.source_ids.index(i) if i else -1 for i in row] for row in raw.tolist()]
        assert item["semantics"][..., 0].tolist() == expected


def test_void_is_no_mask_so_that_it_still_trains_colour(outputs):
    dataset = SemanticDataset(outputs)
    items = [dataset[index] for index in range(len(dataset))]
    assert any((item["semantics"] == -1).any() for item in items)
    assert all("mask" not in item for item in items)


def test_images_are_the_parents(outputs):
    torch.testing.assert_close(SemanticDataset(outputs)[2]["image"], InputDataset(outputs)[2]["image"])


def test_a_frame_without_label_is_all_void(outputs):
    outputs = deepcopy(outputs)
    outputs.metadata["label_filenames"][1] = None
    assert (SemanticDataset(outputs)[1]["semantics"] == -1).all()


def test_depth_is_given_in_metres_on_request_only(outputs):
    dataset = SemanticDataset(outputs)
    assert "depth_image_m" not in dataset[0]
    dataset.load_depth = True
    depth = dataset[0]["depth_image_m"]
    assert depth.dtype == torch.float32
    raw = np.array(Image.open(outputs.metadata["depth_filenames"][0])).astype(np.float32)
    np.testing.assert_allclose(depth[..., 0].numpy(), raw / 1000, rtol=1e-6)


def test_a_frame_without_depth_is_unknown_and_a_scene_without_has_no_key(outputs):
    outputs = deepcopy(outputs)
    outputs.metadata["depth_filenames"][0] = None
    assert not SemanticDataset(outputs, load_depth=True)[0]["depth_image_m"].any()
    del outputs.metadata["depth_filenames"]
    assert "depth_image_m" not in SemanticDataset(outputs, load_depth=True)[0]


def test_labels_are_read_once(outputs, copy_scene, replica_scene):
    scene = copy_scene(replica_scene)
    dataset = SemanticDataset(ReplicaDataParserConfig(data=scene).setup().get_dataparser_outputs("train"))
    first = dataset[0]["semantics"]
    for path in (scene / "Sequence_1" / "semantic_class").iterdir():
        path.unlink()
    torch.testing.assert_close(dataset[0]["semantics"], first)


def test_what_an_item_holds_can_be_changed_without_harm(outputs):
    dataset = SemanticDataset(outputs)
    before = dataset[0]["semantics"].clone()
    dataset[0]["semantics"].fill_(99)
    torch.testing.assert_close(dataset[0]["semantics"], before)


def test_downscaled_images_get_downscaled_labels_of_the_pixel_centres(outputs):
    full, half = SemanticDataset(outputs), SemanticDataset(outputs, scale_factor=0.5)
    assert half[0]["image"].shape == (18, 24, 3)
    expected = full[0]["semantics"][1::2, 1::2]
    torch.testing.assert_close(half[0]["semantics"], expected)
    half.load_depth = True
    assert half[0]["depth_image_m"].shape == (18, 24, 1)


def test_large_tensors_stay_off_the_device_and_lists_are_not_shared(outputs):
    first, second = SemanticDataset(outputs), SemanticDataset(outputs)
    assert set(first.exclude_batch_keys_from_device) == {"image", "mask", "semantics", "depth_image_m"}
    first.exclude_batch_keys_from_device.remove("image")
    assert "image" in second.exclude_batch_keys_from_device
    assert "semantics" not in InputDataset.exclude_batch_keys_from_device


def test_depth_of_another_size_is_refused(outputs, tmp_path):
    outputs = deepcopy(outputs)
    Image.fromarray(np.ones((18, 24), np.uint16)).save(tmp_path / "depth.png")
    outputs.metadata["depth_filenames"][0] = tmp_path / "depth.png"
    with pytest.raises(SceneError, match=r"depth\.png.*48x36, found 24x18"):
        SemanticDataset(outputs, load_depth=True)[0]


def test_label_of_another_size_is_refused(outputs, tmp_path):
    outputs = deepcopy(outputs)
    Image.fromarray(np.ones((18, 24), np.uint8)).save(tmp_path / "label.png")
    outputs.metadata["label_filenames"][0] = tmp_path / "label.png"
    with pytest.raises(SceneError, match=r"label\.png.*48x36, found 24x18"):
        SemanticDataset(outputs)[0]
