"""Mistakes that only a Hypersim scene can have; those of every scene are in `test_bad_scenes`."""

import re

import h5py
import numpy as np
import pytest

from semantic_ns.dataparsers.hypersim import HypersimDataParserConfig
from semantic_ns.datasets.semantic_dataset import SemanticDataset
from semantic_ns.errors import SceneError
from support.file_edits import rewrite, truncate
from support.hypersim_scene import CAMERAS, SKEWED, edit_hdf5, write_camera_table, write_hdf5, write_hypersim_scene

NAME = "ai_007_005"
TABLE = "metadata_camera_parameters.csv"
COLOR = "images/scene_cam_00_final_hdf5"
GEOMETRY = "images/scene_cam_00_geometry_hdf5"
ORIENTATIONS = "_detail/cam_00/camera_keyframe_orientations.hdf5"
POSITIONS = "_detail/cam_00/camera_keyframe_positions.hdf5"


@pytest.fixture(scope="module")
def hypersim_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("hypersim")
    write_hypersim_scene(root)
    return root


def read_everything(folder, **options):
    parser = HypersimDataParserConfig(data=folder, **options).setup()
    for split in ("train", "val"):
        dataset = SemanticDataset(parser.get_dataparser_outputs(split), load_depth=True)
        for index in range(len(dataset)):
            dataset[index]


def set_first(value):
    def change(values):
        values[0, 0] = value
        return values

    return change


def remove(folder, pattern):
    paths = list(folder.glob(pattern))
    assert paths
    for path in paths:
        path.unlink()


def rename_array(path):
    with h5py.File(path, "r+") as file:
        file.move("dataset", "data")


