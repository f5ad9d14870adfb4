"""`sns-export dataset --format huggingface`: a strict reading of the layout finds the scene as it was."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from numpy import ndarray
from PIL import Image

from semantic_ns.cli.export_dataset import ExportDataset
from semantic_ns.dataparsers.auto import AutoDataParserConfig
from semantic_ns.datasets.semantic_dataset import SemanticDataset
from semantic_ns.errors import SceneError
from semantic_ns.geometry.world import poses_in_world
from support.new_rooms import change_transforms, without_depth, without_labels

SPLITS = {"train": "train", "validation": "val", "test": "test"}
NUMBERS = ["fl_x", "fl_y", "cx", "cy", "k1", "k2", "k3", "k4", "p1", "p2"]


def pixels(path: Path) -> ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def read_card(folder: Path) -> tuple[dict[str, Any], str]:
    """The YAML at the head of the card, and the text below."""
    empty, head, text = (folder / "README.md").read_text("utf8").split("---\n", 2)
    assert empty == ""
    return yaml.safe_load(head), text


def read_folder(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """The examples of each split, after checks of what the `imagefolder` builder asks for.

    Every line is an object with the same keys and types in all splits, every file of a line exists in the folder of its
    split and is of one line alone, and every image is of a line.
    """
    card, _ = read_card(folder)
    paths = {entry["split"]: entry["path"] for entry in card["configs"][0]["data_files"]}
    assert paths == {name: f"{name}/**" for name in paths}
    found, kinds, names = {}, set(), []
    for split in paths:
        rows = [json.loads(line) for line in (folder / split / "metadata.jsonl").read_text("utf8").splitlines()]
        kinds |= {tuple((key, type(value)) for key, value in row.items()) for row in rows}
        files = [value for row in rows for key, value in row.items() if key.endswith("file_name")]
        assert len(set(files)) == len(files)
        assert {file.relative_to(folder / split).as_posix() for file in (folder / split).rglob("*.png")} == set(files)
        names += [row["name"] for row in rows]
        found[split] = rows
    assert len(kinds) == 1
    assert len(set(names)) == len(names)
    own = {"README.md", "classes.json", *paths}
    assert {path.name for path in folder.iterdir()} <= own
    return found


def frames_of(scene: Path, split: str) -> dict[str, tuple[SemanticDataset, int, ndarray]]:
    """The frames of a split by the names of their images, with their poses in the world of the files."""
    outputs = AutoDataParserConfig(data=scene, labels_optional=True).setup().get_dataparser_outputs(split)
    poses = poses_in_world(outputs, outputs.cameras.camera_to_worlds.double().numpy())
    dataset = SemanticDataset(outputs)
    return {path.stem: (dataset, index, poses[index]) for index, path in enumerate(dataset.image_filenames)}


def check(scene: Path, folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Every frame of the scene is an example of its split, with its pixels, camera and pose."""
    found = read_folder(folder)
    for split, rows in found.items():
        frames = frames_of(scene, SPLITS[split])
        assert {row["name"] for row in rows} == set(frames)
        for row in rows:
            dataset, index, pose = frames[row["name"]]
            assert (pixels(folder / split / row["file_name"]) == dataset.get_numpy_image(index)).all()
            np.testing.assert_allclose(row["transform_matrix"], pose, atol=1e-5)
            camera = dataset.cameras[index]
            bent = [0.0] * 6 if camera.distortion_params is None else camera.distortion_params.flatten().tolist()
            values = [*map(float, (camera.fx, camera.fy, camera.cx, camera.cy)), *bent]
            np.testing.assert_allclose([row[name] for name in NUMBERS], values, rtol=1e-6)
            assert pixels(folder / split / row["file_name"]).shape[:2] == (row["h"], row["w"])
    return found


