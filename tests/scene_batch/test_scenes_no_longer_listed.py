"""Scenes that an earlier call was given and this one is not: their results stay, are told of, and count nowhere."""

import csv
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from semantic_ns.cli.batch import Batch
from semantic_ns.scene_batch import plan
from semantic_ns.scene_batch.backend import LocalBackend, SceneEnd
from semantic_ns.scene_batch.index_page import PAGE
from semantic_ns.scene_batch.measured import measure_batch
from semantic_ns.scene_batch.run import run_batch, write_results
from semantic_ns.scene_batch.scene import SceneTask
from semantic_ns.scene_batch.table import CSV_FILE
from support.batch_folders import write_batch
from support.batch_steps import FakeSteps, scoring, task

SILENT = Console(quiet=True)


def room(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "transforms.json").write_text('{"frames": []}')
    return folder


def batch(tmp_path: Path, *scenes: Path) -> Batch:
    return Batch(scenes, tmp_path / "out", ("train",), method="m")


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """A folder in which a, b and c were trained."""
    out = write_batch(tmp_path / "out", {name: {"train": ("done", 2.0)} for name in ("a", "b", "c")})
    content = json.loads((out / plan.SETTINGS).read_text()) | {"method_name": "m"}
    (out / plan.SETTINGS).write_text(json.dumps(content))
    for name in ("a", "b"):
        room(tmp_path / "data" / name)
    return out


def listing(tmp_path: Path, *scenes: Path) -> Path:
    """A text file with the paths of scenes."""
    path = tmp_path / "list.txt"
    path.write_text("".join(f"{scene}\n" for scene in scenes))
    return path


def named(tasks: list[SceneTask]) -> list[str]:
    return [each.name for each in tasks]


def test_scenes_that_are_given_one_at_a_time_are_all_in_the_list(begun: Path, tmp_path: Path) -> None:
    for name in ("d", "e"):
        path = room(tmp_path / "data" / name)
        tasks, unlisted = batch(tmp_path, path)._tasks([path])
    assert named(tasks) == ["a", "b", "d", "e"]
    assert [end.task.name for end in unlisted] == ["c"]


def test_a_single_scene_does_not_bring_back_what_a_list_has_left_out(begun: Path, tmp_path: Path) -> None:
    paths = [tmp_path / "data/a", tmp_path / "data/b"]
    batch(tmp_path, listing(tmp_path, paths[0]))._tasks(paths[:1])
    tasks, unlisted = batch(tmp_path, paths[0])._tasks(paths[:1])
    assert named(tasks) == ["a"]
    assert [end.task.name for end in unlisted] == ["b", "c"]


def test_a_scene_that_is_missing_in_a_list_is_not_worked_on_and_its_row_says_so(begun: Path, tmp_path: Path) -> None:
    tasks, unlisted = batch(tmp_path, listing(tmp_path, tmp_path / "data/a"))._tasks([tmp_path / "data/a"])
    assert named(tasks) == ["a"]
    reasons = {end.task.name: end.lost for end in unlisted}
    assert reasons["b"].startswith("It is no longer in the list of scenes; its results and logs are kept")
    assert f"and nothing is at {tmp_path / 'data/c'};" in reasons["c"]
    settings = plan.read_settings(begun)
    assert settings is not None
    assert list(settings.listed) == ["a"]
    assert list(settings.scenes) == ["a", "b", "c"]
    assert (begun / "scenes/c/steps/train.json").exists()


def test_a_scene_that_is_given_again_counts_again(begun: Path, tmp_path: Path) -> None:
    paths = [tmp_path / "data/a", tmp_path / "data/b"]
    batch(tmp_path, listing(tmp_path, paths[0]))._tasks(paths[:1])
    tasks, unlisted = batch(tmp_path, *paths)._tasks(paths)
    assert named(tasks) == ["a", "b"]
    assert [end.task.name for end in unlisted] == ["c"]


