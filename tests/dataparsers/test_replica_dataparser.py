import math
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from semantic_ns.dataparsers.replica import ReplicaDataParserConfig, sequence_names
from semantic_ns.datasets.semantic_dataset import SemanticDataset
from semantic_ns.errors import SceneError
from semantic_ns.geometry import poses
from support.scene_geometry import distance_to_synthetic_room, label_agreement, world_points


def parse(folder, split="train", **options):
    return ReplicaDataParserConfig(data=folder, **options).setup().get_dataparser_outputs(split)


def ids_of(outputs):
    return [int(path.stem.removeprefix("rgb_")) for path in outputs.image_filenames]


def test_frames_come_in_numeric_order_and_split_by_every_eighth(replica_scene):
    assert ids_of(parse(replica_scene, "val")) == [0, 8]
    assert ids_of(parse(replica_scene, "train")) == [i for i in range(12) if i not in (0, 8)]
    assert ids_of(parse(replica_scene, "test")) == [0, 8]


def test_camera_model_is_a_pinhole_with_its_centre_in_the_middle(replica_scene):
    camera = parse(replica_scene).cameras[0]
    assert (camera.width.item(), camera.height.item()) == (48, 36)
    assert (camera.fx.item(), camera.fy.item()) == pytest.approx((24, 24))
    assert (camera.cx.item(), camera.cy.item()) == (24, 18)
    assert parse(replica_scene, hfov=60.0).cameras[0].fx.item() == pytest.approx(24 / math.tan(math.radians(30)))


@pytest.mark.parametrize("data", ["replica_scene", "sequence"])
def test_unprojected_depth_lies_on_the_room_to_a_millimetre(replica_scene, data):
    outputs = parse(replica_scene if data == "replica_scene" else replica_scene / "Sequence_1")
    dataset = SemanticDataset(outputs, load_depth=True)
    taxonomy = outputs.metadata["taxonomy"]
    seen = set()
    for index in range(len(dataset)):
        item = dataset[index]
        points = world_points(outputs, index, item["depth_image_m"])
        for label in (31, 40, 93):
            is_label = item["semantics"][..., 0].numpy() == taxonomy.source_ids.index(label)
            seen |= {label} if is_label.any() else set()
            assert distance_to_synthetic_room(points[is_label], label).max(initial=0) < 1.5e-3
    assert seen == {31, 40, 93}


def test_scale_is_metric_and_cameras_fill_the_cube_but_for_the_margin(replica_scene):
    outputs = parse(replica_scene)
    matrix = np.loadtxt(replica_scene / "Sequence_1" / "traj_w_c.txt").reshape(-1, 4, 4)
    positions = matrix[:, :3, 3]
    extent = abs(positions - positions.mean(axis=0)).max()
    assert outputs.dataparser_scale == pytest.approx(1 / (extent + 1))
    assert outputs.metadata["metres_per_unit"] == pytest.approx(extent + 1)
    everything = torch.cat([parse(replica_scene, s).cameras.camera_to_worlds for s in ("train", "val")])
    assert everything[:, :, 3].abs().max().item() == pytest.approx(extent / (extent + 1), abs=1e-6)
    torch.testing.assert_close(outputs.scene_box.aabb, torch.tensor([[-1.0, -1, -1], [1, 1, 1]]))


def test_instance_images_are_those_of_their_frames_and_not_named_where_there_are_none(replica_scene, copy_scene):
    options = {"train_sequence": "Sequence_1", "eval_sequence": "Sequence_2"}
    scene = copy_scene(replica_scene)
    (scene / "Sequence_1/semantic_instance/semantic_instance_3.png").unlink()
    for split, sequence in (("train", "Sequence_1"), ("val", "Sequence_2")):
        outputs = parse(scene, split, **options)
        for number, path in zip(ids_of(outputs), outputs.metadata["instance_filenames"], strict=True):
            expected = scene / sequence / f"semantic_instance/semantic_instance_{number}.png"
            assert path == (expected if expected.exists() else None)
    shutil.rmtree(scene / "Sequence_1/semantic_instance")
    assert "instance_filenames" not in parse(scene).metadata


def test_world_up_stays_up(replica_scene):
    """OpenGL cameras that stand upright have their y axis along world z."""
    assert (parse(replica_scene).cameras.camera_to_worlds[:, 2, 1] > 0.5).all()


