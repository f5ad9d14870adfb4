"""Scenes described by a COLMAP model, or as ScanNet++, Polycam and Record3D come, are read as nerfstudio reads them."""

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nerfstudio.cameras.cameras import CameraType
from nerfstudio.data.dataparsers.colmap_dataparser import ColmapDataParserConfig
from nerfstudio.process_data.record3d_utils import record3d_to_json
from PIL import Image
from scipy.spatial.transform import Rotation

from semantic_ns.dataparsers.auto import AutoDataParserConfig
from semantic_ns.errors import SceneError
from support.colmap_scene import COLORS, LENS, as_colmap
from support.hand_made_scene import (
    CLASSES,
    FOCAL,
    HEIGHT,
    NUM_FRAMES,
    WIDTH,
    check_labels,
    each_frame,
    load,
    number_of,
    pose_of,
    rewrite,
    write_scene,
)


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    return write_scene(tmp_path / "scene")


@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
@pytest.mark.parametrize("model", ["sparse/0", "colmap/sparse/0", "sparse", "."])
def test_a_colmap_model_has_the_cameras_and_points_of_nerfstudios_parser(model: str, binary: bool, scene: Path) -> None:
    as_colmap(scene, model, binary)
    theirs = ColmapDataParserConfig(data=scene, colmap_path=Path(model), downscale_factor=1, eval_mode="all")
    expected = theirs.setup().get_dataparser_outputs("train")
    outputs = AutoDataParserConfig(data=scene, split="all").setup().get_dataparser_outputs("train")
    assert outputs.image_filenames == expected.image_filenames
    torch.testing.assert_close(outputs.cameras.camera_to_worlds, expected.cameras.camera_to_worlds, atol=1e-5, rtol=0)
    torch.testing.assert_close(outputs.cameras.fx, expected.cameras.fx)
    torch.testing.assert_close(outputs.dataparser_transform, expected.dataparser_transform, atol=1e-5, rtol=0)
    for key in ("points3D_xyz", "points3D_rgb"):
        torch.testing.assert_close(outputs.metadata[key], expected.metadata[key], atol=1e-5, rtol=0)
    assert outputs.metadata["points3D_rgb"].tolist() == [list(color) for color in COLORS]


def test_a_colmap_model_has_the_labels_of_its_images_whatever_its_camera_file_calls_them(scene: Path) -> None:
    as_colmap(scene)
    dataset = load(scene)
    check_labels(dataset)
    assert len(dataset) == NUM_FRAMES - 2


