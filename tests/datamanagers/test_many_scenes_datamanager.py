"""Training samples and scored images out of several scenes whose images have different sizes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from semantic_ns.batch import DEPTH_M, LABELS
from semantic_ns.datamanagers import many_scenes_datamanager
from semantic_ns.datamanagers.many_scenes_datamanager import (
    SAMPLE,
    camera_of,
)
from semantic_ns.datasets.semantic_dataset import SemanticDataset
from semantic_ns.many_scenes import pairs
from semantic_ns.many_scenes.pairs import pair
from semantic_ns.many_scenes.shelf import SCENE, SHELF, SceneShelf
from semantic_ns.many_scenes.views import view_cameras
from semantic_ns.multi_view import kept_stereo
from semantic_ns.multi_view.stereo import StereoSettings
from support.rooms import NUM_FRAMES, SIZES, note_reads
from support.scene_managers import SCENES, UNCHANGED, are_equal, manager_of


def test_a_step_gives_the_same_sample_in_every_run_and_in_any_order(rooms: Path) -> None:
    first, second = manager_of(rooms), manager_of(rooms)
    forwards = [first.next_train(step)[0] for step in range(6)]
    torch.manual_seed(123)
    backwards = [second.next_train(step)[0] for step in reversed(range(6))][::-1]
    assert all(are_equal(a, b) for a, b in zip(forwards, backwards, strict=True))
    assert not any(are_equal(forwards[0], other) for other in forwards[1:])


def test_steps_after_the_first_do_not_ask_anew_which_scenes_train(rooms: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manager, other = manager_of(rooms), manager_of(rooms)
    manager.next_train(0)
    counted = pairs._ends.cache_info().misses

    def asked(_shelf: SceneShelf) -> Any:
        raise AssertionError("asked again")

    for name in ("_training_sizes", "training_bytes"):
        monkeypatch.setattr(SceneShelf, name, property(asked))
    found = [manager.next_train(step)[0] for step in range(1, 4)]
    assert pairs._ends.cache_info().misses == counted
    with pytest.raises(AssertionError, match="asked again"):
        other.next_train(1)
    monkeypatch.undo()
    assert all(are_equal(sample, other.next_train(step)[0]) for step, sample in enumerate(found, 1))


def test_another_seed_gives_other_samples(rooms: Path) -> None:
    first, second = manager_of(rooms), manager_of(rooms, options={"seed": 1})
    assert not any(are_equal(first.next_train(step)[0], second.next_train(step)[0]) for step in range(4))


def test_two_ranks_see_together_what_one_sees_in_twice_as_many_steps(rooms: Path) -> None:
    alone = manager_of(rooms)
    ranks = [manager_of(rooms, rank, 2) for rank in (0, 1)]
    for step in range(4):
        for rank, manager in enumerate(ranks):
            assert are_equal(manager.next_train(step)[0], alone.next_train(2 * step + rank)[0])


def test_a_numbered_sample_alone_in_its_step_is_that_of_one_process_and_seeds_the_model_anew(
    rooms: Path,
) -> None:
    alone, second_rank = manager_of(rooms), manager_of(rooms, 1, 2)
    seeds = set()
    for number in range(6):
        sample, batch, seed = second_rank.numbered_sample(number, 1)
        assert are_equal(sample, alone.next_train(number)[0])
        assert batch == {SAMPLE: sample}
        seeds |= {seed, pair(number, 0, 1, alone.config.seed, alone.shelf.num_training_frames).seed}
    assert len(seeds) == 12


def test_a_part_of_the_scored_images_is_read_alone(rooms: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = manager_of(rooms).fixed_indices_eval_dataloader
    whole = list(images)
    assert len(whole) >= 3
    read = note_reads(monkeypatch)
    found = list(images.part(1, 2))
    assert read == images.image_filenames[1::2]
    assert [batch["image_idx"] for _, batch in found] == list(range(len(whole)))[1::2]
    for (camera, batch), (other_camera, other) in zip(found, whole[1::2], strict=True):
        assert torch.equal(batch["image"], other["image"])
        assert torch.equal(camera.camera_to_worlds, other_camera.camera_to_worlds)
        assert torch.equal(camera.metadata[SCENE], other_camera.metadata[SCENE])


def test_a_sample_is_of_the_scene_and_target_of_its_pair(rooms: Path) -> None:
    manager = manager_of(rooms, options={"augmentation": UNCHANGED})
    counts = manager.shelf.num_training_frames
    for step in range(6):
        sample, batch = manager.next_train(step)
        draw = pair(step, 0, 1, manager.config.seed, counts)
        views = manager.shelf.training(draw.scene).whole()
        assert batch == {SAMPLE: sample}
        assert sample.targets.size == sample.sources.size == SIZES[SCENES[draw.scene]][::-1]
        torch.testing.assert_close(
            sample.targets.images[0], views.colors(torch.tensor([draw.target]))[0], atol=2e-4, rtol=0
        )
        assert torch.equal(sample.targets.cameras.c2w[0], views.cameras.c2w[draw.target])


@pytest.fixture
def user_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(kept_stereo, "user_cache_folder", lambda name: tmp_path / "cache" / name)
    return tmp_path / "cache"


@pytest.mark.usefixtures("user_cache")
def test_depth_that_trains_is_that_of_the_option(rooms: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def depth_of(source: str) -> Tensor | None:
        manager = manager_of(rooms / "replica", options={"depth": source, "augmentation": UNCHANGED})
        return manager.next_train(0)[0].targets.depths_m

    scene, stereo = depth_of("scene"), depth_of("stereo")
    assert capsys.readouterr().out.count("multi-view stereo") == 1
    assert scene is not None
    assert stereo is not None
    assert torch.equal(depth_of("scene-or-stereo"), scene)  # pyright: ignore[reportArgumentType]
    assert depth_of("none") is None
    is_known = stereo > 0
    assert not torch.equal(stereo, scene)
    assert not bool(is_known.all())
    assert "multi-view stereo" not in capsys.readouterr().out


@pytest.mark.usefixtures("user_cache")
def test_sources_and_stereo_are_for_the_depths_of_the_run_and_by_default_for_those_of_rooms(rooms: Path) -> None:
    options = {"augmentation": UNCHANGED, "depth": "stereo"}
    default, same, other = (manager_of(rooms, split="all", options=options) for _ in range(3))
    same.range_m, other.range_m = (0.3, 8.0), (0.05, 0.2)
    assert default.range_m is None
    samples = [[m.next_train(step)[0].sources.cameras.c2w for step in range(12)] for m in (default, same, other)]
    assert all(torch.equal(one, two) for one, two in zip(samples[0], samples[1], strict=True))
    assert not all(torch.equal(one, two) for one, two in zip(samples[0], samples[2], strict=True))
    assert default._stereo._settings == StereoSettings()
    assert other._stereo._settings == StereoSettings().within(0.05, 0.2)


@pytest.mark.parametrize("name", SCENES)
def test_a_single_scene_is_trained_on_as_it_is(name: str, rooms: Path) -> None:
    manager, unchanged = manager_of(rooms / name), manager_of(rooms / name, options={"augmentation": UNCHANGED})
    for step in range(4):
        sample, _ = manager.next_train(step)
        assert len(manager.shelf.num_training_frames) == 1
        poses = manager.shelf.training(0).cameras.c2w
        assert all(bool((poses == pose).all(dim=(1, 2)).any()) for pose in sample.targets.cameras.c2w)
        torch.testing.assert_close(
            sample.targets.images, unchanged.next_train(step)[0].targets.images, atol=2e-4, rtol=0
        )


def test_every_frame_of_every_scene_is_once_a_first_target_in_an_epoch(rooms: Path) -> None:
    manager = manager_of(rooms, split="all", options={"augmentation": UNCHANGED})
    size = sum(NUM_FRAMES.values())
    firsts = [manager.next_train(step)[0].targets.cameras.c2w[0].flatten() for step in range(size)]
    assert len({tuple(first.tolist()) for first in firsts}) == size


def test_samples_have_the_numbers_of_targets_and_sources_of_the_options(rooms: Path) -> None:
    manager = manager_of(rooms, split="all", options={"targets_per_step": 3})
    counts = set()
    for step in range(12):
        sample, _ = manager.next_train(step)
        assert len(sample.targets.cameras) == 3
        counts.add(len(sample.sources.cameras))
    assert counts == {2, 3}


def numbers_of_frames(manager: Any, steps: int = 12) -> tuple[set[int], set[int]]:
    """How many targets and how many sources the samples of some steps have."""
    samples = [manager.next_train(step)[0] for step in range(steps)]
    return {len(one.targets.cameras) for one in samples}, {len(one.sources.cameras) for one in samples}


def test_by_default_a_single_scene_trains_with_one_target_and_as_many_sources_as_its_images_have(rooms: Path) -> None:
    by_default = {"targets_per_step": None, "train_sources": None}
    alone = manager_of(rooms / "studio", split="all", options=by_default)
    alone.num_source_views = 3
    assert numbers_of_frames(alone) == ({1}, {3})
    together = manager_of(rooms, split="all", options=by_default)
    together.num_source_views = 3
    targets, sources = numbers_of_frames(together)
    assert max(targets) == 2  # fewer where a room has too few frames for them and their sources
    assert len(sources) > 1


def test_a_sample_for_the_log_is_of_a_training_scene_as_it_is(rooms: Path) -> None:
    manager = manager_of(rooms, held_out_scenes=("studio",))
    sample, _ = manager.next_eval(5)
    assert are_equal(sample, manager.next_eval(5)[0])
    torch.testing.assert_close(sample.targets.images[0], manager.shelf.training(0).colors(torch.tensor([0]))[0])


def test_scored_images_are_those_of_all_scored_scenes_with_their_scene_and_a_number_of_their_own(rooms: Path) -> None:
    manager = manager_of(rooms, split="interval", eval_interval=3)
    manager.eval_dataset.load_depth = True
    images = manager.fixed_indices_eval_dataloader
    items = list(images)
    assert len(items) == len(images) == len(images.input_dataset) == 5
    assert [batch["image_idx"] for _, batch in items] == [0, 1, 2, 3, 4]
    assert [int(camera.metadata[SCENE]) for camera, _ in items] == [0, 0, 0, 1, 1]
    for number, (camera, batch) in enumerate(items):
        name = SCENES[int(camera.metadata[SCENE])]
        width, height = SIZES[name]
        assert images.image_filenames[number].is_relative_to(rooms / name)
        assert batch["image"].shape == (height, width, 3)
        assert batch[LABELS].shape == batch[DEPTH_M].shape == (height, width, 1)
        assert (int(camera.width), int(camera.height)) == (width, height)
    assert len(list(images)) == 5  # it can be gone through again


def test_some_scored_images_are_evenly_spaced_over_all_scenes(rooms: Path) -> None:
    manager = manager_of(rooms, split="interval", eval_interval=3)
    whole = list(manager.fixed_indices_eval_dataloader)
    for count, numbers in ((3, [0, 2, 4]), (1, [0]), (9, [0, 1, 2, 3, 4]), (None, [0, 1, 2, 3, 4])):
        images = manager.some_scored_images(count)
        assert len(images) == len(whole)  # as nerfstudio's loaders of some images say
        assert [batch["image_idx"] for _, batch in images] == numbers
        for (camera, _), number in zip(images, numbers, strict=True):
            assert torch.equal(camera.camera_to_worlds, whole[number][0].camera_to_worlds)
    assert [batch["image_idx"] for _, batch in manager.some_scored_images(3).part(1, 2)] == [2]


def test_an_image_scored_while_training_knows_its_scene_if_that_is_scored(rooms: Path) -> None:
    camera, _ = manager_of(rooms, view_scene="studio").next_eval_image(0)
    assert int(camera.metadata[SCENE]) == 1
    camera, _ = manager_of(rooms, view_scene="replica", held_out_scenes=("studio",)).next_eval_image(0)
    assert SCENE not in (camera.metadata or {})  # there is no menu then, and the shown scene is meant


def test_the_number_of_a_scene_leads_to_sources_that_look_at_the_scored_camera_from_near(rooms: Path) -> None:
    manager = manager_of(rooms, split="interval", eval_interval=3)
    for camera, _ in manager.fixed_indices_eval_dataloader:
        views = manager.shelf.sources(int(camera.metadata[SCENE]))
        position = view_cameras(camera, views.metres_per_unit).centres
        distances = (views.cameras.centres - position).norm(dim=-1)
        assert 0.01 < float(distances.min()) < 1.0


def test_the_number_of_a_scene_is_no_part_of_the_cameras_of_the_data_set(rooms: Path) -> None:
    dataset = manager_of(rooms, eval_interval=3).eval_dataset
    assert [int((camera_of(dataset, 1, scene).metadata or {})[SCENE]) for scene in (4, 7)] == [4, 7]
    assert SCENE not in (dataset.cameras.metadata or {})


def test_depth_is_scored_in_every_scene_if_it_is_in_the_shown_one(rooms: Path) -> None:
    manager = manager_of(rooms, eval_interval=3)
    assert all(DEPTH_M not in batch for _, batch in manager.fixed_indices_eval_dataloader)
    manager.eval_dataset.load_depth = True
    assert all(DEPTH_M in batch for _, batch in manager.fixed_indices_eval_dataloader)


def test_nerfstudio_sees_the_shown_scene_with_the_shelf(rooms: Path) -> None:
    manager = manager_of(rooms, held_out_scenes=("studio",), eval_interval=3)
    assert manager.train_dataset.metadata[SHELF] is manager.shelf
    assert all(path.is_relative_to(rooms / "studio") for path in manager.train_dataset.image_filenames)
    assert (len(manager.train_dataset), len(manager.eval_dataset)) == (4, 2)
    seen = [manager.next_eval_image(step)[1]["image"] for step in range(3)]
    assert torch.equal(seen[0], seen[2])
    assert not torch.equal(seen[0], seen[1])


@pytest.mark.parametrize(("max_width", "pixels"), [(256, 32 * 24), (16, 16 * 12)])
def test_the_rays_of_a_step_are_the_pixels_of_its_targets_as_they_are_read(
    max_width: int, pixels: int, rooms: Path
) -> None:
    options = {"targets_per_step": 3, "max_image_width": max_width}
    assert manager_of(rooms / "studio", options=options).get_train_rays_per_batch() == 3 * pixels


def test_frequencies_of_classes_equal_a_count_over_all_training_labels(rooms: Path) -> None:
    manager = manager_of(rooms, split="all")
    count = np.zeros(manager.dataparser.taxonomy.num_classes)
    for scene in manager.dataparser.training_scenes:
        dataset = SemanticDataset(manager.dataparser.training_outputs(scene))
        for index in range(len(dataset)):
            for label in dataset.labels_of(index).ravel():
                count[label] += label >= 0
    np.testing.assert_allclose(manager.class_frequencies().numpy(), count / count.sum(), rtol=1e-6)


@pytest.mark.usefixtures("user_cache")
@pytest.mark.parametrize("cache_mib", [0, 1])
def test_frequencies_are_counted_by_labels_alone_and_are_the_same_whatever_the_memory(
    cache_mib: int, rooms: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"max_image_width": 16, "depth": "stereo"}
    expected = manager_of(rooms, split="all", options=options).class_frequencies()
    opened = note_reads(monkeypatch)
    found = manager_of(rooms, split="all", options=options | {"cache_mib": cache_mib}).class_frequencies()
    assert torch.equal(found, expected)
    assert opened == []


def test_of_very_many_frames_evenly_spread_ones_are_counted_whatever_the_memory(
    rooms: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(many_scenes_datamanager, "_MOST_COUNTED", 5)
    found = []
    for cache_mib in (0, 1):
        manager = manager_of(rooms, split="all", options={"cache_mib": cache_mib})
        found.append(manager.class_frequencies())
    frames = [labels for number in (0, 1) for labels in manager.shelf.training(number).whole().labels]
    count = torch.zeros(len(found[0]), dtype=torch.float64)
    for index in (0, 3, 6, 9, 12):  # of 15 frames of two scenes
        count += torch.stack([(frames[index] == label).sum() for label in range(len(count))])
    assert torch.equal(found[0], (count / count.sum()).float())
    assert torch.equal(found[1], found[0])
    monkeypatch.setattr(many_scenes_datamanager, "_MOST_COUNTED", 15)
    assert not torch.equal(manager.class_frequencies(), found[0])


def test_steps_that_read_frames_anew_are_told_of_once_with_the_option_that_spares_them(
    rooms: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manager = manager_of(rooms, split="all", options={"cache_mib": 0})
    assert "cache-mib" not in capsys.readouterr().out
    manager.class_frequencies()
    for step in range(3):
        manager.next_train(step)
    said = capsys.readouterr().out
    assert said.count("about 0 of 15 training frames, so that about 100% of the frames of a step are read anew") == 1
    assert "--pipeline.datamanager.cache-mib 1 " in said
    enough = manager_of(rooms, split="all", options={"cache_mib": 1})
    enough.class_frequencies()
    enough.next_train(0)
    assert "cache-mib" not in capsys.readouterr().out
