import h5py
import numpy as np
import pytest
from PIL import Image

from semantic_ns.errors import SceneError
from semantic_ns.io.hdf5 import read_hdf5
from semantic_ns.io.images import color_image_size, read_depth_image, read_hdr_image, read_label_image

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(("dtype", "high"), [(np.uint8, 256), (np.uint16, 65536), (np.int32, 100_000)])
def test_label_image_gives_the_ids_that_were_saved(tmp_path, dtype, high):
    ids = RNG.integers(0, high, (5, 7)).astype(dtype)
    Image.fromarray(ids).save(tmp_path / "label.tiff" if dtype is np.int32 else tmp_path / "label.png")
    path = next(tmp_path.iterdir())
    result = read_label_image(path)
    assert result.dtype == np.int64
    np.testing.assert_array_equal(result, ids)


def test_index_image_gives_indices_and_not_palette_colours(tmp_path):
    ids = RNG.integers(0, 40, (5, 7)).astype(np.uint8)
    image = Image.fromarray(ids, "P")
    image.putpalette(RNG.integers(0, 256, 768).astype(np.uint8).tobytes())
    image.save(tmp_path / "label.png")
    np.testing.assert_array_equal(read_label_image(tmp_path / "label.png"), ids)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_label_image_with_several_channels_is_refused(tmp_path, mode):
    color = {"RGB": (1, 2, 1), "RGBA": (1, 1, 1, 0), "LA": (1, 0)}[mode]
    Image.new(mode, (7, 5), color).save(tmp_path / "label.png")
    with pytest.raises(SceneError, match=rf"label\.png, found {len(mode)} channels"):
        read_label_image(tmp_path / "label.png")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_truncated_label_image_is_refused_wherever_it_ends(tmp_path, share):
    path = tmp_path / "label.png"
    Image.fromarray(RNG.integers(0, 256, (64, 64)).astype(np.uint8)).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(SceneError, match=r"label\.png.*truncated"):
        read_label_image(path)


def test_damaged_label_image_is_refused(tmp_path):
    path = tmp_path / "label.png"
    Image.fromarray(RNG.integers(0, 256, (64, 64)).astype(np.uint8)).save(path)
    content = bytearray(path.read_bytes())
    content[50:150] = bytes(100)
    path.write_bytes(content)
    with pytest.raises(SceneError, match=r"label\.png"):
        read_label_image(path)


def test_missing_files_are_told(tmp_path):
    for read in (read_label_image, color_image_size, lambda path: read_depth_image(path, 1.0)):
        with pytest.raises(SceneError, match=r"absent\.png, found none"):
            read(tmp_path / "absent.png")


def test_depth_is_in_metres_with_zero_unknown(tmp_path):
    millimetres = np.array([[0, 1, 1000], [65535, 2500, 7]], np.uint16)
    Image.fromarray(millimetres).save(tmp_path / "depth.png")
    depth = read_depth_image(tmp_path / "depth.png", 0.001)
    assert depth.dtype == np.float32
    np.testing.assert_allclose(depth, millimetres / 1000, rtol=1e-6)


def test_depth_array_that_is_not_finite_or_negative_is_unknown(tmp_path):
    np.save(tmp_path / "depth.npy", np.array([[np.nan, np.inf], [-1, 2]], np.float64)[..., None])
    np.testing.assert_array_equal(read_depth_image(tmp_path / "depth.npy", 0.5), [[0, 0], [0, 1]])


def test_depth_with_three_channels_is_refused(tmp_path):
    Image.new("RGB", (7, 5)).save(tmp_path / "depth.png")
    with pytest.raises(SceneError, match=r"depth\.png, found channels RGB"):
        read_depth_image(tmp_path / "depth.png", 0.001)


def test_colour_image_size_is_width_height(tmp_path):
    Image.new("RGB", (7, 5)).save(tmp_path / "rgb.png")
    assert color_image_size(tmp_path / "rgb.png") == (7, 5)


def test_a_picture_of_fractions_is_no_colour_image(tmp_path):
    Image.fromarray(np.zeros((5, 7), np.float32)).save(tmp_path / "rgb.tif")
    with pytest.raises(SceneError, match=r"rgb\.tif, found mode F"):
        color_image_size(tmp_path / "rgb.tif")


def write_hdf5(path, values, name="dataset"):
    with h5py.File(path, "w") as file:
        file[name] = values
    return path


def test_hdf5_labels_are_the_numbers_that_were_saved(tmp_path):
    ids = RNG.integers(-1, 41, (5, 7)).astype(np.int16)
    result = read_label_image(write_hdf5(tmp_path / "label.hdf5", ids))
    assert result.dtype == np.int64
    np.testing.assert_array_equal(result, ids)


def test_hdf5_depth_is_in_metres_with_zero_unknown(tmp_path):
    depth = np.array([[np.nan, np.inf, -1], [0, 2, 3]], np.float16)
    result = read_depth_image(write_hdf5(tmp_path / "depth.h5", depth), 0.5)
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, [[0, 0, 0], [0, 1, 1.5]])


def test_hdf5_colour_is_linear_and_its_size_is_width_height(tmp_path):
    hdr = RNG.lognormal(0, 2, (5, 7, 3)).astype(np.float16)
    path = write_hdf5(tmp_path / "color.HDF5", hdr)
    assert color_image_size(path) == (7, 5)
    result = read_hdr_image(path)
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, hdr)


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 4), (2, 5, 7, 3)])
def test_hdf5_colour_of_another_shape_is_refused(tmp_path, shape):
    path = write_hdf5(tmp_path / "color.hdf5", np.zeros(shape, np.float16))
    for read in (color_image_size, read_hdr_image):
        with pytest.raises(SceneError, match=r"color\.hdf5, found \("):
            read(path)


@pytest.mark.parametrize("values", [np.full((5, 7), 0.5, np.float32), np.zeros((5, 7, 3), np.uint8)])
def test_hdf5_labels_that_are_no_ids_are_refused(tmp_path, values):
    with pytest.raises(SceneError, match=r"label\.hdf5, found (float32|uint8) of shape"):
        read_label_image(write_hdf5(tmp_path / "label.hdf5", values))


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_truncated_hdf5_file_is_refused_wherever_it_ends(tmp_path, share):
    path = write_hdf5(tmp_path / "label.hdf5", RNG.integers(0, 41, (64, 64)))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(SceneError, match=r"label\.hdf5.*truncated"):
        read_label_image(path)


def test_damaged_hdf5_data_are_refused(tmp_path):
    path = tmp_path / "label.hdf5"
    with h5py.File(path, "w") as file:
        file.create_dataset("dataset", data=RNG.integers(0, 41, (64, 64)), compression="gzip", chunks=(64, 64))
        offset = file["dataset"].id.get_chunk_info(0).byte_offset
    content = bytearray(path.read_bytes())
    content[offset : offset + 500] = bytes(500)
    path.write_bytes(content)
    with pytest.raises(SceneError, match=r"label\.hdf5"):
        read_label_image(path)


def test_hdf5_files_without_the_array_of_numbers_are_refused(tmp_path):
    for name, values in (("other", 1), ("dataset/below", 1), ("dataset", "text")):
        with pytest.raises(SceneError, match=f"named 'dataset' in the trajectory .*found {name.partition('/')[0]}"):
            read_hdf5(write_hdf5(tmp_path / "a.hdf5", values, name), "trajectory")
    with pytest.raises(SceneError, match=r"trajectory at .*b\.hdf5, found none"):
        read_hdf5(tmp_path / "b.hdf5", "trajectory")
