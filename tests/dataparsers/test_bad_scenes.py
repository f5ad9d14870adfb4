"""Every mistake that a scene can have is told in one sentence that names the file and what to do about it."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from semantic_ns.dataparsers.auto import AutoDataParserConfig
from semantic_ns.datasets.semantic_dataset import SemanticDataset
from semantic_ns.errors import SceneError
from support.file_edits import rewrite, truncate


@dataclass(frozen=True)
class Case:
    """A mistake: how to make it in a sound scene, the options to read it with, and what the sentence must hold."""

    break_scene: Callable[[Path], object]
    says: tuple[str, ...]
    options: dict[str, Any] = field(default_factory=dict)


def read_everything(folder: Path, **options: Any) -> None:
    """What training and evaluation read before the first step: both splits and every image."""
    parser = AutoDataParserConfig(data=folder, **options).setup()
    for split in ("train", "val"):
        dataset = SemanticDataset(parser.get_dataparser_outputs(split), load_depth=True)
        for index in range(len(dataset)):
            dataset[index]


def edit_json(path: Path, change: Callable[[Any], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def edit_pose(sequence: Path, frame: int, change: Callable[[np.ndarray], object]) -> None:
    poses = np.loadtxt(sequence / "traj_w_c.txt")
    change(poses[frame])
    np.savetxt(sequence / "traj_w_c.txt", poses)


def edit_label(path: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    Image.fromarray(change(np.array(Image.open(path)))).save(path)


def set_pixel(value: int) -> Callable[[np.ndarray], np.ndarray]:
    def change(labels: np.ndarray) -> np.ndarray:
        labels[3, 4] = value
        return labels

    return change


def remove_labels(folder: Path, frames: range) -> None:
    for i in frames:
        (folder / f"semantic_class_{i}.png").unlink()


def remove_folder(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


S1 = "Sequence_1"
LABELS = f"{S1}/semantic_class"
INSTANCES = f"{S1}/semantic_instance"
TRAJECTORY = f"{S1}/traj_w_c.txt"

REPLICA_CASES = {
    "image without pose": Case(
        lambda s: (s / S1 / "rgb/rgb_11.png").rename(s / S1 / "rgb/rgb_12.png"),
        ("rgb_12.png", TRAJECTORY, "row 13", "12 rows"),
    ),
    "no poses at all": Case(lambda s: (s / TRAJECTORY).unlink(), (TRAJECTORY, "found none")),
    "pose row with 12 numbers": Case(
        lambda s: (s / TRAJECTORY).write_text("1 0 0 0 0 1 0 0 0 0 1 0\n" * 12), (TRAJECTORY, "line 1", "found 12")
    ),
    "pose row with text": Case(lambda s: rewrite(s / TRAJECTORY, "\n", "x\n"), (TRAJECTORY, "line 1", "numbers")),
    "pose not a number": Case(
        lambda s: edit_pose(s / S1, 4, lambda pose: pose.__setitem__(3, np.nan)), ("rgb_4.png", "row 5", "nan")
    ),
    "pose infinite": Case(
        lambda s: edit_pose(s / S1, 4, lambda pose: pose.__setitem__(slice(0, 16), -np.inf)), ("rgb_4.png", "-inf")
    ),
    "pose scaled": Case(
        lambda s: edit_pose(s / S1, 4, lambda pose: pose.__setitem__(slice(0, 3), 2 * pose[:3])),
        ("rgb_4.png", "rotation", "determinant 2"),
    ),
    "pose mirrored": Case(
        lambda s: edit_pose(s / S1, 4, lambda pose: pose.__setitem__(slice(0, 3), -pose[:3])),
        ("rgb_4.png", "rotation", "determinant -1"),
    ),
    "pose with a wrong last row": Case(
        lambda s: edit_pose(s / S1, 4, lambda pose: pose.__setitem__(12, 1)), ("rgb_4.png", "last row")
    ),
    "label of another size": Case(
        lambda s: edit_label(s / LABELS / "semantic_class_5.png", lambda labels: labels[::2, ::2].copy()),
        ("semantic_class_5.png", "48x36", "24x18"),
    ),
    "label id outside the table": Case(
        lambda s: edit_label(s / LABELS / "semantic_class_5.png", set_pixel(200)),
        ("semantic_class_5.png", "200", "info_semantic.json", "--classes"),
    ),
    "label with three channels": Case(
        lambda s: edit_label(
            s / LABELS / "semantic_class_5.png", lambda labels: np.stack([labels, labels, labels + 1], axis=-1)
        ),
        ("semantic_class_5.png", "3 channels"),
    ),
    "truncated label": Case(
        lambda s: truncate(s / LABELS / "semantic_class_5.png"), ("semantic_class_5.png", "truncated")
    ),
    "empty label file": Case(
        lambda s: truncate(s / LABELS / "semantic_class_5.png", 0), ("semantic_class_5.png", "truncated")
    ),
    "truncated image": Case(lambda s: truncate(s / S1 / "rgb/rgb_5.png"), ("rgb_5.png", "truncated")),
    "truncated image of the evaluation split": Case(
        lambda s: truncate(s / S1 / "rgb/rgb_8.png", 0.8), ("rgb_8.png", "truncated")
    ),
    "truncated depth": Case(lambda s: truncate(s / S1 / "depth/depth_5.png"), ("depth_5.png", "truncated")),
    "image that is text": Case(
        lambda s: (s / S1 / "rgb/rgb_5.png").write_text("hello"), ("rgb_5.png", "cannot be read")
    ),
    "images of two sizes": Case(
        lambda s: Image.new("RGB", (24, 18)).save(s / S1 / "rgb/rgb_5.png"), ("rgb_5.png", "48x36", "24x18")
    ),
    "no image": Case(lambda s: [path.unlink() for path in (s / S1 / "rgb").iterdir()], (f"{S1}/rgb", "found none")),
    "no label at all": Case(
        lambda s: [remove_folder(s / LABELS), remove_folder(s / INSTANCES)],
        (LABELS, "found none for 12 images", "ns-train nerfacto"),
    ),
    "instance ids without a list of classes": Case(
        lambda s: remove_folder(s / LABELS), ("info_semantic.json", "id_to_label", "class ids")
    ),
    "instance ids without info_semantic.json": Case(
        lambda s: [remove_folder(s / LABELS), (s / "info_semantic.json").unlink()],
        (S1, "instance ids", "info_semantic.json"),
    ),
    "id_to_label too short": Case(
        lambda s: [
            remove_folder(s / LABELS),
            edit_json(s / "info_semantic.json", lambda c: c.update(id_to_label=[-2, 93])),
        ],
        ("semantic_instance_", "id_to_label", "2 entries", "found 2, "),
    ),
    "id_to_label with other classes": Case(
        lambda s: [
            remove_folder(s / LABELS),
            edit_json(s / "info_semantic.json", lambda c: c.update(id_to_label=[500])),
        ],
        ("info_semantic.json", "id_to_label", "--classes"),
    ),
    "fewer poses than frames": Case(
        lambda s: (s / TRAJECTORY).write_text("".join((s / TRAJECTORY).open().readlines()[:7])),
        ("rgb_7.png", TRAJECTORY, "row 8", "7 rows for 12 images"),
    ),
    "unknown label space": Case(lambda s: None, ("--label-space", "nyu40", "'nyu14'"), {"label_space": "nyu14"}),
    "label space in a file that is not there": Case(
        lambda s: None, ("none/own.csv", "found none"), {"label_space": "none/own.csv"}
    ),
    "labels that are all void": Case(
        lambda s: [edit_label(s / LABELS / f"semantic_class_{i}.png", np.zeros_like) for i in range(12)],
        (LABELS, "12 label images with void pixels only"),
    ),
    "no label in the training split": Case(
        lambda s: remove_labels(s / LABELS, range(1, 12)),
        ("training split", f"{S1}", "label one of them"),
    ),
    "evaluation split empty": Case(
        lambda s: None, (f"{S1}", "empty evaluation split", "--split"), {"split": "fraction", "train_fraction": 1.0}
    ),
    "training split empty": Case(
        lambda s: None, (f"{S1}", "empty training split", "--split"), {"split": "interval", "eval_interval": 1}
    ),
    "unknown sequence": Case(lambda s: None, ("Sequence_1, Sequence_2", "Sequence_7"), {"eval_sequence": "Sequence_7"}),
    "two classes with one name": Case(
        lambda s: rewrite(s / "info_semantic.json", '"sofa"', '"chair"'), ("info_semantic.json", "'chair'", "20 and 76")
    ),
    "unreadable json": Case(
        lambda s: rewrite(s / "info_semantic.json", ":", "\n:\n:"), ("info_semantic.json", "line 3")
    ),
    "json of another kind": Case(
        lambda s: (s / "info_semantic.json").write_text("[1, 2]"), ("info_semantic.json", "list of classes")
    ),
}


def one_csv(text: str) -> Callable[[Path], object]:
    return lambda scene: (scene / "own.csv").write_text(text)


CSV_CASES = {
    "unreadable csv": Case(one_csv('id,name\n40,floor\n93,"wall\n'), ("own.csv", "line 3")),
    "csv with text for an id": Case(one_csv("id,name\n40,floor\nx,wall\n"), ("own.csv", "line 3", "'x'")),
    "csv with two classes of one name": Case(one_csv("id,name\n1,wall\n2,wall\n"), ("own.csv", "'wall'", "1 and 2")),
    "csv without the ids of the labels": Case(
        one_csv("id,name\n40,floor\n"), ("own.csv", "semantic_class_0.png", "93")
    ),
    "csv that is not there": Case(lambda scene: None, ("own.csv", "found none")),
}

LABEL_5 = "semantics/frame_00005.png"
NERFSTUDIO_CASES = {
    "image without pose": Case(
        lambda s: edit_json(s / "transforms.json", lambda c: c["frames"][5].pop("transform_matrix")),
        ("frame_00005.png", "transforms.json", "transform_matrix"),
    ),
    "image that is not there": Case(
        lambda s: (s / "images/frame_00005.png").unlink(), ("frame_00005.png", "found none")
    ),
    "pose not a number": Case(
        lambda s: edit_json(
            s / "transforms.json", lambda c: c["frames"][5]["transform_matrix"][0].__setitem__(3, float("nan"))
        ),
        ("frame_00005.png", "nan"),
    ),
    "pose not a rotation": Case(
        lambda s: edit_json(
            s / "transforms.json", lambda c: c["frames"][5]["transform_matrix"][0].__setitem__(slice(0, 3), [3, 0, 0])
        ),
        ("frame_00005.png", "rotation"),
    ),
    "label of another size": Case(
        lambda s: edit_label(s / LABEL_5, lambda labels: labels[::2].copy()), (LABEL_5, "48x36", "48x18")
    ),
    "label id outside the table": Case(
        lambda s: edit_label(s / LABEL_5, set_pixel(99)), (LABEL_5, "99", "transforms.json")
    ),
    "label with three channels": Case(
        lambda s: edit_label(s / LABEL_5, lambda labels: np.stack([labels, labels, labels + 1], axis=-1)),
        (LABEL_5, "3 channels"),
    ),
    "truncated label": Case(lambda s: truncate(s / LABEL_5), (LABEL_5, "truncated")),
    "truncated image": Case(lambda s: truncate(s / "images/frame_00005.png"), ("frame_00005.png", "truncated")),
    "images of two sizes": Case(
        lambda s: Image.new("RGB", (24, 24)).save(s / "images/frame_00005.png"), ("frame_00005.png", "24x24")
    ),
    "no label at all": Case(
        lambda s: [path.unlink() for path in (s / "semantics").iterdir()], ("semantics/", "ns-train nerfacto")
    ),
    "no label in the training split": Case(
        lambda s: [path.unlink() for path in (s / "semantics").iterdir() if path.name != "frame_00008.png"],
        ("training split", "label one of them"),
    ),
    "evaluation split empty": Case(
        lambda s: None, ("split val", "--eval-interval"), {"split": "fraction", "train_fraction": 1.0}
    ),
    "two classes with one name": Case(
        lambda s: rewrite(s / "transforms.json", '"sofa"', '"chair"'), ("transforms.json", "'chair'", "20 and 76")
    ),
    "unreadable json": Case(lambda s: rewrite(s / "transforms.json", ",\n", "\n"), ("transforms.json", "line 3")),
    "truncated json": Case(lambda s: truncate(s / "transforms.json"), ("transforms.json", "line")),
}


def assert_told(case: Case, folder: Path, options: dict[str, Any]) -> None:
    case.break_scene(folder)
    with pytest.raises(SceneError) as raised:
        read_everything(folder, **options)
    message = str(raised.value)
    for text in case.says:
        assert text in message
    assert message.startswith("Expected ")
    assert re.search(r"found .*; .*\.$", message), "says what was found, then what to do"
    assert "\n" not in message


@pytest.mark.parametrize("name", REPLICA_CASES)
def test_a_bad_replica_scene_is_told(replica_scene, copy_scene, name):
    case = REPLICA_CASES[name]
    assert_told(case, copy_scene(replica_scene), case.options)


@pytest.mark.parametrize("name", CSV_CASES)
def test_a_bad_class_table_is_told(replica_scene, copy_scene, name):
    folder = copy_scene(replica_scene)
    assert_told(CSV_CASES[name], folder, {"classes": folder / "own.csv"})


@pytest.mark.parametrize("name", NERFSTUDIO_CASES)
def test_a_bad_nerfstudio_scene_is_told(nerfstudio_scene, copy_scene, name):
    case = NERFSTUDIO_CASES[name]
    assert_told(case, copy_scene(nerfstudio_scene), case.options)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("absent", ("absent", "found nothing", "--data")),
        ("file.txt", ("file.txt", "found a file", "--data")),
        ("empty", ("empty", "no known layout", "traj_w_c.txt", "transforms.json", "it holds nothing")),
        ("other", ("other", "no known layout", "it holds a.obj, b.ply")),
    ],
)
def test_a_folder_that_is_no_scene_is_told(tmp_path, name, says):
    (tmp_path / "file.txt").write_text("")
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "b.ply").write_text("")
    (tmp_path / "other" / "a.obj").write_text("")
    assert_told(Case(lambda folder: None, says), tmp_path / name, {})


@pytest.mark.parametrize("fixture", ["replica_scene", "nerfstudio_scene"])
def test_the_scenes_that_the_cases_break_are_sound(request, fixture):
    read_everything(request.getfixturevalue(fixture))
