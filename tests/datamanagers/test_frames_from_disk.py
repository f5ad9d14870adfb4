"""What a data manager of many scenes reads, when, and how much of it stays in memory."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from semantic_ns.errors import SceneError
from semantic_ns.many_scenes.pairs import pair
from semantic_ns.multi_view import kept_stereo
from support.rooms import NUM_FRAMES, note_reads
from support.scene_managers import SCENES, are_equal, manager_of


@pytest.fixture
def user_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(kept_stereo, "user_cache_folder", lambda name: tmp_path / "cache" / name)
    return tmp_path / "cache"


def test_setting_up_reads_no_image_and_a_step_reads_its_own_frames_alone(
    rooms: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = note_reads(monkeypatch)
    manager = manager_of(rooms, split="all")
    assert opened == []
    draw = pair(0, 0, 1, manager.config.seed, manager.shelf.num_training_frames)
    assert opened == []
    sample, _ = manager.next_train(0)
    assert {path.relative_to(rooms).parts[0] for path in opened} == {SCENES[draw.scene]}
    assert len(opened) == len(sample.sources.cameras) + len(sample.targets.cameras) < NUM_FRAMES[SCENES[draw.scene]]


def test_each_training_frame_is_read_once_if_all_fit(rooms: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = note_reads(monkeypatch)
    manager = manager_of(rooms, split="all")
    for step in range(20):
        manager.next_train(step)
    assert len(opened) == len(set(opened)) == sum(NUM_FRAMES.values())


def test_without_memory_the_frames_of_each_step_are_read_and_none_is_kept(
    rooms: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = note_reads(monkeypatch)
    manager = manager_of(rooms, split="all", options={"cache_mib": 0})
    for step in range(8):
        opened.clear()
        sample, _ = manager.next_train(step)
        assert len(opened) == len(sample.sources.cameras) + len(sample.targets.cameras)
        assert len(manager.shelf.training_cache) == 0


@pytest.mark.usefixtures("user_cache")
@pytest.mark.parametrize("depth", ["scene", "stereo"])
def test_samples_are_the_same_whatever_the_memory_and_no_more_is_kept_than_it_holds(depth: str, rooms: Path) -> None:
    enough = manager_of(rooms, split="all", options={"depth": depth})
    expected = [enough.next_train(step)[0] for step in range(10)]
    per_frame = max(np.array(enough.shelf.training_bytes) // enough.shelf.num_training_frames)
    for num_frames in (0, 1, 4):
        manager = manager_of(rooms, split="all", options={"depth": depth})
        cache = manager.shelf.training_cache
        cache._max_bytes = num_frames * int(per_frame)
        for step in range(10):
            assert are_equal(manager.next_train(step)[0], expected[step])
            assert cache.num_bytes <= num_frames * per_frame
        assert (len(cache) > 0) == (num_frames > 0)


@pytest.mark.parametrize("folder", ["images", "semantics", "depth"])
def test_a_frame_that_is_lost_while_others_train_is_one_sentence_with_its_path_in_the_step_that_needs_it(
    folder: str, rooms: Path, tmp_path: Path
) -> None:
    studio = Path(shutil.copytree(rooms / "studio", tmp_path / "studio"))
    manager = manager_of(studio, split="all", options={"targets_per_step": 1})
    lost = studio / folder / "frame_00003.png"
    lost.write_bytes(lost.read_bytes()[:60])
    position = manager.shelf.training(0).cameras.c2w[3]
    intact = manager_of(rooms / "studio", split="all", options={"targets_per_step": 1})
    num_told = 0
    for step in range(12):
        sample = intact.next_train(step)[0]
        used = torch.cat([sample.sources.cameras.c2w, sample.targets.cameras.c2w])
        if not bool((used == position).all(dim=(1, 2)).any()):
            assert are_equal(manager.next_train(step)[0], sample)
            continue
        num_told += 1
        with pytest.raises(SceneError, match=rf"^Expected a .* at {lost}, found .*") as raised:
            manager.next_train(step)
        assert "\n" not in str(raised.value)
    assert 0 < num_told < 12


def test_stereo_of_a_scene_is_computed_when_it_first_trains_and_not_in_the_next_run(
    rooms: Path, user_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = note_reads(monkeypatch)
    manager = manager_of(rooms, split="all", options={"depth": "stereo"})
    manager.class_frequencies()
    assert not list(user_cache.rglob("*.npy"))
    scene = pair(0, 0, 1, manager.config.seed, manager.shelf.num_training_frames).scene
    manager.next_train(0)
    assert len(opened) == NUM_FRAMES[SCENES[scene]]
    assert len(list(user_cache.rglob("stereo/*.npy"))) == 1
    opened.clear()
    sample, _ = manager_of(rooms, split="all", options={"depth": "stereo"}).next_train(0)
    assert len(opened) == len(sample.sources.cameras) + len(sample.targets.cameras)


def test_labels_of_scored_images_are_not_kept(rooms: Path) -> None:
    manager = manager_of(rooms, split="interval", eval_interval=3)
    images = manager.fixed_indices_eval_dataloader
    for _ in images:
        manager.next_eval_image(0)
    assert len(images) > 0
    assert [dataset.num_kept_labels for dataset in [*images._datasets, manager.eval_dataset]] == [0, 0, 0]
