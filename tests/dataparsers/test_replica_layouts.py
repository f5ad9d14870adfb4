import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from PIL import Image

from semantic_ns.batch import DEPTH_M, LABELS
from semantic_ns.dataparsers.auto import AutoDataParserConfig
from semantic_ns.dataparsers.replica import ReplicaDataParserConfig
from semantic_ns.dataparsers.replica_layouts import layout_of, sequence_names
from semantic_ns.datasets.semantic_dataset import SemanticDataset
from semantic_ns.errors import SceneError

CAM_PARAMS = {"w": 48, "h": 36, "fx": 24.0, "fy": 24.0, "cx": 23.5, "cy": 17.5, "scale": 6553.5}
CLASS_OF_INSTANCE = (-2, 93, 93, 93, 93, 40, 31, 80, 20, 76, 18, 37, 97, 29, 47, -1)
"""The room's sides and furniture as `synthetic_scene` numbers them; nobody labelled the last one."""


def sequence(folder: Path) -> Path:
    return folder / "Sequence_1"


def rescale_depth(path: Path, to: Path) -> None:
    millimetres = np.array(Image.open(path)).astype(np.float64)
    Image.fromarray((millimetres / 1000 * 6553.5).round().astype(np.uint16)).save(to)


def as_vmap(scene: Path, to: Path) -> Path:
    for number in (1, 2):
        shutil.copytree(scene / f"Sequence_{number}", to / "imap" / f"0{number - 1}")
    return to


def as_sni(scene: Path, to: Path) -> Path:
    shutil.copytree(sequence(scene), to)
    (to / "traj_w_c.txt").rename(to / "traj.txt")
    return to


def renumbered(scene: Path, to: Path, image: str, depth: str, label: str) -> Path:
    for name in (image, depth, label):
        (to / name).parent.mkdir(parents=True, exist_ok=True)
    source = sequence(scene)
    for i in range(12):
        Image.open(source / f"rgb/rgb_{i}.png").save(to / f"{image}{i:06d}.jpg", quality=95)
        rescale_depth(source / f"depth/depth_{i}.png", to / f"{depth}{i:06d}.png")
        shutil.copy(source / f"semantic_class/semantic_class_{i}.png", to / f"{label}{i}.png")
    shutil.copy(source / "traj_w_c.txt", to / "traj.txt")
    return to


def as_sgs(scene: Path, to: Path) -> Path:
    return renumbered(scene, to, "frames/frame", "depths/depth", "semantic_ids/semantic_id")


def as_nice_slam(scene: Path, to: Path) -> Path:
    to = renumbered(scene, to, "results/frame", "results/depth", "semantic_class/semantic_class_")
    (to.parent / "cam_params.json").write_text(json.dumps({"camera": CAM_PARAMS}))
    return to


LAYOUTS: dict[str, Callable[[Path, Path], Path]] = {
    "vMAP": as_vmap,
    "SNI-SLAM": as_sni,
    "SGS-SLAM": as_sgs,
    "NICE-SLAM": as_nice_slam,
}


def parse(folder: Path, split: str = "train", **options) -> DataparserOutputs:
    return AutoDataParserConfig(data=folder, **options).setup().get_dataparser_outputs(split)


def semantics(outputs: DataparserOutputs) -> torch.Tensor:
    dataset = SemanticDataset(outputs)
    return torch.stack([dataset[index][LABELS] for index in range(len(dataset))])


def depth_m(outputs: DataparserOutputs) -> torch.Tensor:
    dataset = SemanticDataset(outputs, load_depth=True)
    return torch.stack([dataset[index][DEPTH_M] for index in range(len(dataset))])


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("name", LAYOUTS)
def test_the_same_frames_are_the_same_scene_in_every_layout(replica_scene, tmp_path, name, split):
    expected = parse(replica_scene, split)
    outputs = parse(LAYOUTS[name](replica_scene, tmp_path / "room0"), split)
    assert len(outputs.image_filenames) == len(expected.image_filenames)
    assert outputs.metadata["taxonomy"] == expected.metadata["taxonomy"]
    assert outputs.dataparser_scale == expected.dataparser_scale
    for key in ("camera_to_worlds", "fx", "fy", "cx", "cy"):
        torch.testing.assert_close(getattr(outputs.cameras, key), getattr(expected.cameras, key))
    assert torch.equal(semantics(outputs), semantics(expected))
    torch.testing.assert_close(depth_m(outputs), depth_m(expected), atol=1e-3, rtol=0)


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_is_recognised_and_said(replica_scene, tmp_path, capsys, name):
    folder = LAYOUTS[name](replica_scene, tmp_path / "room0")
    parse(folder)
    said = capsys.readouterr().out
    scale = {
        "SGS-SLAM": "1/6553.5 m by the size",
        "NICE-SLAM": "1/6553.5 m by",
        "vMAP": "1/1000 m",
        "SNI-SLAM": "1/1000",
    }
    assert f"depth {scale[name]}" in said
    found = layout_of(folder / "imap/00" if name == "vMAP" else folder)
    assert found is not None
    assert found.name == name