def test_photos_of_half_the_size_that_colmap_saw_have_half_the_focal_length(scene: Path) -> None:
    as_colmap(scene)
    for path in (scene / "images").iterdir():
        image = Image.open(path)
        image.resize((WIDTH // 2, HEIGHT // 2)).save(path)
    dataset = load(scene)
    assert dataset.cameras.fx.unique().tolist() == [FOCAL / 2]
    assert dataset.cameras.cx.unique().tolist() == [WIDTH / 4]
    assert dataset[0]["semantics"].shape == (HEIGHT // 2, WIDTH // 2, 1)


def test_lists_beside_a_colmap_model_decide_its_split(scene: Path) -> None:
    as_colmap(scene)
    (scene / "train_list.txt").write_text("frame_0.png\nframe_2.png\n")
    (scene / "test_list.txt").write_text("frame_1.png\n")
    assert [number_of(load(scene), i) for i in range(2)] == [0, 2]
    assert number_of(load(scene, "val"), 0) == 1


def test_a_colmap_model_without_points_has_none(scene: Path) -> None:
    as_colmap(scene)
    (scene / "sparse/0/points3D.txt").write_text("# 3D point list\n")
    assert "points3D_xyz" not in load(scene).metadata


def cut(name: str, num_bytes: int) -> Callable[[Path], object]:
    return lambda model: (model / name).write_bytes((model / name).read_bytes()[:num_bytes])


def unknown_camera(model: Path) -> None:
    (model / "cameras.bin").write_bytes(struct.pack("<Qii", 1, 1, 99) + bytes(48))


BROKEN_MODELS: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty files": (lambda m: [path.write_bytes(b"") for path in m.iterdir()], "cannot read it"),
    "truncated images": (cut("images.bin", 90), "cannot read it"),
    "truncated points": (cut("points3D.bin", 40), "cannot read it"),
    "huge number of images": (lambda m: (m / "images.bin").write_bytes(b"\xff" * 9), "cannot read it"),
    "no image": (lambda m: (m / "images.bin").write_bytes(struct.pack("<Q", 0)), "No images found"),
    "another camera": (unknown_camera, "cannot read it"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN_MODELS)
def test_a_broken_colmap_model_is_told_in_one_sentence(name: str, scene: Path) -> None:
    change, reason = BROKEN_MODELS[name]
    change(as_colmap(scene, binary=True) / "sparse/0")
    with pytest.raises(SceneError, match=reason) as raised:
        load(scene)
    assert "\n" not in str(raised.value)


def test_a_colmap_camera_that_nerfstudio_lacks_is_refused_with_the_remedy(scene: Path) -> None:
    as_colmap(scene, camera="FOV")
    with pytest.raises(SceneError, match=r"FOV.* undistorted images"):
        load(scene)


@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
def test_a_rational_lens_of_colmap_is_that_of_the_same_transforms_file(
    scene: Path, tmp_path: Path, binary: bool
) -> None:
    k1, k2, p1, p2, k3, k4, k5, k6 = LENS
    other = write_scene(tmp_path / "other")
    given = {"k1": k1, "k2": k2, "p1": p1, "p2": p2, "k3": k3, "k4": k4, "k5": k5, "k6": k6}
    rewrite(other, lambda content: content.update(camera_model="FULL_OPENCV", **given))
    expected = load(other).cameras
    found = load(as_colmap(scene, binary=binary, camera="FULL_OPENCV")).cameras
    assert found.distortion_params is not None
    assert expected.distortion_params is not None
    torch.testing.assert_close(found.distortion_params, expected.distortion_params)
    torch.testing.assert_close(found.fx, expected.fx)


@pytest.mark.parametrize("has_labels", [True, False])
def test_a_scene_without_names_of_classes_says_where_they_may_stand(
    has_labels: bool, scene: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    as_colmap(scene)
    (scene / "classes.txt").unlink()
    if has_labels:
        assert list(load(scene).taxonomy.names) == ["class_0", "class_1", "class_3"]
        assert "a file classes.txt beside the scene, or --classes, gives them names" in capsys.readouterr().out
        return
    shutil.rmtree(scene / "semantics")
    with pytest.raises(SceneError, match=r"semantic_classes .* classes\.txt .* --classes"):
        load(scene)


@pytest.mark.parametrize("data", ["", "dslr", "dslr/nerfstudio"])
def test_scannetpp_trains_on_its_frames_and_scores_its_test_frames(data: str, scene: Path, tmp_path: Path) -> None:
    folder = tmp_path / "scannetpp"
    (folder / "dslr/nerfstudio").mkdir(parents=True)
    shutil.move(scene / "images", folder / "dslr/resized_images")
    shutil.move(scene / "semantics", folder / "dslr/nerfstudio/semantics")
    (folder / "dslr/resized_anon_masks").mkdir()
    content = json.loads((scene / "transforms.json").read_text())
    for index, frame in enumerate(content["frames"]):
        frame.update(file_path=f"frame_{index}.png", mask_path=f"frame_{index}.png")
        mask = np.full((HEIGHT, WIDTH), 255, np.uint8)
        mask[:index] = 0
        Image.fromarray(mask).save(folder / f"dslr/resized_anon_masks/frame_{index}.png")
    content.update(camera_model="OPENCV_FISHEYE", k1=0.1, k2=0.2, k3=0.3, k4=0.4, test_frames=content["frames"][6:])
    content["frames"] = content["frames"][:6]
    (folder / "dslr/nerfstudio/transforms.json").write_text(json.dumps(content))
    train, test = load(folder / data), load(folder / data, "test")
    check_labels(train)
    check_labels(test)
    assert [number_of(train, i) for i in range(len(train))] == [0, 1, 2, 3, 4, 5]
    assert [number_of(test, i) for i in range(len(test))] == [6, 7, 8]
    assert train.cameras.camera_type.unique().tolist() == [CameraType.FISHEYE.value]
    assert [int(test[i]["mask"].sum()) for i in range(3)] == [(HEIGHT - n) * WIDTH for n in (6, 7, 8)]


def test_what_nerfstudio_makes_of_polycam_is_read_with_its_smaller_depth(scene: Path) -> None:
    """Each frame has a camera of its own, `./` before its paths, and depth of a quarter of the size, in millimetres."""
    (scene / "depth").mkdir()

    def change(index: int, entry: dict[str, Any]) -> None:
        entry.update(fl_x=FOCAL + index, fl_y=FOCAL + index, cx=WIDTH / 2, cy=HEIGHT / 2, w=WIDTH, h=HEIGHT)
        entry.update(file_path=f"./images/frame_{index}.png", depth_file_path=f"./depth/frame_{index}.png")
        depth = np.full((HEIGHT // 4, WIDTH // 4), 1000 * (index + 1), np.uint16)
        Image.fromarray(depth).save(scene / entry["depth_file_path"])

    each_frame(scene, change)
    rewrite(scene, lambda content: [content.pop(key) for key in ("fl_x", "fl_y", "cx", "cy", "w", "h")])
    dataset = load(scene)
    check_labels(dataset)
    for index in range(len(dataset)):
        number = number_of(dataset, index)
        assert dataset.cameras.fx[index].item() == FOCAL + number
        assert dataset[index]["depth_image_m"].unique().tolist() == pytest.approx([number + 1.0])


def test_what_nerfstudio_makes_of_record3d_is_read_with_its_poses(scene: Path) -> None:
    """Record3D states quaternions (x, y, z, w) with positions, and K column by column."""
    matrix = [FOCAL, 0, 0, 0, FOCAL, 0, WIDTH / 2, HEIGHT / 2, 1]
    given = np.stack([pose_of(index) for index in range(NUM_FRAMES)])
    quaternions = Rotation.from_matrix(given[:, :3, :3]).as_quat()
    poses = np.concatenate([quaternions, given[:, :3, 3]], axis=-1).tolist()
    (scene / "metadata.json").write_text(json.dumps({"poses": poses, "K": matrix, "w": WIDTH, "h": HEIGHT}))
    original = load(scene)
    names = [Path(f"images/frame_{index}.png") for index in range(NUM_FRAMES)]
    record3d_to_json(names, scene / "metadata.json", scene, np.arange(NUM_FRAMES))
    (scene / "classes.txt").write_text("\n".join(CLASSES))
    dataset = load(scene)
    check_labels(dataset)
    torch.testing.assert_close(dataset.cameras.camera_to_worlds, original.cameras.camera_to_worlds, atol=1e-5, rtol=0)
    assert dataset.cameras.fx.unique().tolist() == [FOCAL]
    assert dataset.cameras.cx.unique().tolist() == [WIDTH / 2]


def test_older_scenes_with_colmaps_model_beside_them_keep_its_world(scene: Path) -> None:
    (scene / "colmap/sparse/0").mkdir(parents=True)
    changed = AutoDataParserConfig(data=scene).setup().get_dataparser_outputs("train")
    (scene / "colmap/sparse/0").rmdir()
    original = AutoDataParserConfig(data=scene).setup().get_dataparser_outputs("train")
    exchanged = torch.tensor([[0.0, 1, 0, 0], [1, 0, 0, 0], [0, 0, -1, 0], [0, 0, 0, 1]])
    torch.testing.assert_close(changed.dataparser_transform, original.dataparser_transform @ exchanged)
    torch.testing.assert_close(changed.cameras.camera_to_worlds, original.cameras.camera_to_worlds)