def test_a_scene_is_found_as_it_was(nerfstudio_scene: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ExportDataset(nerfstudio_scene, out, "huggingface").main()
    found = check(nerfstudio_scene, out)
    assert list(found) == ["train", "validation"]
    for split, rows in found.items():
        frames = frames_of(nerfstudio_scene, SPLITS[split])
        for row in rows:
            dataset, index, _ = frames[row["name"]]
            labels = dataset.taxonomy.decode(dataset.read_labels(index))
            assert row["has_label"] is True
            assert (pixels(out / split / row["label_file_name"]) == labels).all()
            depth = dataset.depth_of(index)
            assert depth is not None
            np.testing.assert_allclose(pixels(out / split / row["depth_file_name"]) / 1000, depth, atol=6e-4)
            assert "mask_file_name" not in row


def test_the_card_has_classes_splits_unit_void_and_an_unknown_license(nerfstudio_scene: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ExportDataset(nerfstudio_scene, out, "huggingface").main()
    card, text = read_card(out)
    taxonomy = next(iter(frames_of(nerfstudio_scene, "train").values()))[0].taxonomy
    names = dict(zip(taxonomy.source_ids, taxonomy.names, strict=True))
    assert card["class_names"] == names
    table = json.loads((out / "classes.json").read_text())
    assert {entry["id"]: entry["name"] for entry in table["classes"]} == names
    assert table["void_id"] == taxonomy.void_source_id
    assert card["license"] == "unknown"
    assert card["task_categories"] == ["image-segmentation", "depth-estimation"]
    assert card["size_categories"] == ["n<1K"]
    assert card["pretty_name"] == nerfstudio_scene.name
    assert f"void (not labelled) is {taxonomy.void_source_id} |" in text
    for words in ("in metres", "thousandths of a metre", "OpenGL", "10 in `train`, 2 in `validation`", "those of the"):
        assert words in text
    for number, name in names.items():
        assert f"| {number} | {name} |" in text
    assert str(tmp_path) not in text


def test_folders_of_other_content_have_another_description_as_load_dataset_needs_to_tell_them_apart(
    nerfstudio_scene: Path, copy_scene: Callable[[Path], Path], tmp_path: Path
) -> None:
    scene = copy_scene(nerfstudio_scene)
    path = scene / "semantics/frame_00003.png"
    Image.fromarray(np.roll(pixels(path), 1)).save(path)
    for name, source in (("one", nerfstudio_scene), ("same", nerfstudio_scene), ("other", scene)):
        ExportDataset(source, tmp_path / name, "huggingface").main()
    said = [read_card(tmp_path / name)[0]["configs"][0]["description"] for name in ("one", "same", "other")]
    assert said[0] == said[1] != said[2]


def test_a_license_is_in_the_card(nerfstudio_scene: Path, tmp_path: Path) -> None:
    ExportDataset(nerfstudio_scene, tmp_path / "out", "huggingface", "cc-by-4.0").main()
    card, text = read_card(tmp_path / "out")
    assert card["license"] == "cc-by-4.0"
    assert "Licence: cc-by-4.0." in text


def test_frames_without_labels_depth_or_mask_have_void_unknown_and_used_pixels(
    nerfstudio_scene: Path, copy_scene: Callable[[Path], Path], tmp_path: Path
) -> None:
    """Of three splits the last has no labels, depth or masks at all: its examples have the columns of the others."""
    scene, out = copy_scene(nerfstudio_scene), tmp_path / "out"

    def change(content: dict[str, Any]) -> None:
        names = [frame["file_path"] for frame in content["frames"]]
        content |= {"train_filenames": names[:-5], "val_filenames": names[-5:-3], "test_filenames": names[-3:]}
        content |= {"k1": 0.125, "p1": 0.0625}
        (scene / "masks").mkdir()
        for number, frame in enumerate(content["frames"]):
            if number < 3:
                frame["mask_path"] = f"masks/{number}.png"
                Image.fromarray(np.full((36, 48), 255 * (number % 2), np.uint8)).save(scene / frame["mask_path"])
            if number >= 9:
                (scene / "semantics" / Path(frame["file_path"]).name).unlink()
                del frame["depth_file_path"]

    change_transforms(scene, change)
    ExportDataset(scene, out, "huggingface").main()
    found = check(scene, out)
    assert {split: len(rows) for split, rows in found.items()} == {"train": 7, "validation": 2, "test": 3}
    void = next(iter(frames_of(scene, "train").values()))[0].taxonomy.void_source_id
    for row in found["test"]:
        assert row["has_label"] is False
        assert (pixels(out / "test" / row["label_file_name"]) == void).all()
        assert (pixels(out / "test" / row["depth_file_name"]) == 0).all()
        assert (pixels(out / "test" / row["mask_file_name"]) == 255).all()
    assert all(row["has_label"] for row in found["train"])
    masks = [pixels(out / "train" / row["mask_file_name"]) for row in found["train"]]
    assert [int(mask.max()) for mask in masks] == [0, 255, 0, 255, 255, 255, 255]


def test_a_frame_of_two_splits_is_an_example_of_the_first(
    nerfstudio_scene: Path, copy_scene: Callable[[Path], Path], tmp_path: Path
) -> None:
    scene = copy_scene(nerfstudio_scene)

    def change(content: dict[str, Any]) -> None:
        names = [frame["file_path"] for frame in content["frames"]]
        content |= {"train_filenames": names[:9], "val_filenames": names[6:], "test_filenames": names[:6]}

    change_transforms(scene, change)
    ExportDataset(scene, tmp_path / "out", "huggingface").main()
    found = read_folder(tmp_path / "out")
    assert {split: len(rows) for split, rows in found.items()} == {"train": 9, "validation": 3}


def test_a_scene_of_images_alone_has_no_columns_of_labels_and_depth(
    nerfstudio_scene: Path, copy_scene: Callable[[Path], Path], tmp_path: Path
) -> None:
    scene = without_depth(without_labels(copy_scene(nerfstudio_scene)))
    ExportDataset(scene, tmp_path / "out", "huggingface").main()
    found = check(scene, tmp_path / "out")
    assert not {"label_file_name", "has_label", "depth_file_name"} & set(found["train"][0])
    card, text = read_card(tmp_path / "out")
    assert card["task_categories"] == ["image-to-3d"]
    assert "class_names" not in card
    assert "abel" not in text.split("Licence")[0]


@pytest.mark.parametrize(
    ("file_format", "name", "sentence"),
    [
        ("nerfstudio", "mit", "--format huggingface with --license"),
        ("huggingface", "two words", "such as cc-by-4.0"),
        ("huggingface", "", "such as cc-by-4.0"),
    ],
)
def test_a_wrong_license_is_one_sentence_and_leaves_nothing(
    file_format: Any, name: str, sentence: str, nerfstudio_scene: Path, tmp_path: Path
) -> None:
    with pytest.raises(SceneError, match=sentence):
        ExportDataset(nerfstudio_scene, tmp_path / "out", file_format, name).main()
    assert not list(tmp_path.iterdir())
