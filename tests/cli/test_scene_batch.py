"""The command `sns-batch`: what it refuses, and a batch that trains."""

import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from semantic_ns.cli import batch
from semantic_ns.cli.batch import Batch
from semantic_ns.cli.cluster import ClusterOptions
from semantic_ns.errors import SceneError
from semantic_ns.io.locking import take_lock
from semantic_ns.jobs import processes
from semantic_ns.jobs.processes import Ending, Processes
from semantic_ns.synthetic_scene import write_nerfstudio_scene
from support.fresh_process import run_module_warm

SMALL = (
    "--max-num-iterations", "3", "--pipeline.model.num-levels", "4", "--pipeline.model.log2-hashmap-size", "8",
    "--pipeline.model.max-res", "64", "--pipeline.datamanager.train-num-rays-per-batch", "256",
    "--machine.device-type", "cpu", "--pipeline.eval-images-at-end", "0", "--pipeline.propagation.enabled", "False",
)  # fmt: skip


@pytest.fixture
def room(tmp_path: Path) -> Path:
    return write_nerfstudio_scene(tmp_path / "room", num_frames=8, width=24, height=18)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"jobs": 0}, "--jobs of at least 1, found 0"), ({"time_limit": 0.0}, "--time-limit above 0"),
        ({"memory_limit": -1.0}, "--memory-limit above 0"), ({"log_limit": 0.0}, "--log-limit above 0, found 0.0"),
        ({"steps": ("eval",)}, "Expected train among --steps"),
        ({"steps": ()}, "at least one step"), ({"arguments": ("--data", "x")}, "found --data"),
        ({"place": ClusterOptions(cluster="ray"), "jobs": 2}, "found --jobs 2"),
        ({"place": ClusterOptions(cpus=0.0)}, "--cpus above 0"), ({"place": ClusterOptions(gpus=-1.0)}, "--gpus of at"),
        ({"retries": -1}, "--retries of at least 0"),
        ({"method": "nerf-of-nobody"}, "found 'nerf-of-nobody'"),
        ({"arguments": ("--no-such-option", "1")}, "Expected options that ns-train takes"),
    ],
)  # fmt: skip
def test_a_wrong_option_is_refused_in_a_sentence_and_leaves_no_folder(
    changes: dict, message: str, room: Path, tmp_path: Path
) -> None:
    with pytest.raises(SceneError, match=message):
        Batch(**{"scenes": (room,), "output_dir": tmp_path / "out"} | changes).main()
    assert not (tmp_path / "out").exists()


def test_a_folder_without_scenes_and_one_inside_a_scene_are_refused(room: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SceneError, match=r"Expected the folder of a scene, or a folder whose sub-folders .* no folder"):
        Batch((tmp_path / "empty",), tmp_path / "out").main()
    with pytest.raises(SceneError, match="outside the scene"):
        Batch((room,), room / "out").main()


def test_memory_that_the_system_does_not_tell_is_not_limited(
    room: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "resident_bytes", lambda process: 0)
    with pytest.raises(SceneError, match="--memory-limit, found none in /proc"):
        Batch((room,), tmp_path / "out", memory_limit=1.0).main()


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """nerfstudio's own defaults do not pass the checks of types that the tests make."""
    monkeypatch.setattr(Batch, "_check_training", lambda self, data: None)


@pytest.mark.usefixtures("unchecked")
def test_two_batches_in_one_folder_are_refused(room: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    lock = take_lock(tmp_path / "out/.lock", str)
    with pytest.raises(SceneError, match=r"no other batch works, found process \d+ on \S+ since \S+ \S+ at work"):
        Batch((room,), tmp_path / "out").main()
    assert lock > 0


@pytest.fixture
def warm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps are run by processes that have imported what they import; `test_scene.py` looks at how they are started."""

    def run(self: Processes, command: Sequence[str], log: Path, *others: Any) -> Ending:
        ended = run_module_warm(command)
        log.write_text(ended.stdout + ended.stderr)
        return Ending(ended.returncode, 1.0, 0, "itself")

    monkeypatch.setattr(Processes, "run", run)


@pytest.mark.usefixtures("unchecked", "warm")
def test_a_batch_trains_and_scores_once_and_refuses_other_settings(
    room: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    words = [str(room), "--output-dir", str(output), "--steps", "train", "eval", "--"]
    monkeypatch.setattr(sys, "argv", ["sns-batch", *words, *SMALL])
    batch.entrypoint()
    assert "1/1 room: done" in capsys.readouterr().out
    with (output / "results.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert row["status"] == "done"
    assert 0 <= float(row["miou_present"]) <= 1
    assert float(row["psnr"]) > 0
    assert Path(row["run"]).is_file()
    assert (output / "results.html").read_text().count("<img") >= 2
    with pytest.raises(SceneError, match="Expected the settings with which"):
        Batch((room,), output, ("train",), arguments=()).main()
