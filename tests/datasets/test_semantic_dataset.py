from copy import deepcopy

import h5py
import numpy as np
import pytest
import torch
from nerfstudio.data.datasets.base_dataset import InputDataset
from PIL import Image

from semantic_ns.datamanagers.semantic_datamanager import SemanticDataManagerConfig
from semantic_ns.dataparsers.replica import ReplicaDataParserConfig
from semantic_ns.datasets.semantic_dataset import SemanticDataset
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


def test_depth_can_be_asked_of_single_images_that_items_leave_out(outputs):
    outputs = deepcopy(outputs)
    outputs.metadata["depth_filenames"][1] = None
    for scale in (1.0, 0.5):
        alone, items = (SemanticDataset(outputs, scale, load_depth=load) for load in (False, True))
        for index in range(3):
            depth_m = alone.depth_of(index)
            assert depth_m is not None
            assert depth_m.dtype == np.float32
            np.testing.assert_array_equal(depth_m, items[index]["depth_image_m"][..., 0].numpy())
    del outputs.metadata["depth_filenames"]
    assert SemanticDataset(outputs).depth_of(0) is None


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_colours_have_three_channels_whatever_the_file_has(outputs, tmp_path, mode):
    pixels = np.random.default_rng(0).integers(0, 256, (36, 48, len(mode))).astype(np.uint8)
    Image.fromarray(pixels.squeeze(), mode).save(tmp_path / "color.png")
    other = deepcopy(outputs)
    other.image_filenames[0] = tmp_path / "color.png"
    color = SemanticDataset(other).color_of(0)
    assert color.dtype == torch.float32
    assert color.shape == (36, 48, 3)
    np.testing.assert_allclose(color.numpy() * 255, np.broadcast_to(pixels[..., :3], (36, 48, 3)), atol=1e-4)


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


def test_labels_of_16_bits_are_the_same_numbers(outputs):
    small, large = SemanticDataset(outputs), SemanticDataset(outputs)
    small.has_16_bit_labels = True
    assert small[0]["semantics"].dtype == torch.int16
    torch.testing.assert_close(small[0]["semantics"].long(), large[0]["semantics"])
    small[0]["semantics"].fill_(99)
    torch.testing.assert_close(small[0]["semantics"].long(), large[0]["semantics"])


def test_the_data_manager_keeps_labels_of_16_bits_and_gives_wide_ones(replica_scene):
    config = SemanticDataManagerConfig(
        dataparser=ReplicaDataParserConfig(data=replica_scene), train_num_rays_per_batch=64
    )
    manager = config.setup(device="cpu", test_mode="val", world_size=1, local_rank=0)
    cached = manager.train_image_dataloader.cached_collated_batch
    assert cached["semantics"].dtype == torch.int16
    _, batch = manager.next_train(0)
    assert batch["semantics"].dtype == torch.int64
    places = {int(number): place for place, number in enumerate(cached["image_idx"])}
    assert batch["semantics"].shape == (64, 1)
    for (image, row, column), label in zip(batch["indices"].tolist(), batch["semantics"][:, 0].tolist(), strict=True):
        assert cached["semantics"][places[image], row, column, 0] == label
    assert manager.eval_dataset[0]["semantics"].dtype == torch.int64


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


def with_file(outputs, key, path):
    outputs = deepcopy(outputs)
    outputs.metadata[key][0] = path
    return outputs


