import shutil

import numpy as np
import pytest
from PIL import Image

from semantic_ns.dataparsers.hypersim import HypersimDataParserConfig
from semantic_ns.datasets.semantic_dataset import SemanticDataset
from semantic_ns.io.hdf5 import read_hdf5
from semantic_ns.io.images import read_hdr_image
from semantic_ns.io.tone_mapping import image_exposure, tone_map
from semantic_ns.synthetic_scene import ROOM_HALF_SIZE
from support.hypersim_scene import (
    CAMERAS,
    CEILING,
    FLOOR,
    METRES_PER_ASSET_UNIT,
    UNLABELLED,
    WALL,
    cast,
    edit_hdf5,
    linear_color,
    trajectory,
    world_rays,
    write_hdf5,
    write_hypersim_scene,
)
from support.scene_geometry import label_agreement, world_points


@pytest.fixture(scope="module")
def hypersim_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("hypersim")
    write_hypersim_scene(root)
    return root


@pytest.fixture
def copy_of_root(hypersim_root, copy_scene):
    """The scene in a copy of its root, which holds the camera table."""
    return copy_scene(hypersim_root) / "ai_007_005"


@pytest.fixture(scope="module")
def outputs(hypersim_root):
    """Every frame, in order."""
    return parse_all(hypersim_root)


def parse_all(root, **options):
    config = HypersimDataParserConfig(data=root / "ai_007_005", split="all", **options)
    return config.setup().get_dataparser_outputs("train")


def test_points_of_ray_distance_lie_on_the_room(outputs):
    dataset = SemanticDataset(outputs, load_depth=True)
    length, width, height = ROOM_HALF_SIZE
    checked = 0
    for index in (0, 5, 11):
        item = dataset[index]
        points = world_points(outputs, index, item["depth_image_m"])
        names = np.array([*dataset.taxonomy.names, "void"])[item["semantics"][..., 0].numpy()]
        to_wall = np.minimum(abs(abs(points[..., 0]) - length), abs(abs(points[..., 1]) - width))
        for name, distance in (
            ("wall", to_wall),
            ("floor", abs(points[..., 2])),
            ("ceiling", abs(points[..., 2] - 2 * height)),
        ):
            checked += (names == name).sum()
            assert distance[names == name].max(initial=0) < 1e-3
    assert checked > 3000


def test_planar_depth_is_the_hit_point_along_the_axis_of_the_parsed_camera(outputs):
    c2w = trajectory()
    item = SemanticDataset(outputs, load_depth=True)[2]
    rays = world_rays(CAMERAS["ai_007_005"], c2w[2, :3, :3])
    distance, _ = cast(c2w[2, :3, 3], rays)
    axis = -outputs.cameras.camera_to_worlds[2, :, 2].numpy()
    for row in range(0, 36, 5):
        for column in range(0, 48, 5):
            expected = axis @ (distance[row, column] * rays[row, column])
            assert abs(item["depth_image_m"][row, column, 0].item() - expected) < 1e-3 * expected


def test_rays_of_the_parsed_cameras_are_those_of_the_tilt_shift_camera(outputs):
    for index, pose in enumerate(trajectory()[:12]):
        rays = outputs.cameras.generate_rays(index)
        expected = world_rays(CAMERAS["ai_007_005"], pose[:3, :3])
        assert np.linalg.norm(np.cross(rays.directions.numpy(), expected), axis=-1).max() < 1e-5
        origin = rays.origins[0, 0].numpy() / outputs.dataparser_scale - outputs.dataparser_transform[:, 3].numpy()
        np.testing.assert_allclose(origin, pose[:3, 3], atol=1e-5)


def test_labels_agree_between_views(outputs):
    dataset = SemanticDataset(outputs, load_depth=True)
    counts = np.array([label_agreement(outputs, dataset, i, i + 1) for i in (0, 5, 7, 9)])
    agree, seen = counts.sum(axis=0)
    assert seen > 300
    assert agree / seen > 0.97


def test_labels_are_nyu40_with_minus_one_as_void(outputs):
    taxonomy = outputs.metadata["taxonomy"]
    assert taxonomy.source_ids == (WALL, FLOOR, CEILING)
    assert taxonomy.names == ("wall", "floor", "ceiling")
    dataset = SemanticDataset(outputs)
    for index in (0, 7):
        raw = read_hdf5(outputs.metadata["label_filenames"][index], "labels")
        labels = dataset[index]["semantics"][..., 0].numpy()
        for number, expected in {UNLABELLED: -1, WALL: 0, FLOOR: 1, CEILING: 2}.items():
            assert (labels[raw == number] == expected).all()
    assert any((dataset[index]["semantics"] == -1).any() for index in range(12) if index != 3)