def test_a_scene_that_lies_in_the_folder_and_is_broken_is_still_in_the_list(begun: Path, tmp_path: Path) -> None:
    (tmp_path / "data/b/transforms.json").unlink()
    (tmp_path / "data/c").symlink_to(tmp_path / "unmounted")
    given = tmp_path / "data"
    tasks, unlisted = batch(tmp_path, given)._tasks(plan.find_paths([given]))
    assert named(tasks) == ["a", "b", "c"]
    assert unlisted == []


def test_a_new_path_to_a_scene_is_not_another_scene(begun: Path, tmp_path: Path) -> None:
    (tmp_path / "mounted").symlink_to(tmp_path / "data")
    path = tmp_path / "mounted/a"
    tasks, unlisted = batch(tmp_path, listing(tmp_path, path))._tasks([path])
    assert [(each.name, each.data) for each in tasks] == [("a", tmp_path / "data/a")]
    assert [end.task.name for end in unlisted] == ["b", "c"]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_what_is_no_longer_listed_has_a_row_and_is_in_no_total(tmp_path: Path) -> None:
    tasks = [task(tmp_path, name, version=f"0.1.0 {name}") for name in ("kept", "gone")]
    steps = FakeSteps(tmp_path, {("gone", "eval"): scoring(tasks[1].folder, 0.9)})
    run_batch(tasks, LocalBackend(1, steps), SILENT)
    before = sorted(path for path in (tmp_path / "out/scenes/gone").rglob("*"))
    gone = replace(tasks[1], is_listed=False)
    end = SceneEnd(gone, plan.sentence_about_unlisted(gone.data))
    summary = write_results(tmp_path, run_batch(tasks[:1], LocalBackend(1, steps), SILENT, [end]))
    assert summary.states == {"done": 1}
    assert summary.num_scenes == 1
    assert summary.spreads["miou_present"].mean == 0.5
    assert summary.versions == {"0.1.0 kept"}
    assert summary.remark().startswith("1 scene of earlier calls is no longer in the list")
    with (tmp_path / CSV_FILE).open(encoding="utf8") as file:
        kept, other = csv.DictReader(file)
    assert (kept["status"], other["scene"], other["status"]) == ("done", "gone", "unlisted")
    assert (other["miou_present"], other["train"]) == ("0.9", "done")
    assert other["reason"].startswith("It is no longer in the list of scenes")
    page = (tmp_path / PAGE).read_text()
    assert "1 scenes: 1 done" in page
    assert 'class="unlisted"' in page
    assert sorted(path for path in (tmp_path / "out/scenes/gone").rglob("*")) == before
    assert len(steps.started()) == 6


def test_costs_are_those_of_the_scenes_in_the_list(begun: Path, tmp_path: Path) -> None:
    write_times = json.loads((begun / "scenes/b/steps/train.json").read_text()) | {"seconds": 1000.0}
    (begun / "scenes/b/steps/train.json").write_text(json.dumps(write_times))
    batch(tmp_path, listing(tmp_path, tmp_path / "data/a"))._tasks([tmp_path / "data/a"])
    measured = measure_batch(begun)
    assert (measured.num_scenes, measured.num_ended, measured.seconds) == (1, 1, 2.0)


def test_a_call_whose_scenes_are_done_ends_well_whatever_has_become_of_others(
    begun: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = json.loads((begun / "scenes/b/steps/train.json").read_text()) | {"state": "failed", "reason": "too dark"}
    (begun / "scenes/b/steps/train.json").write_text(json.dumps(failed))
    batch(tmp_path, listing(tmp_path, tmp_path / "data/a")).main()
    printed = " ".join(capsys.readouterr().out.split())
    assert "no longer in the list of scenes, 2 of 3 of earlier calls: b, c; results are kept" in printed
    assert "1 scenes, 1 of them done before." in printed
    assert "2 scenes of earlier calls are no longer in the list: results and logs are kept" in printed
    with (begun / CSV_FILE).open(encoding="utf8") as file:
        rows = {row["scene"]: row for row in csv.DictReader(file)}
    assert {name: row["status"] for name, row in rows.items()} == {"a": "done", "b": "unlisted", "c": "unlisted"}
    assert rows["b"]["reason"].endswith("are not counted. train: too dark")
