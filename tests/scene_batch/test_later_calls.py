"""What later calls into the folder of a batch find, keep and do again."""

import csv
import json
import os
import signal
import sys
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from semantic_ns.cli.batch import Batch
from semantic_ns.errors import SceneError
from semantic_ns.jobs.processes import Processes
from semantic_ns.scene_batch import plan
from semantic_ns.scene_batch.backend import LocalBackend, SceneEnd
from semantic_ns.scene_batch.index_page import PAGE
from semantic_ns.scene_batch.progress import Seldom
from semantic_ns.scene_batch.records import Record, log_path, read_record, record_path, write_record
from semantic_ns.scene_batch.run import run_batch, write_results, write_tables
from semantic_ns.scene_batch.scene import MOST_READ_BYTES, SceneTask, Told, _end_of, run_scene
from semantic_ns.scene_batch.steps import Step
from semantic_ns.scene_batch.table import CSV_FILE
from support.batch_folders import write_batch
from support.batch_steps import FakeSteps, task

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
SILENT = Console(quiet=True)


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / CSV_FILE).open(encoding="utf8") as file:
        return list(csv.DictReader(file))


# Tables


def test_a_later_call_with_other_steps_keeps_the_scores_and_failures_of_earlier_ones(tmp_path: Path) -> None:
    steps = FakeSteps(tmp_path, {("bad", "eval"): "raise ValueError('no image')"})
    names: tuple[str, ...] = ("good", "bad", "new")
    run_batch([task(tmp_path, name) for name in names[:2]], LocalBackend(2, steps), SILENT)
    later: tuple[Step, ...] = ("train", "export-mesh")
    tasks = [task(tmp_path, name, later, earlier_steps=("doctor", "train", "eval")) for name in names]
    summary = write_results(tmp_path, run_batch(tasks, LocalBackend(2, steps), SILENT))
    good, bad, new = table(tmp_path)
    assert (good["status"], good["miou_present"], good["eval"], good["export-mesh"]) == ("done", "0.5", "done", "done")
    assert (bad["status"], bad["reason"]) == ("failed", "eval: ValueError: no image")
    assert (new["status"], new["doctor"], new["doctor_seconds"], new["train"]) == ("done", "", "", "done")
    assert summary.unfinished == {"eval"}
    assert summary.spreads["miou_present"].count == 1
    assert sorted(steps.started())[:4] == ["bad doctor", "bad eval", "bad export-mesh", "bad train"]


@pytest.mark.parametrize("knows_steps", [True, False])
def test_the_steps_of_earlier_calls_are_known_also_in_folders_of_earlier_versions(
    knows_steps: bool, tmp_path: Path
) -> None:
    out = write_batch(tmp_path / "out", {"a": {"doctor": ("done", 1.0), "train": ("done", 2.0), "eval": ("done", 1.0)}})
    content = json.loads((out / plan.SETTINGS).read_text()) | {"method_name": "m"}
    (out / plan.SETTINGS).write_text(json.dumps(content | ({"steps": ["eval", "train"]} if knows_steps else {})))
    command = Batch((tmp_path / "data/a",), out, ("train", "export-mesh"), method="m")
    (one,), _ = command._tasks([tmp_path / "data/a"])
    earlier = ("train", "eval") if knows_steps else ("doctor", "train", "eval")
    assert one.all_steps == (*earlier, "export-mesh")
    assert one.steps == ("train", "export-mesh")
    begun = plan.read_settings(out)
    assert begun is not None
    assert begun.steps == one.all_steps


def test_a_step_of_an_earlier_call_that_failed_is_named_by_the_last_sentence(tmp_path: Path) -> None:
    out = write_batch(
        tmp_path / "out", {"a": {"train": ("done", 2.0), "eval": ("failed", 1.0), "export-mesh": ("done", 1.0)}}
    )
    content = json.loads((out / plan.SETTINGS).read_text()) | {"method_name": "m"}
    (out / plan.SETTINGS).write_text(json.dumps(content))
    (tmp_path / "data/a").mkdir(parents=True)
    (tmp_path / "data/a/transforms.json").write_text('{"frames": []}')
    with pytest.raises(SceneError, match="and the same command with eval among --steps tries them again"):
        Batch((tmp_path / "data/a",), out, ("train", "export-mesh"), method="m").main()


# Results that are made from others


@pytest.mark.parametrize("steps", [("train", "eval", "audit"), ("train", "audit")])
def test_what_was_made_from_a_former_training_is_done_anew(steps: tuple[Step, ...], tmp_path: Path) -> None:
    commands = FakeSteps(tmp_path)
    one = task(tmp_path, steps=("doctor", "train", "eval", "audit"))
    run_scene(one, Processes(), command_of=commands)
    record_path(one.folder, "train").unlink()  # as a person does who wants the scene trained again
    run_scene(task(tmp_path, steps=steps), Processes(), command_of=commands)
    assert commands.started()[4:] == [f"room {step}" for step in steps]
    left = read_record(one.folder, "eval")
    assert left.state == ("done" if "eval" in steps else "open")
    assert left.attempts == (2 if "eval" in steps else 1)
    assert read_record(one.folder, "doctor").state == "done"