def test_exported_labels_go_where_the_layout_keeps_class_ids(replica_scene, tmp_path):
    outputs = parse(as_sgs(replica_scene, tmp_path / "room0"))
    assert outputs.metadata["label_export_names"][0] == "semantic_ids/semantic_id1.png"


def test_the_depth_unit_of_a_capture_is_found_though_its_layout_has_another(replica_scene, tmp_path):
    expected = depth_m(parse(replica_scene))
    folder = as_sni(replica_scene, tmp_path / "room0")
    for path in (folder / "depth").iterdir():
        rescale_depth(path, path)
    torch.testing.assert_close(depth_m(parse(folder)), expected, atol=1e-3, rtol=0)


def test_semantic_nerfs_depth_is_in_millimetres_however_large_the_hall(replica_scene, copy_scene):
    folder = copy_scene(replica_scene)
    for path in (folder / "Sequence_1/depth").iterdir():
        rescale_depth(path, path)
    assert parse(folder).metadata["depth_metres_per_unit"] == 0.001


def test_sequences_of_vmap_are_found_by_their_path(replica_scene, tmp_path):
    folder = as_vmap(replica_scene, tmp_path / "room0")
    assert sequence_names(folder) == ["imap/00", "imap/01"]
    outputs = parse(folder, "val", train_sequence="imap/01", eval_sequence="imap/00")
    assert {path.parts[-3] for path in outputs.image_filenames} == {"00"}
    assert outputs.metadata["label_export_names"][0].startswith("imap/00/semantic_class/")


@pytest.mark.parametrize("resize", [1, 2])
def test_a_principal_point_by_whole_pixels_moves_by_half_a_pixel_and_scales(replica_scene, tmp_path, resize):
    folder = as_nice_slam(replica_scene, tmp_path / "room0")
    stated = {key: value * (resize if key in "wh" or key.startswith("f") else 1) for key, value in CAM_PARAMS.items()}
    stated |= {"cx": 21.0 * resize - 0.5, "cy": 15.0 * resize - 0.5}
    (folder / "cam_params.json").write_text(json.dumps({"camera": stated}))
    cameras = parse(folder).cameras
    found = [float(getattr(cameras, key)[0]) for key in ("fx", "fy", "cx", "cy")]
    assert found == [24.0, 24.0, 21.0, 15.0], "the file of the scene goes before the one above it"


def test_a_sequence_of_semantic_nerf_has_the_principal_point_of_a_file_beside_its_poses_if_there_is_one(replica_scene):
    """So the 10 rows by which GSNeRF's released code is wrong (229.5 of 480 in place of 239.5) can be restored."""
    before = parse(replica_scene).cameras
    assert [float(before.cx[0]), float(before.cy[0])] == [24.0, 18.0]
    stated = {"w": 640, "h": 480, "fx": 320, "fy": 320, "cx": 319.5, "cy": 229.5, "scale": 1000.0}
    (sequence(replica_scene) / "cam_params.json").write_text(json.dumps(stated))
    after = parse(replica_scene).cameras
    found = [float(getattr(after, key)[0]) for key in ("fx", "fy", "cx", "cy")]
    assert found == pytest.approx([24.0, 24.0, 24.0, 230 * 36 / 480])


def test_a_field_of_view_goes_before_the_file(replica_scene, tmp_path):
    folder = as_nice_slam(replica_scene, tmp_path / "room0")
    cameras = ReplicaDataParserConfig(data=folder, hfov=60.0).setup().get_dataparser_outputs().cameras
    assert float(cameras.fx[0]) == pytest.approx(24 / np.tan(np.radians(30)))


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("where", ["scene", "beside"])
def test_labels_from_instances_are_those_from_classes(replica_scene, tmp_path, name, where):
    expected = parse(replica_scene)
    folder = LAYOUTS[name](replica_scene, tmp_path / "room0")
    inside = folder / "imap/00" if name == "vMAP" else folder
    for kind in ("semantic_class", "semantic_ids", "semantic_instance"):
        shutil.rmtree(inside / kind, ignore_errors=True)
    shutil.copytree(sequence(replica_scene) / "semantic_instance", inside / "semantic_instance")
    info = json.loads((replica_scene / "info_semantic.json").read_text())
    # As in the real files, `objects` knows less than `id_to_label`.
    info |= {"id_to_label": CLASS_OF_INSTANCE, "objects": [{"id": 1, "class_id": 40}]}
    path = folder / "info_semantic.json" if where == "scene" else tmp_path / "info_semantic_room0.json"
    path.write_text(json.dumps(info))
    outputs = parse(folder)
    assert outputs.metadata["taxonomy"].names == expected.metadata["taxonomy"].names
    assert torch.equal(semantics(outputs), semantics(expected))
    assert torch.equal(
        semantics(parse(folder, label_space="nyu13")), semantics(parse(replica_scene, label_space="nyu13"))
    )