def test_two_sequences_train_and_score_in_one_world_frame(replica_scene):
    options = {"train_sequence": "Sequence_1", "eval_sequence": "Sequence_2"}
    train, evaluation = parse(replica_scene, "train", **options), parse(replica_scene, "val", **options)
    assert ids_of(train) == ids_of(evaluation) == list(range(12))
    assert {path.parts[-3] for path in train.image_filenames} == {"Sequence_1"}
    assert {path.parts[-3] for path in evaluation.image_filenames} == {"Sequence_2"}
    torch.testing.assert_close(train.dataparser_transform, evaluation.dataparser_transform)
    assert train.dataparser_scale == evaluation.dataparser_scale
    centre = torch.cat([train.cameras.camera_to_worlds, evaluation.cameras.camera_to_worlds])[:, :, 3].mean(dim=0)
    torch.testing.assert_close(centre, torch.zeros(3), atol=1e-6, rtol=0)
    for outputs in (train, evaluation):
        item = SemanticDataset(outputs, load_depth=True)[3]
        floor = item["semantics"][..., 0].numpy() == outputs.metadata["taxonomy"].source_ids.index(40)
        assert abs(world_points(outputs, 3, item["depth_image_m"])[floor][:, 2]).max() < 1.5e-3


def test_sequences_are_chosen_by_name_and_sorted_by_number(replica_scene, tmp_path):
    assert parse(replica_scene, train_sequence="Sequence_2").image_filenames[0].parts[-3] == "Sequence_2"
    assert parse(replica_scene, eval_sequence="Sequence_1").image_filenames[0].parts[-3] == "Sequence_2"
    assert parse(replica_scene).image_filenames[0].parts[-3] == "Sequence_1"
    for number in (10, 2, 1):
        (tmp_path / f"Sequence_{number}").mkdir()
    assert sequence_names(tmp_path) == ["Sequence_1", "Sequence_2", "Sequence_10"]


def test_naming_one_sequence_twice_splits_it(replica_scene):
    outputs = parse(replica_scene, "val", train_sequence="Sequence_2", eval_sequence="Sequence_2")
    assert ids_of(outputs) == [0, 8]


def test_class_set_is_that_of_all_labels_in_every_split(replica_scene, copy_scene):
    scene = copy_scene(replica_scene)
    labels = scene / "Sequence_1" / "semantic_class"
    raw = np.array(Image.open(labels / "semantic_class_8.png"))
    raw[0, 0] = 7
    Image.fromarray(raw).save(labels / "semantic_class_8.png")
    train, evaluation = (parse(scene, split).metadata["taxonomy"] for split in ("train", "val"))
    assert train == evaluation
    assert train.source_ids == (7, 18, 20, 29, 31, 37, 40, 47, 76, 80, 93, 97)
    assert "bed" in train.names


def test_metadata_has_one_item_per_image(replica_scene):
    outputs = parse(replica_scene, "val")
    metadata = outputs.metadata
    assert [path.name for path in metadata["label_filenames"]] == ["semantic_class_0.png", "semantic_class_8.png"]
    assert metadata["label_export_names"][1] == "Sequence_1/semantic_class/semantic_class_8.png"
    assert [path.name for path in metadata["depth_filenames"]] == ["depth_0.png", "depth_8.png"]
    assert metadata["depth_metres_per_unit"] == 0.001
    assert metadata["near_far_m"] == (0.1, 10.0)
    assert metadata["split"] == "interval (one frame in 8 is scored, the others train): 10 train, 2 test images"
    assert metadata["void_rule"] == "pixels whose label is void (id 0) are neither trained nor scored"
    assert len(outputs.cameras) == 2


def test_missing_images_labels_and_depth_are_tolerated(replica_scene, copy_scene):
    sequence = copy_scene(replica_scene) / "Sequence_1"
    (sequence / "rgb" / "rgb_3.png").unlink()
    (sequence / "semantic_class" / "semantic_class_4.png").unlink()
    (sequence / "depth" / "depth_5.png").unlink()
    outputs = parse(sequence.parent)
    kept = ids_of(outputs)
    # Frame 9 is now the eighth that is there.
    assert kept == [1, 2, 4, 5, 6, 7, 8, 10, 11]
    labels = dict(zip(kept, outputs.metadata["label_filenames"], strict=True))
    depths = dict(zip(kept, outputs.metadata["depth_filenames"], strict=True))
    assert labels[4] is None
    assert depths[5] is None
    assert labels[5] is not None
    names = dict(zip(kept, outputs.metadata["label_export_names"], strict=True))
    assert names[4] == "Sequence_1/semantic_class/semantic_class_4.png"


def test_a_scene_without_depth_has_no_depth_key(replica_scene, copy_scene):
    scene = copy_scene(replica_scene)
    shutil.rmtree(scene / "Sequence_1" / "depth")
    assert "depth_filenames" not in parse(scene).metadata


def test_pictures_of_labels_and_other_files_are_passed_over(replica_scene, copy_scene):
    scene = copy_scene(replica_scene)
    for name in ("semantic_class/vis_sem_class_0.png", "semantic_class/semantic_class_old_1.png", "rgb/notes.txt"):
        (scene / "Sequence_1" / name).write_bytes(b"no image")
    assert len(parse(scene).image_filenames) == 10


def test_nothing_is_written_into_the_scene(replica_scene):
    before = sorted(replica_scene.rglob("*"))
    parse(replica_scene)
    assert sorted(replica_scene.rglob("*")) == before


