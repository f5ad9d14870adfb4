"""What is read from the folder of a batch: means by hand, folders that are refused, and the speed of a file system."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semantic_ns.errors import SceneError
from semantic_ns.scene_batch.measured import measure_batch, measure_storage
from semantic_ns.scene_batch.scene_stamp import write_stamp
from support.batch_folders import write_batch, write_training

THREE = {
    "a": {"doctor": ("done", 2.0), "train": ("done", 60.0), "eval": ("done", 10.0)},
    "b": {"doctor": ("done", 4.0), "train": ("failed", 30.0), "eval": ("skipped", 0.0)},
    "c": {"doctor": ("done", 3.0), "train": ("done", 90.0)},
}


def test_means_are_over_the_scenes_whose_steps_have_all_ended(tmp_path: Path) -> None:
    found = measure_batch(write_batch(tmp_path / "out", THREE))
    assert (found.num_scenes, found.num_ended, found.num_failed) == (3, 2, 1)
    assert found.step_seconds == {"doctor": 3.0, "train": 45.0, "eval": 5.0}  # a skipped step takes none
    assert found.seconds == (72 + 34) / 2
    assert found.longest_seconds == 72
    assert found.error_seconds == pytest.approx((72 - 34) / 2)  # of two values, half their difference
    assert found.peak_memory_gib == 1.6


def test_a_training_that_was_found_at_its_end_does_not_lower_the_mean(tmp_path: Path) -> None:
    """It was killed between its last checkpoint and its record; nobody knows its seconds."""
    scenes = {name: {"train": ("done", seconds)} for name, seconds in (("a", 60.0), ("b", 0.0), ("c", 80.0))}
    found = measure_batch(write_batch(tmp_path / "out", scenes))
    assert found.seconds == 70
    assert found.longest_seconds == 80


def test_files_and_checkpoints_are_those_that_lie_there(tmp_path: Path) -> None:
    out = write_batch(tmp_path / "out", {"a": THREE["a"]})
    place = out / "scenes/a"
    write_training(place, 10_000, 100, 400)
    (tmp_path / "data/a").mkdir(parents=True)
    (tmp_path / "data/a/image.png").write_bytes(bytes(777))
    found = measure_batch(out)
    files = [path for path in place.rglob("*") if path.is_file()]
    assert (found.files, found.folders) == (len(files), 5) == (5, 5)
    assert found.bytes == sum(path.stat().st_size for path in files)
    assert (found.checkpoint_bytes, found.num_checkpoints, found.checkpoint_seconds) == (10_000, 1, 15.0)
    assert found.input_bytes == 777
    assert found.error_seconds is None
    assert found.page_bytes == 0


def test_looks_for_changed_files_take_time_where_files_were_noted(tmp_path: Path) -> None:
    out = write_batch(tmp_path / "out", {"a": THREE["a"]})
    (tmp_path / "data/a").mkdir(parents=True)
    (tmp_path / "data/a/image.png").touch()
    assert measure_batch(out).look_seconds == 0
    write_stamp(out / "scenes/a", tmp_path / "data/a")
    assert measure_batch(out).look_seconds > 0
    shutil.rmtree(tmp_path / "data")
    assert measure_batch(out).input_bytes == 0


def test_the_part_of_the_page_is_what_the_page_would_embed(tmp_path: Path) -> None:
    out = write_batch(tmp_path / "out", {"a": THREE["a"]})
    Image.fromarray(np.zeros((30, 90, 3), np.uint8)).save(out / "scenes/a/doctor.png")
    found = measure_batch(out)
    assert found.page_bytes > 100
    assert found.page_seconds > 0


@pytest.mark.parametrize(
    ("scenes", "message"),
    [
        ({"a": {}}, "none among 1; give a batch that has gone further"),
        ({"c": THREE["c"], "b": {"doctor": ("done", 1.0), "eval": ("skipped", 0.0)}}, "none among 2"),
        ({"a": {"doctor": ("skipped", 0.0)}}, "no step was run there"),
    ],
)
def test_a_batch_without_a_scene_that_has_ended_is_refused(scenes: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(SceneError, match=message):
        measure_batch(write_batch(tmp_path / "out", scenes))


@pytest.mark.parametrize(
    "scene",
    [
        {"doctor": ("failed", 11.0), "train": ("skipped", 0.0)},
        {"doctor": ("done", 2.0), "train": ("failed", 9.0), "eval": ("skipped", 0.0)},
        {"doctor": ("failed", 2.0)},
    ],
)
def test_a_batch_in_which_no_scene_was_trained_is_refused(scene: dict, tmp_path: Path) -> None:
    needed = "train" if "train" in scene else "doctor"
    with pytest.raises(SceneError, match=f"for which {needed} is done, found none among 2"):
        measure_batch(write_batch(tmp_path / "out", {"a": scene, "b": scene}))
    measure_batch(
        write_batch(
            tmp_path / "more", {"a": scene, "c": THREE["a"] if needed == "train" else {"doctor": ("done", 1.0)}}
        )
    )


def test_a_step_that_runs_for_the_first_time_keeps_its_scene_open(tmp_path: Path) -> None:
    out = write_batch(tmp_path / "out", {"a": {"doctor": ("done", 2.0)}})
    assert measure_batch(out).num_ended == 1
    (out / "scenes/a/steps/train.log").touch()
    with pytest.raises(SceneError, match="whose steps have all ended"):
        measure_batch(out)


def test_a_folder_without_a_batch_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(SceneError, match=r"Expected the folder of a batch .* found none in .*; give the --output"):
            measure_batch(folder)


def test_the_speed_of_a_file_system_is_found_and_leaves_nothing(tmp_path: Path) -> None:
    found = measure_storage(tmp_path)
    assert min(found.files, found.reads, found.bytes) > 0
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(SceneError, match="Expected to write to"):
        measure_storage(tmp_path / "missing")