def test_a_frame_without_labels_is_void_and_one_without_depth_unknown(outputs):
    dataset = SemanticDataset(outputs, load_depth=True)
    assert outputs.metadata["label_filenames"][3] is None
    assert (dataset[3]["semantics"] == -1).all()
    assert outputs.metadata["depth_filenames"][4] is None
    assert not dataset[4]["depth_image_m"].any()
    names = outputs.metadata["label_export_names"]
    assert names[3] == "images/scene_cam_00_geometry_hdf5/frame.0003.semantic.hdf5"


def test_one_exposure_serves_every_image(outputs):
    hdr = [read_hdr_image(path) for path in outputs.image_filenames]
    exposures = [image_exposure(image, image[..., 0] != 20) for image in hdr]
    expected = float(np.median(exposures))
    assert len(set(exposures)) > 1
    assert outputs.metadata["exposure"] == pytest.approx(expected)
    dataset = SemanticDataset(outputs)
    for index in (0, 6):
        np.testing.assert_array_equal(dataset.get_numpy_image(index), tone_map(hdr[index], expected))


def test_the_exposure_is_that_of_all_splits(hypersim_root):
    parser = HypersimDataParserConfig(data=hypersim_root / "ai_007_005").setup()
    train, evaluation = (parser.get_dataparser_outputs(split) for split in ("train", "val"))
    assert train.metadata["exposure"] == evaluation.metadata["exposure"]
    assert [path.name for path in evaluation.image_filenames] == ["frame.0000.color.hdf5", "frame.0008.color.hdf5"]
    assert len(train.image_filenames) == 10


def test_previews_are_taken_as_they_are(hypersim_root):
    outputs = parse_all(hypersim_root, color="tonemap")
    assert outputs.image_filenames[5].name == "frame.0005.tonemap.jpg"
    assert "exposure" not in outputs.metadata
    expected = np.array(Image.open(outputs.image_filenames[5]))
    np.testing.assert_array_equal(SemanticDataset(outputs).get_numpy_image(5), expected)


def test_poses_go_by_frame_number_and_not_by_the_order_of_files(copy_of_root, outputs):
    for number in (1, 2, 6):
        (copy_of_root / f"images/scene_cam_00_final_hdf5/frame.{number:04d}.color.hdf5").unlink()
    fewer = parse_all(copy_of_root.parent)
    kept = [0, 3, 4, 5, 7, 8, 9, 10, 11]
    assert [path.name[6:10] for path in fewer.image_filenames] == [f"{number:04d}" for number in kept]
    for index, number in enumerate(kept):
        rotation = fewer.cameras.camera_to_worlds[index, :, :3]
        np.testing.assert_array_equal(rotation, outputs.cameras.camera_to_worlds[number, :, :3])


def test_asset_units_come_from_the_scene_then_from_the_camera_table(copy_of_root, outputs):
    table = copy_of_root / "_detail/metadata_scene.csv"
    table.write_text(f"parameter_name,parameter_value\nmeters_per_asset_unit, {METRES_PER_ASSET_UNIT / 2}\n")
    span = np.ptp(outputs.cameras.camera_to_worlds[:, 0, 3].numpy()) / outputs.dataparser_scale
    half = parse_all(copy_of_root.parent)
    np.testing.assert_allclose(np.ptp(half.cameras.camera_to_worlds[:, 0, 3].numpy()) / half.dataparser_scale, span / 2)
    table.unlink()
    assert parse_all(copy_of_root.parent).dataparser_scale == pytest.approx(outputs.dataparser_scale)


def test_orientations_that_are_no_rotation_are_left_out_and_counted(copy_of_root, capsys):
    path = copy_of_root / "_detail/cam_00/camera_keyframe_orientations.hdf5"
    edit_hdf5(path, lambda values: np.stack([values[0] * 2, *values[1:7], -values[7], *values[8:]]))
    outputs = parse_all(copy_of_root.parent)
    assert [int(path.name[6:10]) for path in outputs.image_filenames] == [1, 2, 3, 4, 5, 6, 8, 9, 10, 11]
    assert "2 frames left out whose orientation is no rotation" in capsys.readouterr().out