def test_class_names_come_from_the_scene_then_from_the_published_place_then_from_the_package(
    replica_scene, copy_scene, tmp_path
):
    scene = copy_scene(replica_scene)
    info = scene / "info_semantic.json"
    text = info.read_text().replace('"sofa"', '"couch"')
    info.write_text(text)
    assert "couch" in parse(scene).metadata["taxonomy"].names
    info.unlink()
    assert "sofa" in parse(scene).metadata["taxonomy"].names
    published = tmp_path / "semantic_info" / scene.name / "info_semantic.json"
    published.parent.mkdir(parents=True)
    published.write_text(text)
    assert "couch" in parse(scene).metadata["taxonomy"].names
    assert "couch" in parse(scene / "Sequence_1").metadata["taxonomy"].names


def test_own_class_table_goes_before_the_scenes(replica_scene, tmp_path):
    table = tmp_path / "own.csv"
    ids = (18, 20, 29, 31, 37, 40, 47, 76, 80, 93, 97)
    table.write_text("id,name\n" + "".join(f"{i},own {i}\n" for i in ids))
    taxonomy = parse(replica_scene, classes=table).metadata["taxonomy"]
    assert taxonomy.names == tuple(f"own {i}" for i in ids)


def test_published_split_is_taken_for_reduced_published_captures(replica_scene, copy_scene):
    scene = copy_scene(replica_scene)
    for i in range(12):
        if i % 5 not in (0, 2):
            (scene / "Sequence_1" / "rgb" / f"rgb_{i}.png").unlink()
    assert ids_of(parse(scene)) == [0, 5, 10]
    assert ids_of(parse(scene, "val")) == [2, 7]


def test_the_choice_is_printed_once(replica_scene, capsys):
    parser = ReplicaDataParserConfig(data=replica_scene).setup()
    for split in ("train", "val", "test"):
        parser.get_dataparser_outputs(split)
    assert capsys.readouterr().out.count("interval (one frame in 8 is scored") == 1


@pytest.mark.parametrize(
    "options",
    [
        {"train_sequence": "Sequence_3"},
        {"eval_sequence": "sequence_1"},
        {"hfov": 180.0},
        {"camera_margin": 0.0},
    ],
)
def test_options_that_do_not_fit_are_refused(replica_scene, options):
    with pytest.raises(SceneError, match="Expected"):
        parse(replica_scene, **options)


def test_sequence_options_need_a_scene_folder(replica_scene):
    with pytest.raises(SceneError, match="pass its parent"):
        parse(replica_scene / "Sequence_1", eval_sequence="Sequence_2")


def test_opencv_to_opengl_turns_the_camera_and_is_its_own_inverse():
    c2w = np.random.default_rng(0).normal(size=(3, 4, 4))
    turned = poses.opencv_to_opengl(c2w)
    for before, after in zip(c2w, turned, strict=True):
        for row in range(4):
            x, y, z, t = before[row]
            np.testing.assert_array_equal(after[row], [x, -y, -z, t])
    np.testing.assert_array_equal(poses.opencv_to_opengl(turned), c2w)


def test_similarity_maps_poses_as_it_maps_points():
    rng = np.random.default_rng(0)
    c2w = np.tile(np.eye(4), (5, 1, 1))
    c2w[:, :3, 3] = rng.normal(size=(5, 3))
    similarity = poses.centre_and_scale(c2w, margin_m=0.5)
    mapped = similarity.apply_to_poses(c2w)
    for pose, result in zip(c2w, mapped, strict=True):
        homogeneous = np.append(pose[:3, 3], 1)
        np.testing.assert_allclose(result[:, 3], similarity.scale * (similarity.transform @ homogeneous))
        np.testing.assert_array_equal(result[:, :3], pose[:3, :3])


@pytest.mark.parametrize(
    ("name", "num_images", "num_classes"),
    [
        ("rendered/room_0", (60, 60), 24),
        ("rendered/many/scene_01", (12, 12), 24),
        ("replica/kitchen_A", (63, 10), 35),
        ("replica/bed1_A", (54, 8), 18),
    ],
)
def test_labels_of_real_scenes_agree_between_views(data_root, name, num_images, num_classes):
    train, evaluation = parse(data_root / name), parse(data_root / name, "val")
    assert (len(train.image_filenames), len(evaluation.image_filenames)) == num_images
    assert train.metadata["taxonomy"].num_classes == num_classes
    dataset = SemanticDataset(train, load_depth=True)
    pairs = [(i, j) for i in range(0, len(dataset), 6) for j in (i + 1, i + 3) if j < len(dataset)]
    counts = np.array([label_agreement(train, dataset, *pair) for pair in pairs])
    agree, seen = counts.sum(axis=0)
    assert seen > 10_000
    assert agree / seen > 0.9