# What to do to a sound scene, what the sentence must hold, options.
CASES = {
    "no camera table": (lambda s: (s.parent / TABLE).unlink(), (TABLE, "--camera-parameters"), {}),
    "camera table without the scene": (
        lambda s: write_camera_table(s.parent / TABLE, {"ai_001_001": CAMERAS["ai_001_001"]}),
        (NAME, TABLE, "1 other scenes"),
        {},
    ),
    "camera table of another kind": (
        lambda s: (s.parent / TABLE).write_text("a,b\n1,2\n"),
        (TABLE, "scene_name", "line 1"),
        {},
    ),
    "camera table without the matrix": (
        lambda s: rewrite(s.parent / TABLE, "M_cam_from_uv_00", "M_proj_00"),
        (TABLE, NAME, "M_cam_from_uv_00"),
        {},
    ),
    "camera table with text for a number": (
        lambda s: rewrite(s.parent / TABLE, f"{NAME},768.0", f"{NAME},tall"),
        (TABLE, NAME, "settings_output_img_height", "'tall'"),
        {},
    ),
    "camera table that ends within the row": (
        lambda s: (s.parent / TABLE).write_text((s.parent / TABLE).read_text().split(f"{NAME},768.0")[0] + f"{NAME},7"),
        (TABLE, NAME, "M_cam_from_uv_00", "found ''"),
        {},
    ),
    "camera with skew": (
        lambda s: write_camera_table(s.parent / TABLE, {NAME: CAMERAS[SKEWED]}),
        (NAME, "without skew", "-0.75 pixels"),
        {},
    ),
    "unknown camera": (lambda s: None, ("cam_00, cam_01", "cam_07"), {"camera": "cam_07"}),
    "listed camera without folder": (
        lambda s: None,
        ("scene_cam_01_final_hdf5", "no such folder", "--camera (cam_00)"),
        {"camera": "cam_01"},
    ),
    "no camera at all": (
        lambda s: (s / "_detail/metadata_cameras.csv").write_text("camera_name\n"),
        ("metadata_cameras.csv", "ai_VVV_NNN"),
        {},
    ),
    "a camera of thousands of letters": (
        lambda s: (s / "_detail/metadata_cameras.csv").write_text("camera_name\n" + "9" * 6000 + "\n"),
        ("names of cameras such as cam_00", "metadata_cameras.csv"),
        {},
    ),
    "a camera in another folder": (
        lambda s: (s / "_detail/metadata_cameras.csv").write_text("camera_name\n../../x\n"),
        ("names of cameras such as cam_00", "found '../../x'"),
        {},
    ),
    "missing colour": (lambda s: remove(s / COLOR, "*.color.hdf5"), (COLOR, "found none", "--color"), {}),
    "missing previews": (lambda s: None, ("final_preview", "gamma.jpg", "found none"), {"color": "gamma"}),
    "missing labels": (
        lambda s: remove(s / GEOMETRY, "*.semantic.hdf5"),
        ("frame.0000.semantic.hdf5", "found none for 12 images"),
        {},
    ),
    "missing orientations": (lambda s: (s / ORIENTATIONS).unlink(), (ORIENTATIONS, "found none"), {}),
    "trajectory shorter than the frames": (
        lambda s: [edit_hdf5(s / path, lambda values: values[:9]) for path in (ORIENTATIONS, POSITIONS)],
        ("frame.0009.color.hdf5", "row 9", "9 rows"),
        {},
    ),
    "orientations and positions of different length": (
        lambda s: edit_hdf5(s / ORIENTATIONS, lambda values: values[:9]),
        (ORIENTATIONS, "(13, 3, 3)", "(9, 3, 3)"),
        {},
    ),
    "positions of another shape": (
        lambda s: edit_hdf5(s / POSITIONS, lambda values: values[:, :2]),
        (POSITIONS, "(13, 3)", "(13, 2)"),
        {},
    ),
    "no orientation is a rotation": (
        lambda s: edit_hdf5(s / ORIENTATIONS, lambda values: 2 * values),
        ("frame.0000.color.hdf5", "rotation", "determinant 8"),
        {},
    ),
    "asset unit of zero": (
        lambda s: rewrite(s / "_detail/metadata_scene.csv", "0.0254", "0"),
        ("metadata_scene.csv", "meters_per_asset_unit", "'0'"),
        {},
    ),
    "asset unit not given": (
        lambda s: rewrite(s / "_detail/metadata_scene.csv", "meters_per_asset_unit", "other"),
        ("metadata_scene.csv", "meters_per_asset_unit", "''"),
        {},
    ),
    "id that nyu40 has not": (
        lambda s: edit_hdf5(s / GEOMETRY / "frame.0005.semantic.hdf5", set_first(41)),
        ("frame.0005.semantic.hdf5", "41"),
        {},
    ),
    "labels of another size": (
        lambda s: edit_hdf5(s / GEOMETRY / "frame.0005.semantic.hdf5", lambda values: values[::2, ::2]),
        ("frame.0005.semantic.hdf5", "48x36", "24x18"),
        {},
    ),
    "labels that are no whole numbers": (
        lambda s: edit_hdf5(s / GEOMETRY / "frame.0005.semantic.hdf5", lambda values: values.astype(np.float32) + 0.5),
        ("frame.0005.semantic.hdf5", "float32"),
        {},
    ),
    "depth of another size": (
        lambda s: edit_hdf5(s / GEOMETRY / "frame.0005.depth_meters.hdf5", lambda values: values[::2, ::2]),
        ("frame.0005.depth_meters.hdf5", "48x36", "24x18"),
        {},
    ),
    "entities of another size": (
        lambda s: edit_hdf5(s / GEOMETRY / "frame.0005.render_entity_id.hdf5", lambda values: values[::2]),
        ("frame.0005.render_entity_id.hdf5", "(18, 48)"),
        {},
    ),
    "colour with one channel": (
        lambda s: edit_hdf5(s / COLOR / "frame.0005.color.hdf5", lambda values: values[..., 0]),
        ("frame.0005.color.hdf5", "(36, 48)"),
        {},
    ),
    "images of another proportion": (
        lambda s: [edit_hdf5(path, lambda values: values[4:-4]) for path in (s / COLOR).iterdir()],
        ("1024x768", "48x28"),
        {},
    ),
    "truncated colour": (lambda s: truncate(s / COLOR / "frame.0005.color.hdf5"), ("frame.0005", "truncated"), {}),
    "truncated labels": (
        lambda s: truncate(s / GEOMETRY / "frame.0005.semantic.hdf5"),
        ("frame.0005.semantic.hdf5", "truncated"),
        {},
    ),
    "empty depth file": (
        lambda s: (s / GEOMETRY / "frame.0005.depth_meters.hdf5").write_bytes(b""),
        ("frame.0005.depth_meters.hdf5", "truncated"),
        {},
    ),
    "array of another name": (
        lambda s: rename_array(s / GEOMETRY / "frame.0005.semantic.hdf5"),
        ("frame.0005.semantic.hdf5", "named 'dataset'", "found data"),
        {},
    ),
    "array of text": (
        lambda s: write_hdf5(s / POSITIONS, [b"a", b"b"]),
        (POSITIONS, "array of numbers"),
        {},
    ),
    "unknown label space": (lambda s: None, ("--label-space", "'nyu14'"), {"label_space": "nyu14"}),
    "evaluation split empty": (
        lambda s: None,
        (NAME, "cam_00", "empty evaluation split"),
        {"split": "fraction", "train_fraction": 1.0},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_bad_hypersim_scene_is_told(hypersim_root, copy_scene, case):
    folder = copy_scene(hypersim_root) / NAME
    break_scene, says, options = CASES[case]
    break_scene(folder)
    with pytest.raises(SceneError) as raised:
        read_everything(folder, **options)
    message = str(raised.value)
    for text in says:
        assert text in message
    assert message.startswith("Expected ")
    assert re.search(r"found .*; .*\.$", message), "says what was found, then what to do"
    assert "\n" not in message


def test_the_scene_that_the_cases_break_is_sound(hypersim_root):
    read_everything(hypersim_root / NAME)


def test_a_folder_that_is_no_scene_is_told(tmp_path):
    with pytest.raises(SceneError, match="found nothing; check --data"):
        read_everything(tmp_path / "absent")
    with pytest.raises(SceneError, match="found no camera"):
        read_everything(tmp_path)