def nice_slam_without(name: str) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        path = folder.parent / "cam_params.json"
        path.write_text(json.dumps({"camera": {key: value for key, value in CAM_PARAMS.items() if key != name}}))

    return change


@pytest.mark.parametrize(
    ("break_scene", "says"),
    [
        (
            lambda folder: (folder / "traj.txt").write_text("".join((folder / "traj.txt").open().readlines()[:5])),
            ("frame000005.jpg", "traj.txt", "row 6", "5 rows for 12 images"),
        ),
        (lambda folder: (folder / "traj.txt").unlink(), ("traj.txt", "found none")),
        (nice_slam_without("scale"), ("cam_params.json", "scale", "None")),
        (lambda folder: (folder.parent / "cam_params.json").write_text("[]"), ("cam_params.json", "number w")),
        (
            lambda folder: (folder.parent / "cam_params.json").write_text(
                json.dumps({"camera": CAM_PARAMS | {"h": 48}})
            ),
            ("cam_params.json", "48x48", "48x36"),
        ),
        (
            lambda folder: (folder / "results/depth000005.png").write_bytes(b"no picture"),
            ("depth000005.png", "cannot be read"),
        ),
    ],
)
def test_a_bad_nice_slam_scene_is_told(replica_scene, tmp_path, break_scene, says):
    folder = as_nice_slam(replica_scene, tmp_path / "room0")
    break_scene(folder)
    with pytest.raises(SceneError) as raised:
        depth_m(parse(folder))
    assert all(text in str(raised.value) for text in says)


def test_more_poses_than_frames_are_fine(replica_scene, tmp_path):
    folder = as_nice_slam(replica_scene, tmp_path / "room0")
    for path in folder.glob("*/*1[01].*"):
        path.unlink()
    assert len(parse(folder).image_filenames) + len(parse(folder, "val").image_filenames) == 10


def test_sequences_with_labels_of_two_kinds_are_refused(replica_scene, copy_scene):
    folder = copy_scene(replica_scene)
    shutil.rmtree(folder / "Sequence_2" / "semantic_class")
    with pytest.raises(SceneError, match="one kind of labels in all sequences"):
        parse(folder, train_sequence="Sequence_1", eval_sequence="Sequence_2")


def test_the_real_nice_slam_sample_is_read(data_root, tmp_path):
    source = data_root / "replica_niceslam"
    if not source.is_dir():
        pytest.skip(f"no scene at {source}")
    shutil.copytree(source, tmp_path / "replica")
    folder = tmp_path / "replica" / "room0"
    (folder / "semantic_instance").mkdir()
    # The capture has no labels: the instances are made up, only their list of classes is real.
    info = json.loads((source / "info_semantic_room0.json").read_text())
    instances = np.arange(680 * 1200).reshape(680, 1200) % len(info["id_to_label"])
    for i in range(6):
        Image.fromarray(instances.astype(np.uint16)).save(folder / f"semantic_instance/semantic_instance_{i}.png")
    outputs = parse(folder)
    cameras = outputs.cameras
    assert (float(cameras.fx[0]), float(cameras.cx[0]), float(cameras.cy[0])) == (600.0, 600.0, 340.0)
    taxonomy = outputs.metadata["taxonomy"]
    assert taxonomy.num_classes == 28, "room_0 has 28 classes"
    assert set(taxonomy.source_ids) == {number for number in info["id_to_label"] if number > 0}
    depth = SemanticDataset(outputs, load_depth=True)[0][DEPTH_M]
    assert 4.5 < float(depth.max()) < 5.5


def test_real_instances_have_the_classes_of_the_real_labels(data_root, tmp_path):
    source = data_root / "replica" / "bed1_A"
    if not source.is_dir():
        pytest.skip(f"no scene at {source}")
    shutil.copytree(source, tmp_path / "scene")
    shutil.rmtree(tmp_path / "scene/Sequence_1/semantic_class")
    expected, outputs = parse(source, "val"), parse(tmp_path / "scene", "val")
    assert outputs.metadata["taxonomy"].names == expected.metadata["taxonomy"].names
    assert torch.equal(semantics(outputs), semantics(expected))