def test_a_doctor_that_runs_again_has_nothing_trained_anew(tmp_path: Path) -> None:
    commands = FakeSteps(tmp_path)
    run_scene(task(tmp_path), Processes(), command_of=commands)
    record_path(task(tmp_path).folder, "doctor").unlink()
    run_scene(task(tmp_path), Processes(), command_of=commands)
    assert commands.started()[3:] == ["room doctor"]


def test_scores_of_a_former_training_are_not_those_of_one_that_fails(tmp_path: Path) -> None:
    one = task(tmp_path, steps=("train",), earlier_steps=("eval",))
    write_record(one.folder, Record("eval", "done", 0, (1.0,)))
    (one.folder / "scores.json").write_text('{"results": {"miou_present": 0.9}}')
    (row,) = run_batch([one], LocalBackend(1, FakeSteps(tmp_path, {("room", "train"): "raise ValueError"})), SILENT)
    assert row.status == "failed"
    assert row.scores == {}


# Interrupts


class Interrupted:
    """Works on one scene, after which the process gets a signal."""

    jobs = 1

    def __init__(self, steps: FakeSteps, number: signal.Signals) -> None:
        self._steps, self._number = steps, number

    def run(self, tasks: Sequence[SceneTask], told: Told) -> Generator[SceneEnd, None, None]:
        run_scene(tasks[0], Processes(), told, self._steps)
        yield SceneEnd(tasks[0])
        os.kill(os.getpid(), self._number)
        yield SceneEnd(tasks[1])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_batch_that_is_interrupted_leaves_tables_of_what_is_done(number: signal.Signals, tmp_path: Path) -> None:
    tasks = [task(tmp_path, name) for name in ("a", "b", "c")]
    with pytest.raises((SystemExit, KeyboardInterrupt)):
        run_batch(
            tasks, Interrupted(FakeSteps(tmp_path), number), SILENT, tell=lambda rows: write_tables(tmp_path, rows)
        )
    assert [(row["scene"], row["status"]) for row in table(tmp_path)] == [("a", "done"), ("b", "open"), ("c", "open")]


def test_what_is_done_now_and_then_takes_a_small_share_of_the_time() -> None:
    now, calls = [0.0], list[float]()

    def work() -> None:
        calls.append(now[0])
        now[0] += 30.0

    seldom = Seldom(work, lambda: now[0])
    for _ in range(10_000):
        now[0] += 1.0
        seldom()
    assert calls[0] == 60
    assert 30 * len(calls) <= now[0] / 20 + 30
    assert len(calls) > 5


# Logs


def test_of_a_long_log_the_end_is_read_and_has_the_reason(tmp_path: Path) -> None:
    one = task(tmp_path, steps=("train",))
    code = f"print('x' * {3 * MOST_READ_BYTES}); print('early', 'é' * {MOST_READ_BYTES}); raise ValueError('late')"
    (record,) = run_scene(one, Processes(), command_of=FakeSteps(tmp_path, {("room", "train"): code}))
    assert record.reason == "ValueError: late"
    log = log_path(one.folder, "train")
    assert log.stat().st_size > 3 * MOST_READ_BYTES
    assert len(_end_of(log, 0).encode()) <= MOST_READ_BYTES + 10
    assert _end_of(log, log.stat().st_size - 5) == log.read_bytes()[-5:].decode()


# Versions


def test_results_of_two_versions_of_the_program_are_told_apart(tmp_path: Path) -> None:
    steps = FakeSteps(tmp_path)
    old, new = (task(tmp_path, name, version=f"0.1.0 {name}") for name in ("old", "new"))
    one = write_results(tmp_path, run_batch([old], LocalBackend(1, steps), SILENT))
    assert one.remark() == ""
    both = write_results(tmp_path, run_batch([replace(old, version="0.1.0 new"), new], LocalBackend(1, steps), SILENT))
    assert "of 2 versions of the program (0.1.0 new, 0.1.0 old)" in both.remark()
    assert both.remark() in (tmp_path / PAGE).read_text()
    assert [row["versions"] for row in table(tmp_path)] == ["0.1.0 old", "0.1.0 new"]
    assert (tmp_path / "out/scenes/old/steps/eval.json").read_text().count('"version": "0.1.0 old"') == 1


def test_a_call_of_another_version_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = write_batch(tmp_path / "out", {"a": {"train": ("done", 1.0)}})
    content = json.loads((out / plan.SETTINGS).read_text()) | {"method_name": "m"}
    for version, is_said in (("", False), ("0.0.1 abc", True)):
        (out / plan.SETTINGS).write_text(json.dumps(content | {"version": version}))
        Batch((tmp_path / "data/a",), out, ("train",), method="m")._tasks([tmp_path / "data/a"])
        assert ("ran version 0.0.1 abc, and this one is" in " ".join(capsys.readouterr().out.split())) is is_said
    Batch((tmp_path / "data/a",), out, ("train",), method="m")._tasks([tmp_path / "data/a"])
    assert "this one is" not in capsys.readouterr().out
