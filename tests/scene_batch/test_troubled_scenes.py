"""Scenes that cannot be worked on, whatever the reason: each has its row, and the others are done."""

import csv
import os
import sys
from pathlib import Path

import pytest
from rich.console import Console

from semantic_ns.cli.batch import Batch
from semantic_ns.errors import SceneError
from semantic_ns.io.locking import take_lock
from semantic_ns.scene_batch import plan
from semantic_ns.scene_batch.backend import ERROR_LOG, LocalBackend
from semantic_ns.scene_batch.index_page import PAGE
from semantic_ns.scene_batch.run import run_batch, write_results
from semantic_ns.scene_batch.scene import SceneTask
from semantic_ns.scene_batch.steps import Step
from semantic_ns.scene_batch.table import CSV_FILE, Row, Rows
from support.batch_steps import FakeSteps, task

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
SILENT = Console(quiet=True)
NOT_UTF8 = os.fsdecode(b"caf\xe9")


def batch(tasks: list[SceneTask], steps: FakeSteps, jobs: int = 2) -> Rows:
    return run_batch(tasks, LocalBackend(jobs, steps), SILENT)


def by_name(rows: Rows) -> dict[str, Row]:
    return {row.task.name: row for row in rows}


def test_a_fault_of_the_program_is_the_reason_of_one_scene_and_its_traceback_is_kept(tmp_path: Path) -> None:
    class Faulty(FakeSteps):
        def __call__(self, step: Step, data: Path, folder: Path, *others: object) -> list[str]:
            if folder.name == "bad":
                raise RecursionError("too deep")
            return super().__call__(step, data, folder, *others)  # pyright: ignore[reportArgumentType]

    tasks = [task(tmp_path, name) for name in ("bad", "a", "b")]
    rows = by_name(batch(tasks, Faulty(tmp_path)))
    assert {name: row.status for name, row in rows.items()} == {"bad": "failed", "a": "done", "b": "done"}
    assert rows["bad"].reason == "The batch failed with RecursionError: too deep (error.log in its folder)."
    assert "Traceback" in (tasks[0].folder / ERROR_LOG).read_text()


