"""Annotations go into scenes whose frames no transforms.json lists: COLMAP models and files per split."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from nerfstudio.scripts.train import main as train
from PIL import Image

from semantic_ns.annotations.formats import read_annotations
from semantic_ns.annotations.scene_labels import ImportOptions, ImportSummary, import_labels
from semantic_ns.errors import SceneError
from semantic_ns.methods.semantic_nerf.method import semantic_nerf
from support.colmap_scene import as_colmap
from support.hand_made_scene import (
    CLASSES,
    HEIGHT,
    NUM_FRAMES,
    WIDTH,
    check_labels,
    labels_of,
    load,
    number_of,
    write_scene,
)
from support.registered import SMALL, configured
from support.scoring import scores


@pytest.fixture
def colmap(tmp_path: Path) -> Path:
    """A COLMAP scene without labels and classes."""
    folder = as_colmap(write_scene(tmp_path / "scene"))
    shutil.rmtree(folder / "semantics")
    (folder / "classes.txt").unlink()
    return folder


def cvat(file: Path) -> Path:
    """The labels of all frames as CVAT's masks."""
    images = []
    for index in range(NUM_FRAMES):
        masks = ""
        for number, name in enumerate(CLASSES):
            mask = (labels_of(index) == number).ravel()
            ends = [0, *(np.flatnonzero(np.diff(mask)) + 1).tolist(), mask.size]
            runs = ([0] if mask[0] else []) + np.diff(ends).tolist()
            rle = ", ".join(map(str, runs))
            if mask.any():
                masks += f'<mask label="{name}" rle="{rle}" left="0" top="0" width="{WIDTH}" height="{HEIGHT}"/>'
        images.append(f'<image id="{index}" name="frame_{index}.png" width="{WIDTH}" height="{HEIGHT}">{masks}</image>')
    names = "".join(f"<label><name>{name}</name></label>" for name in CLASSES)
    meta = f"<meta><task><labels>{names}</labels></task></meta>"
    file.write_text(f"<annotations><version>1.1</version>{meta}{''.join(images)}</annotations>")
    return file


def run_import(
    scene: Path, labels: Path, classes: Path | None = None, overwrite: bool = False, dry_run: bool = False
) -> ImportSummary:
    options = ImportOptions(overwrite=overwrite, dry_run=dry_run)
    return import_labels(scene, read_annotations(labels, classes=classes), options)


def test_a_colmap_model_with_masks_of_cvat_has_their_pixels(colmap: Path, tmp_path: Path) -> None:
    summary = run_import(colmap, cvat(tmp_path / "annotations.xml"))
    assert summary.lines()[0].startswith("Labelled 9 of 9 frames")
    assert summary.backup is None
    check_labels(load(colmap))


def test_a_colmap_model_with_masks_of_cvat_trains_and_is_scored(colmap: Path, tmp_path: Path) -> None:
    run_import(colmap, cvat(tmp_path / "annotations.xml"))
    config = configured(semantic_nerf, colmap, tmp_path / "out", 3, **SMALL["semantic-nerf"])
    train(config)
    assert 0 <= scores(config, tmp_path)["miou_present"] <= 1


def test_a_dry_run_writes_neither_labels_nor_classes(colmap: Path, tmp_path: Path) -> None:
    summary = run_import(colmap, cvat(tmp_path / "annotations.xml"), dry_run=True)
    assert summary.lines()[0].startswith("Would label 9 of 9 frames")
    assert not (colmap / "semantics").exists()
    assert not (colmap / "classes.json").exists()


def test_a_second_import_keeps_a_copy_of_the_classes(colmap: Path, tmp_path: Path) -> None:
    file = cvat(tmp_path / "annotations.xml")
    run_import(colmap, file)
    before = (colmap / "classes.json").read_bytes()
    with pytest.raises(SceneError, match="overwrite"):
        run_import(colmap, file)
    summary = run_import(colmap, file, overwrite=True)
    assert summary.backup == colmap / "classes.json.bak"
    assert (colmap / "classes.json.bak").read_bytes() == before
    assert summary.lines()[-1] == f"The former classes.json is {summary.backup}"
    check_labels(load(colmap))


def test_a_class_file_of_the_user_is_neither_changed_nor_contradicted(colmap: Path, tmp_path: Path) -> None:
    own = colmap / "classes.txt"
    own.write_text("\n".join(reversed(CLASSES)))
    file = cvat(tmp_path / "annotations.xml")
    with pytest.raises(SceneError, match=f"--classes {own}"):
        run_import(colmap, file)
    assert not (colmap / "semantics").exists()
    run_import(colmap, file, classes=own)
    assert not (colmap / "classes.json").exists()
    dataset = load(colmap)
    assert list(dataset.taxonomy.names) == ["box", "floor", "wall"]
    for index in range(len(dataset)):
        expected = np.choose(labels_of(number_of(dataset, index)), [2, 1, -1, 0])
        np.testing.assert_array_equal(dataset.labels_of(index), expected)


def test_files_per_split_get_labels_beside_their_images(tmp_path: Path) -> None:
    folder = write_scene(tmp_path / "scene")
    shutil.rmtree(folder / "semantics")
    content = json.loads((folder / "transforms.json").read_text())
    (folder / "transforms.json").unlink()
    del content["semantic_classes"]
    for split, part in (("train", slice(0, 6)), ("test", slice(6, None))):
        file = {**content, "frames": content["frames"][part]}
        (folder / f"transforms_{split}.json").write_text(json.dumps(file))
    run_import(folder, cvat(tmp_path / "annotations.xml"))
    assert Image.open(folder / "semantics/frame_8.png").size == (WIDTH, HEIGHT)
    check_labels(load(folder))
    check_labels(load(folder, "test"))
