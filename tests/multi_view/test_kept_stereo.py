"""Depth by stereo is computed once for each scene, kept on disk, and read frame by frame."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from semantic_ns.datasets.semantic_dataset import SemanticDataset
from semantic_ns.io.user_cache import user_cache_folder
from semantic_ns.many_scenes.scene_frames import SceneFrames, frames_of
from semantic_ns.multi_view import kept_stereo, stereo
from semantic_ns.multi_view.kept_stereo import KeptStereo
from semantic_ns.multi_view.stereo import StereoSettings
from support.hand_made_scene import each_frame
from support.rooms import note_reads, parser_of

SETTINGS = StereoSettings(width=24, num_planes=32, num_neighbours=4, num_confirming=1)


def frames_in(scene: Path, max_width: int | None = None) -> SceneFrames:
    parser = parser_of(scene, split="all", metres_per_unit=1.0)
    return frames_of(SemanticDataset(parser.get_dataparser_outputs("train")), max_width)


def computed(frames: SceneFrames) -> Tensor:
    found = stereo.with_stereo_depth(frames.whole(), SETTINGS).depths_m
    assert found is not None
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "kept"


def test_depth_of_each_frame_is_that_of_stereo_over_the_whole_scene(nerfstudio_scene: Path, folder: Path) -> None:
    frames = frames_in(nerfstudio_scene)
    expected = computed(frames)
    assert 0.05 < float((expected > 0).double().mean()) < 0.99
    for _ in range(2):  # computed, and read
        read = KeptStereo(folder, SETTINGS)(frames)
        for frame in (5, 0, 11):
            assert torch.equal(read(frame), expected[frame])


def test_stereo_is_computed_when_the_first_frame_is_read_and_then_not_again(
    nerfstudio_scene: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = note_reads(monkeypatch)
    read = KeptStereo(folder, SETTINGS)(frames_in(nerfstudio_scene))
    assert opened == []
    read(3)
    assert len(opened) == 12
    read(4)
    KeptStereo(folder, SETTINGS)(frames_in(nerfstudio_scene))(5)
    assert len(opened) == 12
    assert len(list(folder.iterdir())) == 1


def test_a_copy_of_a_scene_needs_none_of_its_own_and_another_size_or_setting_does(
    nerfstudio_scene: Path, folder: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(nerfstudio_scene, tmp_path / "copy"))
    each_frame(copy, lambda _index, entry: entry.pop("depth_file_path"))
    for scene in (nerfstudio_scene, copy):
        KeptStereo(folder, SETTINGS)(frames_in(scene))(0)
    assert len(list(folder.iterdir())) == 1
    KeptStereo(folder, SETTINGS)(frames_in(copy, 32))(0)
    KeptStereo(folder, replace(SETTINGS, tolerance=0.1))(frames_in(copy))(0)
    assert len(list(folder.iterdir())) == 3


@pytest.mark.parametrize("damage", ["gone", "cut", "of other numbers", "no array"])
def test_a_file_that_is_lost_or_damaged_while_it_is_in_use_is_made_anew(
    damage: str, nerfstudio_scene: Path, folder: Path
) -> None:
    frames = frames_in(nerfstudio_scene)
    expected, read = computed(frames), KeptStereo(folder, SETTINGS)(frames)
    read(0)
    (path,) = folder.iterdir()
    whole = path.read_bytes()
    path.unlink()
    if damage == "cut":
        path.write_bytes(whole[:-100])
    elif damage == "of other numbers":
        np.save(path, np.zeros((12, 18, 24)))
    elif damage == "no array":
        path.write_text("depth")
    assert torch.equal(read(1), expected[1])
    assert path.read_bytes() == whole


def test_another_version_of_stereo_does_not_take_the_files_of_the_last_one(
    nerfstudio_scene: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in (1, 2):
        monkeypatch.setattr(kept_stereo, "_VERSION", version)
        KeptStereo(folder, SETTINGS)(frames_in(nerfstudio_scene))(0)
    assert len(list(folder.iterdir())) == 2


def test_files_are_kept_in_the_users_cache_and_for_one_process_where_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert KeptStereo().folder == tmp_path / "cache" / "semantic_ns" / "stereo"
    assert KeptStereo().folder.is_dir()
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    folder = user_cache_folder("stereo")
    assert folder.is_dir()
    assert not folder.is_relative_to(tmp_path)
    assert user_cache_folder("stereo") == folder