@pytest.mark.parametrize("folder", ["file/room", "x" * 300])
def test_a_folder_that_cannot_be_made_is_the_reason_of_one_scene(folder: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    tasks = [task(tmp_path, "bad", folder=tmp_path / folder), task(tmp_path, "good")]
    rows = by_name(batch(tasks, FakeSteps(tmp_path)))
    assert {name: row.status for name, row in rows.items()} == {"bad": "failed", "good": "done"}
    assert "cannot be written" in rows["bad"].reason


def test_long_names_are_cut_to_what_file_systems_take_and_stay_different(tmp_path: Path) -> None:
    long = ["x" * 250, "ü" * 127]
    paths = [tmp_path / above / name for above in ("a", "b") for name in long]
    found = plan.named(paths, {})
    assert list(found.values()) == [str(path) for path in paths]
    assert len(found) == len(paths)
    for name in found:
        (tmp_path / "scenes" / name).mkdir(parents=True)
    assert plan.named(paths, found) == found


def test_a_scene_whose_name_is_no_text_has_a_row_that_says_so_and_the_others_are_done(tmp_path: Path) -> None:
    paths = [tmp_path / "a", tmp_path / NOT_UTF8]
    scenes = plan.named(paths, {})
    plan.write_settings(tmp_path, plan.Settings("m", (), scenes, "m"))
    begun = plan.read_settings(tmp_path)
    assert begun is not None
    assert begun.scenes == scenes  # also the one that is no text
    tasks = [task(tmp_path, name, data=Path(data)) for name, data in begun.scenes.items()]
    steps = FakeSteps(tmp_path)
    summary = write_results(tmp_path, batch(tasks, steps))
    assert summary.states == {"done": 1, "failed": 1}
    assert set(steps.started()) == {"a doctor", "a train", "a eval"}
    with (tmp_path / CSV_FILE).open(encoding="utf8") as file:
        rows = list(csv.DictReader(file))
    assert rows[1]["data"] == f"{tmp_path}/caf\\xe9"
    assert rows[1]["reason"].startswith(f"Expected a path in UTF-8, found {tmp_path}/caf\\xe9, which")


def test_a_folder_of_scenes_may_hold_names_that_are_no_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("room", NOT_UTF8):
        (tmp_path / name).mkdir()
    (tmp_path / "room/transforms.json").write_text('{"frames": []}')
    assert tmp_path / "room" in plan.find_paths([tmp_path])
    capsys.readouterr().out.encode("utf8")


def test_a_scene_that_another_process_works_on_is_left_alone_and_the_others_are_done(tmp_path: Path) -> None:
    tasks, steps = [task(tmp_path, name) for name in ("taken", "free")], FakeSteps(tmp_path)
    lock = take_lock(tasks[0].folder / ".lock", str)
    rows = by_name(batch(tasks, steps))
    assert (rows["taken"].status, rows["free"].status) == ("failed", "done")
    assert rows["taken"].reason.startswith(f"Process {os.getpid()} on ")
    assert "still works on taken" in rows["taken"].reason
    os.close(lock)
    assert [row.status for row in batch(tasks, steps)] == ["done", "done"]
    assert len(steps.started()) == 6


def scene(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "transforms.json").write_text('{"frames": []}')
    return folder


def test_sub_folders_without_a_scene_and_links_that_lead_nowhere_have_a_row(tmp_path: Path) -> None:
    rooms, out = tmp_path / "rooms", tmp_path / "rooms/batch"
    first = scene(rooms / "a")
    for name in ("half_copied", ".cache", "batch"):
        (rooms / name).mkdir()
    (rooms / "half_copied/images").mkdir()
    (rooms / "gone").symlink_to(tmp_path / "unmounted")
    (rooms / "latest").symlink_to(first)
    (rooms / "circle").symlink_to(rooms / "circle")
    (rooms / "notes.txt").touch()
    assert plan.find_paths([rooms]) == [first]
    tasks = [task(tmp_path, "a", data=first, folder=out / "scenes/a")]
    ends = Batch((rooms,), out, ("doctor", "train"))._others(tasks)
    rows = run_batch(tasks, LocalBackend(1, FakeSteps(tmp_path)), SILENT, ends)
    summary = write_results(out, rows)
    assert summary.states == {"done": 1, "failed": 2, "skipped": 1}
    with (out / CSV_FILE).open(encoding="utf8") as file:
        table = {row["scene"]: row for row in csv.DictReader(file)}
    assert list(table) == ["a", "circle", "gone", "half_copied"]
    assert f"a link to {tmp_path / 'unmounted'}, where nothing is" in table["gone"]["reason"]
    assert "no scene in a layout that semantic-data reads" in table["half_copied"]["reason"]
    assert not (out / "scenes/gone").exists()
    assert "half_copied" in (out / PAGE).read_text()


def test_folders_beside_a_scene_that_is_given_alone_are_not_told_of(tmp_path: Path) -> None:
    room = scene(tmp_path / "rooms/a")
    (tmp_path / "rooms/b").mkdir()
    assert plan.find_others([room], [room], tmp_path / "out") == {}
    assert list(plan.find_others([tmp_path / "rooms"], [room], tmp_path / "out")) == [tmp_path / "rooms/b"]


def test_hidden_folders_and_links_to_other_scenes_of_a_folder_are_no_scenes_of_their_own(tmp_path: Path) -> None:
    hidden, room, far = (scene(tmp_path / name) for name in ("rooms/.old", "rooms/a", "elsewhere/b"))
    (tmp_path / "rooms/b").symlink_to(far)
    (tmp_path / "rooms/newest").symlink_to(room)
    assert plan.find_paths([tmp_path / "rooms"]) == [room, tmp_path / "rooms/b"]
    room.rename(tmp_path / "a")
    (tmp_path / "rooms/b").unlink()
    (tmp_path / "rooms/newest").unlink()
    assert hidden.exists()
    with pytest.raises(SceneError, match="found hidden ones alone"):
        plan.find_paths([tmp_path / "rooms"])