@pytest.mark.parametrize("missing", ["semantic", "depth_meters", "render_entity_id"])
def test_other_modalities_may_lack_in_single_frames_and_depth_and_entities_in_all(copy_of_root, missing):
    folder = copy_of_root / "images/scene_cam_00_geometry_hdf5"
    for number in range(1 if missing == "semantic" else 0, 12):
        (folder / f"frame.{number:04d}.{missing}.hdf5").unlink(missing_ok=True)
    outputs = parse_all(copy_of_root.parent)
    assert ("depth_filenames" in outputs.metadata) == (missing != "depth_meters")
    assert len(SemanticDataset(outputs)) == 12


def test_viewsegs_classes_are_those_of_nyu40_without_the_other_ones(copy_of_root):
    def set_first_pixels(labels):
        labels[0, :5] = [37, 38, 39, 40, UNLABELLED]
        return labels

    for path in (copy_of_root / "images/scene_cam_00_geometry_hdf5").glob("*.semantic.hdf5"):
        edit_hdf5(path, set_first_pixels)
    native, viewseg = parse_all(copy_of_root.parent), parse_all(copy_of_root.parent, label_space="viewseg37")
    assert native.metadata["taxonomy"].source_ids == (1, 2, 22, 37, 38, 39, 40)
    assert viewseg.metadata["taxonomy"].names == ("wall", "floor", "ceiling", "bag")
    assert SemanticDataset(viewseg)[0]["semantics"][0, :5, 0].tolist() == [3, -1, -1, -1, -1]
    nyu13 = parse_all(copy_of_root.parent, label_space="nyu13").metadata["taxonomy"]
    assert nyu13.names == ("ceiling", "floor", "furniture", "objects", "wall")


def test_the_camera_table_may_be_given_and_lies_in_any_folder_above(copy_of_root, tmp_path):
    table = copy_of_root.parent / "metadata_camera_parameters.csv"
    given = shutil.move(table, tmp_path / "cameras.csv")
    expected = parse_all(copy_of_root.parent, camera_parameters=given).cameras.fx
    shutil.move(given, tmp_path / table.name)
    np.testing.assert_array_equal(parse_all(copy_of_root.parent).cameras.fx, expected)


def test_another_camera_is_another_trajectory(copy_of_root):
    for place in ("_detail/{}", "images/scene_{}_final_hdf5", "images/scene_{}_geometry_hdf5"):
        shutil.copytree(copy_of_root / place.format("cam_00"), copy_of_root / place.format("cam_01"))
    write_hdf5(
        copy_of_root / "images/scene_cam_01_final_hdf5/frame.0012.color.hdf5",
        linear_color(np.full((36, 48), WALL, np.int16), 1),
    )
    assert len(parse_all(copy_of_root.parent, camera="cam_01").image_filenames) == 13
    assert len(parse_all(copy_of_root.parent).image_filenames) == 12


def test_a_real_scene_stands_on_its_floor(data_root, tmp_path):
    source = data_root / "hypersim"
    if not source.is_dir():
        pytest.skip(f"no Hypersim samples at {source}")
    folder = shutil.copytree(source / "ai_037_002", tmp_path / "ai_037_002")
    labels = read_hdf5(source / "ai_001_001/images/scene_cam_00_geometry_hdf5/frame.0000.semantic.hdf5", "labels")
    # The sample has depth of one frame; colour and labels of another scene stand in.
    for number in (0, 1):
        write_hdf5(folder / f"images/scene_cam_00_final_hdf5/frame.{number:04d}.color.hdf5", linear_color(labels, 1))
        write_hdf5(folder / f"images/scene_cam_00_geometry_hdf5/frame.{number:04d}.semantic.hdf5", labels)
    config = HypersimDataParserConfig(
        data=folder, camera_parameters=source / "metadata_camera_parameters.csv", split="all"
    )
    outputs = config.setup().get_dataparser_outputs("train")
    assert outputs.cameras.fx[0].item() == pytest.approx(887.54, abs=0.01)
    depth = SemanticDataset(outputs, load_depth=True)[0]["depth_image_m"]
    assert depth.shape == (768, 1024, 1)
    assert 2 < depth.min() < depth.max() < 13.2
    # Its floor is at z = 0, which the nominal camera misses by a metre; depth has steps of up to 8 mm.
    heights = world_points(outputs, 0, depth)[..., 2]
    assert abs(np.percentile(heights, 0.1)) < 0.01
    assert (abs(heights) < 0.01).mean() > 0.02
