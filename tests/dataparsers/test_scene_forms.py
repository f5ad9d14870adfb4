"""Scenes as people have them are the same scene: poses, cameras, images and labels, whatever form their files have."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from nerfstudio.cameras.cameras import CameraType
from PIL import Image

from semantic_ns.datasets.semantic_dataset import SemanticDataset
from semantic_ns.errors import SceneError
from support.hand_made_scene import (
    CLASSES,
    FOCAL,
    HEIGHT,
    WIDTH,
    check_labels,
    each_frame,
    labels_of,
    load,
    number_of,
    rewrite,
    write_scene,
)


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    return write_scene(tmp_path / "my scene")


def check_same_scene(changed: SemanticDataset, original: SemanticDataset) -> None:
    check_labels(changed)
    assert len(changed) == len(original)
    assert [number_of(changed, i) for i in range(len(changed))] == [
        number_of(original, i) for i in range(len(original))
    ]
    ours, theirs = changed.cameras, original.cameras
    torch.testing.assert_close(ours.camera_to_worlds, theirs.camera_to_worlds, atol=1e-5, rtol=0)
    torch.testing.assert_close(ours.get_intrinsics_matrices(), theirs.get_intrinsics_matrices(), atol=1e-3, rtol=0)
    assert ours.width.tolist() == theirs.width.tolist()
    assert ours.camera_type.tolist() == theirs.camera_type.tolist()


def without_camera(content: dict[str, Any], **given: Any) -> None:
    for key in ("fl_x", "fl_y", "cx", "cy", "w", "h", "camera_model"):
        content.pop(key)
    content.update(given)


def as_text(content: dict[str, Any]) -> None:
    for key in ("fl_x", "fl_y", "cx", "cy", "w", "h"):
        content[key] = str(content[key])
    for entry in content["frames"]:
        entry["transform_matrix"] = [[repr(value) for value in row] for row in entry["transform_matrix"]]


def scaled_rotation(_index: int, entry: dict[str, Any]) -> None:
    matrix = np.array(entry["transform_matrix"])
    matrix[:3, :3] *= 1.7
    entry["transform_matrix"] = matrix.tolist()


def move_labels(folder: Path, rename: Callable[[str], str]) -> None:
    for path in sorted((folder / "semantics").iterdir()):
        new = folder / rename(path.stem)
        new.parent.mkdir(parents=True, exist_ok=True)
        path.rename(new)


def into_subfolders(folder: Path, labels: str) -> None:
    """Two cameras whose images have the same names, in folders of their own."""

    def move(index: int, entry: dict[str, Any]) -> None:
        camera, name = f"cam{index % 2}", f"{index // 2}_{index}.png"
        for source, target in (
            (f"images/frame_{index}.png", f"images/{camera}/{name}"),
            (f"semantics/frame_{index}.png", labels.format(camera=camera, name=name)),
        ):
            (folder / target).parent.mkdir(parents=True, exist_ok=True)
            (folder / source).rename(folder / target)
        entry["file_path"] = f"images/{camera}/{name}"

    each_frame(folder, move)


def equal_names(folder: Path) -> None:
    into_subfolders(folder, "semantics/{camera}/{name}")


def classes_beside(folder: Path) -> None:
    rewrite(folder, lambda content: content.pop("semantic_classes"))
    (folder / "classes.txt").write_text("\n".join(CLASSES) + "\n")


def renamed(entry: dict[str, Any], path: str) -> None:
    entry["file_path"] = path


def in_one_list(entry: dict[str, Any]) -> list[float]:
    return np.ravel(entry["transform_matrix"]).tolist()


def ids_by_class() -> dict[str, str]:
    return {name: str(index) for index, name in enumerate(CLASSES)}


def mirrored(matrix: list[list[float]]) -> list[list[float]]:
    return [[-value for value in matrix[0]], *matrix[1:]]


FORMS: dict[str, Callable[[Path], object]] = {
    "no suffix": lambda s: each_frame(s, lambda i, e: e.update(file_path=f"./images/frame_{i}")),
    "another suffix": lambda s: each_frame(s, lambda i, e: e.update(file_path=f"images/frame_{i}.jpg")),
    "backslashes": lambda s: each_frame(s, lambda i, e: e.update(file_path=f"images\\frame_{i}.png")),
    "absolute here": lambda s: each_frame(s, lambda i, e: e.update(file_path=str(s / f"images/frame_{i}.png"))),
    "absolute elsewhere": lambda s: each_frame(s, lambda i, e: renamed(e, f"/elsewhere/my scene/images/frame_{i}.png")),
    "absolute on Windows": lambda s: each_frame(s, lambda i, e: renamed(e, f"C:\\data\\x\\images\\frame_{i}.png")),
    "relative to a folder above": lambda s: each_frame(s, lambda i, e: renamed(e, f"my scene/images/frame_{i}.png")),
    "name alone elsewhere": lambda s: each_frame(s, lambda i, e: e.update(file_path=f"/other/photos/frame_{i}.png")),
    "field of view": lambda s: rewrite(s, lambda c: without_camera(c, camera_angle_x=2 * math.atan(WIDTH / 2 / FOCAL))),
    "field of view as text": lambda s: rewrite(
        s, lambda c: without_camera(c, camera_angle_x=repr(2 * math.atan(WIDTH / 2 / FOCAL)))
    ),
    "one focal length": lambda s: rewrite(s, lambda c: without_camera(c, fl_x=FOCAL)),
    "numbers as text": lambda s: rewrite(s, as_text),
    "intrinsics of images twice as large": lambda s: rewrite(
        s, lambda c: c.update(w=2 * WIDTH, h=2 * HEIGHT, fl_x=2 * FOCAL, fl_y=2 * FOCAL, cx=WIDTH, cy=HEIGHT)
    ),
    "camera model in small letters": lambda s: rewrite(s, lambda c: c.update(camera_model="pinhole")),
    "3x4 matrices": lambda s: each_frame(s, lambda i, e: e.update(transform_matrix=e["transform_matrix"][:3])),
    "16 numbers": lambda s: each_frame(s, lambda i, e: e.update(transform_matrix=in_one_list(e))),
    "scaled rotations": lambda s: each_frame(s, scaled_rotation),
    "UTF-16": lambda s: (s / "transforms.json").write_bytes((s / "transforms.json").read_text().encode("utf-16")),
    "classes by id": lambda s: rewrite(s, lambda c: c.update(semantic_classes=dict(enumerate(CLASSES)))),
    "ids by class": lambda s: rewrite(s, lambda c: c.update(semantic_classes=ids_by_class())),
    "classes with fractions as ids": lambda s: rewrite(
        s, lambda c: c.update(semantic_classes=[{"id": float(i), "name": name} for i, name in enumerate(CLASSES)])
    ),
    "classes beside": classes_beside,
    "labels named image.png.png": lambda s: move_labels(s, lambda stem: f"semantics/{stem}.png.png"),
    "labels named image_mask.png": lambda s: move_labels(s, lambda stem: f"semantics/{stem}_mask.png"),
    "labels in a folder like that of the images": lambda s: move_labels(s, lambda stem: f"semantics/images/{stem}.png"),
    "labels in capitals": lambda s: move_labels(s, lambda stem: f"semantics/{stem}.PNG"),
    "labels in subfolders": equal_names,
    "labels in subfolders, flat": lambda s: into_subfolders(s, "semantics/{name}"),
    "label paths of another machine": lambda s: each_frame(
        s, lambda i, e: e.update(semantics_path=f"D:\\annotations\\semantics\\frame_{i}.png")
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_a_scene_is_the_same_in_every_form(form: str, scene: Path, tmp_path: Path) -> None:
    original = load(write_scene(tmp_path / "original"))
    FORMS[form](scene)
    changed = load(scene)
    if "subfolders" in form:  # there, frames come in another order
        check_labels(changed)
    else:
        check_same_scene(changed, original)


def test_portrait_beside_landscape_keeps_its_size_camera_and_labels(scene: Path) -> None:
    def turn(index: int, entry: dict[str, Any]) -> None:
        if index % 3:
            return
        for name in ("images", "semantics"):
            path = scene / name / f"frame_{index}.png"
            Image.open(path).transpose(Image.Transpose.ROTATE_90).save(path)
        entry.update(w=HEIGHT, h=WIDTH, cx=HEIGHT / 2, cy=WIDTH / 2, fl_x=30.0, fl_y=30.0)

    each_frame(scene, turn)
    dataset = load(scene)
    for index in range(len(dataset)):
        number = number_of(dataset, index)
        is_turned = number % 3 == 0
        expected = np.searchsorted((0, 1, 3), np.rot90(labels_of(number)) if is_turned else labels_of(number))
        camera = dataset.cameras[index]
        np.testing.assert_array_equal(dataset.labels_of(index), expected)
        assert dataset[index]["image"].shape[:2] == expected.shape == (int(camera.height), int(camera.width))
        assert (float(camera.fx), float(camera.cx)) == ((30.0, HEIGHT / 2) if is_turned else (FOCAL, WIDTH / 2))


def test_a_frames_own_camera_goes_before_the_one_at_the_top(scene: Path) -> None:
    each_frame(scene, lambda i, e: e.update(fl_x=30.0 + i, k1=0.01 * i, k2=0.0, camera_model="OPENCV_FISHEYE"))
    dataset = load(scene)
    numbers = torch.tensor([number_of(dataset, i) for i in range(len(dataset))]).float()
    torch.testing.assert_close(dataset.cameras.fx[:, 0], 30 + numbers)
    assert dataset.cameras.distortion_params is not None
    torch.testing.assert_close(dataset.cameras.distortion_params[:, 0], 0.01 * numbers)
    assert set(dataset.cameras.camera_type[:, 0].tolist()) == {CameraType.FISHEYE.value}


def test_a_panorama_needs_no_focal_length(scene: Path) -> None:
    rewrite(scene, lambda content: without_camera(content, camera_model="EQUIRECTANGULAR"))
    cameras = load(scene).cameras
    rays = cameras.generate_rays(0, torch.tensor([[HEIGHT / 2, 0.0], [HEIGHT / 2, WIDTH / 2], [0.0, WIDTH / 2]]))
    left, middle, up = rays.directions
    torch.testing.assert_close(left, -middle, atol=1e-5, rtol=0)  # half way round
    torch.testing.assert_close((up * middle).sum(), torch.tensor(0.0), atol=1e-5, rtol=0)


@pytest.mark.parametrize("model", ["FULL_OPENCV", "OPENCV"])
def test_a_distortion_by_a_fraction_is_that_of_opencv(
    scene: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {"k1": 0.1, "k2": -0.02, "p1": 0.003, "p2": -0.002, "k3": 0.01, "k4": 0.3, "k5": 0.1, "k6": 0.02}
    rewrite(scene, lambda content: content.update(camera_model=model, **given))
    dataset = load(scene)
    cameras = dataset.cameras
    assert cameras.camera_type[0].item() == CameraType.PERSPECTIVE.value
    assert cameras.distortion_params is not None
    rows, columns = torch.meshgrid(torch.arange(HEIGHT) + 0.5, torch.arange(WIDTH) + 0.5, indexing="ij")
    rays = cameras.generate_rays(0, torch.stack([rows, columns], dim=-1).reshape(-1, 2))
    seen = (rays.directions @ cameras.camera_to_worlds[0, :, :3]).double().numpy()
    matrix = np.array([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1.0]])
    projected, _ = cv2.projectPoints(seen * [1, -1, -1], np.zeros(3), np.zeros(3), matrix, np.array([*given.values()]))
    found = projected.reshape(HEIGHT, WIDTH, 2)
    assert np.abs(found[..., 0] - columns.numpy()).max() < 0.1
    assert np.abs(found[..., 1] - rows.numpy()).max() < 0.1
    assert "is taken as a polynomial" in " ".join(capsys.readouterr().out.split())


BAD_CAMERAS: dict[str, tuple[Callable[[Path], object], str]] = {
    "w and h turned": (lambda s: rewrite(s, lambda c: c.update(w=HEIGHT, h=WIDTH)), "16x24 as .*EXIF orientation"),
    "two models": (lambda s: rewrite(s, lambda c: c["frames"][2].update(camera_model="RADIAL")), "one camera_model"),
    "unknown model": (lambda s: rewrite(s, lambda c: c.update(camera_model="FOV")), "found FOV; undistort"),
    "a fraction that does not reach the edge": (
        lambda s: rewrite(s, lambda c: c.update(camera_model="FULL_OPENCV", k4=9)), "k1 to k6 of 0, 0, 0, 9.*undistort"
    ),
    "distortion that is no number": (lambda s: rewrite(s, lambda c: c.update(k4="some")), "finite number as k4"),
    "a width and no height": (lambda s: rewrite(s, lambda c: c.update(h=0)), "24x0 as .* found 24x16"),
    "no number": (lambda s: rewrite(s, lambda c: c.update(fl_x="wide")), "finite number as fl_x .* found 'wide'"),
    "negative focal length": (lambda s: rewrite(s, lambda c: c.update(fl_x=-1)), "focal length above 0"),
    "one scaled rotation": (
        lambda s: rewrite(s, lambda c: scaled_rotation(0, c["frames"][3])), "rotation in the pose of images/frame_3.png"
    ),
    "mirrored": (
        lambda s: each_frame(s, lambda i, e: e.update(transform_matrix=mirrored(e["transform_matrix"]))),
        "Expected a rotation",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_CAMERAS)
def test_a_camera_that_only_a_person_can_mend_is_refused(name: str, scene: Path) -> None:
    change, reason = BAD_CAMERAS[name]
    change(scene)
    with pytest.raises(SceneError, match=reason):
        load(scene)


def test_split_lists_may_hold_names_alone(scene: Path) -> None:
    names = {"train_filenames": [f"frame_{i}" for i in range(5)], "val_filenames": [f"./frame_{i}.png" for i in (5, 6)],
             "test_filenames": [f"D:\\x\\images\\frame_{i}.png" for i in (7, 8)]}  # fmt: skip
    rewrite(scene, lambda content: content.update(names))
    for split, expected in (("train", [0, 1, 2, 3, 4]), ("val", [5, 6]), ("test", [7, 8])):
        dataset = load(scene, split)
        assert [number_of(dataset, i) for i in range(len(dataset))] == expected


@pytest.mark.parametrize(("name", "found"), [("frame_99", "none"), ("0.png", "2 of them")])
def test_a_listed_name_must_mean_one_image(name: str, found: str, scene: Path) -> None:
    def rename(index: int, entry: dict[str, Any]) -> None:
        target = scene / f"images/cam{index % 2}/{index // 2}.png"
        target.parent.mkdir(exist_ok=True)
        (scene / entry["file_path"]).rename(target)
        entry["file_path"] = target.relative_to(scene).as_posix()

    each_frame(scene, rename)
    shutil.rmtree(scene / "semantics")
    rewrite(scene, lambda content: content.update(train_filenames=[name], val_filenames=[name]))
    with pytest.raises(SceneError, match=f"one frame for {name}, .* found {found}"):
        load(scene, all_classes=True)


def test_files_of_each_split_are_one_scene_with_white_behind_it(scene: Path, tmp_path: Path) -> None:
    content = json.loads((scene / "transforms.json").read_text())
    (scene / "transforms.json").unlink()
    (scene / "classes.json").write_text(json.dumps({name: index for index, name in enumerate(CLASSES)}))
    for split, part in (("train", slice(0, 5)), ("val", slice(5, 7)), ("test", slice(7, 9))):
        frames = [{**frame, "file_path": "./" + frame["file_path"][:-4]} for frame in content["frames"][part]]
        angle = 2 * math.atan(WIDTH / 2 / FOCAL)
        (scene / f"transforms_{split}.json").write_text(json.dumps({"camera_angle_x": angle, "frames": frames}))
    for path in sorted((scene / "images").iterdir()):
        colors = np.concatenate([np.asarray(Image.open(path)), np.zeros((HEIGHT, WIDTH, 1), np.uint8)], axis=-1)
        Image.fromarray(colors).save(path)
    for split, expected in (("train", [0, 1, 2, 3, 4]), ("val", [5, 6]), ("test", [7, 8])):
        dataset = load(scene, split)
        check_labels(dataset)
        assert [number_of(dataset, i) for i in range(len(dataset))] == expected
        assert dataset[0]["image"].unique().tolist() == [1.0]
        assert dataset.cameras.fx[0].item() == pytest.approx(FOCAL, rel=1e-6)


def test_a_scene_of_one_frame_trains_on_it_and_scores_it(tmp_path: Path) -> None:
    scene = write_scene(tmp_path / "one", num_frames=1)
    for split in ("train", "val", "test"):
        dataset = load(scene, split)
        check_labels(dataset)
        assert len(dataset) == 1
        assert dataset.cameras.camera_to_worlds.isfinite().all()


@pytest.mark.parametrize("center_method", ["poses", "focus", "none"])
@pytest.mark.parametrize("place", [(0.0, 0.0, 0.0), (3.0, -2.0, 1.0)])
def test_cameras_in_one_place_have_finite_poses(center_method: str, place: tuple[float, ...], scene: Path) -> None:
    from semantic_ns.dataparsers.nerfstudio_semantic import NerfstudioSemanticDataParserConfig

    def move(_index: int, entry: dict[str, Any]) -> None:
        for row, value in zip(entry["transform_matrix"], place, strict=False):
            row[3] = value

    each_frame(scene, move)
    config = NerfstudioSemanticDataParserConfig(data=scene, center_method=center_method)  # pyright: ignore[reportArgumentType]
    outputs = config.setup().get_dataparser_outputs("train")
    assert outputs.cameras.camera_to_worlds.isfinite().all()
    assert math.isfinite(outputs.dataparser_scale)


def test_one_label_image_serves_no_two_images_of_one_name(scene: Path) -> None:
    into_subfolders(scene, "semantics/{name}")
    each_frame(scene, lambda i, e: (
        (scene / e["file_path"]).rename(scene / f"images/cam{i % 2}/{i // 2}.png"),
        e.update(file_path=f"images/cam{i % 2}/{i // 2}.png"),
    ))  # fmt: skip
    (scene / "semantics/0_0.png").rename(scene / "semantics/0.png")
    with pytest.raises(SceneError, match="several named 0"):
        load(scene)
