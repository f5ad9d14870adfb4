"""Scenes without labels and class tables, for models that bring classes of their own."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from semantic_ns.dataparsers import metadata as keys
from semantic_ns.dataparsers.auto import AutoDataParserConfig
from semantic_ns.errors import SceneError
from semantic_ns.synthetic_scene import write_replica_scene
from support.hypersim_scene import write_hypersim_scene
from support.new_rooms import change_transforms, keep_labels, without_labels, write_room
from support.scannet_scene import write_scan


def nerfstudio(folder: Path) -> Path:
    return without_labels(write_room(folder / "room", 0))


def replica(folder: Path) -> Path:
    room = write_replica_scene(folder / "room", num_frames=5)
    for name in ("semantic_class", "semantic_instance"):
        shutil.rmtree(room / "Sequence_1" / name)
    (room / "info_semantic.json").unlink()
    return room


def scannet(folder: Path) -> Path:
    scan = write_scan(folder)
    shutil.rmtree(scan / "label-filt")
    for table in folder.rglob("*.tsv"):
        table.unlink()
    return scan


def hypersim(folder: Path) -> Path:
    room = write_hypersim_scene(folder)
    for path in room.rglob("*semantic*"):
        path.unlink()
    return room


@pytest.mark.parametrize("write", [nerfstudio, replica, scannet, hypersim])
def test_a_scene_without_labels_is_read_with_no_class_only_if_asked(
    write: Callable[[Path], Path], tmp_path: Path
) -> None:
    scene = write(tmp_path)
    for split in ("train", "test"):
        config = AutoDataParserConfig(data=scene, split="interval", labels_optional=True)
        outputs = config.setup().get_dataparser_outputs(split)
        assert outputs.image_filenames
        assert outputs.metadata[keys.TAXONOMY].num_classes == 0
        assert set(outputs.metadata[keys.LABEL_FILENAMES]) == {None}
    with pytest.raises(SceneError):
        AutoDataParserConfig(data=scene, split="interval").setup().get_dataparser_outputs("train")


def test_labels_of_scored_frames_alone_are_read_only_if_asked(tmp_path: Path) -> None:
    scene = keep_labels(write_room(tmp_path / "room", 0), 0)
    outputs = AutoDataParserConfig(data=scene, labels_optional=True).setup().get_dataparser_outputs("train")
    assert outputs.metadata[keys.TAXONOMY].num_classes > 0
    with pytest.raises(SceneError, match="a labelled image in the training split"):
        AutoDataParserConfig(data=scene).setup().get_dataparser_outputs("train")


def test_label_images_without_a_class_table_are_refused_in_any_case(tmp_path: Path) -> None:
    scene = change_transforms(write_room(tmp_path / "room", 0), lambda content: content.pop("semantic_classes"))
    with pytest.raises(SceneError, match="Expected a list semantic_classes"):
        AutoDataParserConfig(data=scene, labels_optional=True).setup().get_dataparser_outputs("train")