def test_labels_and_depth_of_another_size_are_those_of_the_nearest_pixel(outputs, tmp_path):
    ids = np.array(Image.open(outputs.metadata["label_filenames"][0]))[1::2, ::2].copy()
    ids = np.repeat(np.repeat(ids, 4, axis=0), 4, axis=1)
    Image.fromarray(ids).save(tmp_path / "label.png")
    large = with_file(outputs, "label_filenames", tmp_path / "label.png")
    raw = np.random.default_rng(0).integers(0, 5000, (18, 24)).astype(np.uint16)
    Image.fromarray(raw).save(tmp_path / "depth.png")
    item = SemanticDataset(with_file(large, "depth_filenames", tmp_path / "depth.png"), load_depth=True)[0]
    source_ids = np.array([*outputs.metadata["taxonomy"].source_ids, 0])
    for row in range(36):
        for column in range(48):
            assert source_ids[item["semantics"][row, column, 0]] == ids[2 * row + 1, 2 * column + 1]
            assert item["depth_image_m"][row, column, 0] == raw[row // 2, column // 2] * np.float32(0.001)


@pytest.mark.parametrize(("key", "dtype"), [("label_filenames", np.uint8), ("depth_filenames", np.uint16)])
def test_images_of_another_shape_are_refused(outputs, tmp_path, key, dtype):
    Image.fromarray(np.ones((18, 48), dtype)).save(tmp_path / "other.png")
    with pytest.raises(SceneError, match=r"other\.png.*48x36 or in proportion, found 48x18"):
        SemanticDataset(with_file(outputs, key, tmp_path / "other.png"), load_depth=True)[0]


class AddTen:
    """Stands for a `LabelMap`."""

    @staticmethod
    def apply(raw, where):
        del where
        return np.where(raw == -1, 0, raw + 10)


def write_hdf5(path, values):
    with h5py.File(path, "w") as file:
        file["dataset"] = values
    return path


def test_ids_go_through_the_label_map_before_the_taxonomy(outputs, tmp_path):
    ids = np.array(Image.open(outputs.metadata["label_filenames"][0])).astype(np.int16)
    path = write_hdf5(tmp_path / "label.hdf5", np.where(ids == 0, -1, ids - 10))
    mapped = with_file(outputs, "label_filenames", path)
    mapped.metadata["label_map"] = AddTen()
    torch.testing.assert_close(SemanticDataset(mapped)[0]["semantics"], SemanticDataset(outputs)[0]["semantics"])


def test_linear_colour_is_tone_mapped_with_the_exposure_of_the_scene(outputs, tmp_path):
    hdr = np.random.default_rng(0).uniform(0, 0.4, (36, 48, 3)).astype(np.float16)
    linear = deepcopy(outputs)
    linear.image_filenames[0] = write_hdf5(tmp_path / "color.hdf5", hdr)
    linear.metadata["exposure"] = 2.0
    image = SemanticDataset(linear)[0]["image"].numpy()
    np.testing.assert_allclose(image, (2 * hdr.astype(np.float64)) ** (1 / 2.2), atol=0.5 / 255 + 1e-6)
    half = SemanticDataset(linear, scale_factor=0.5)
    assert half.get_numpy_image(0).shape == (18, 24, 3)
    assert half[0]["semantics"].shape == (18, 24, 1)
    np.testing.assert_allclose(half[0]["image"].mean(), image.mean(), atol=0.01)


def test_ray_distance_becomes_planar_depth(outputs, tmp_path):
    distance = np.random.default_rng(0).uniform(1, 4, (36, 48)).astype(np.float32)
    distance[0, 0] = np.nan
    rays = with_file(outputs, "depth_filenames", write_hdf5(tmp_path / "depth.hdf5", distance))
    rays.metadata["depth_metres_per_unit"] = 1.0
    factors = np.random.default_rng(1).uniform(0.5, 1, (36, 48)).astype(np.float32)
    rays.metadata["planar_per_ray_depth"] = factors
    dataset = SemanticDataset(rays, load_depth=True)
    expected = np.where(np.isnan(distance), 0, distance * factors)
    np.testing.assert_array_equal(dataset[0]["depth_image_m"][..., 0].numpy(), expected)
    rays.metadata["planar_per_ray_depth"] = factors[:18]
    with pytest.raises(SceneError, match=r"depth\.hdf5, found 48x36"):
        SemanticDataset(rays, load_depth=True)[0]
