"""The steps of a scene: each is done once, whatever happens, and one that fails says why."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from semantic_ns.jobs.processes import Limits, Processes
from semantic_ns.scene_batch.backend import LocalBackend
from semantic_ns.scene_batch.records import Record, log_path, read_record, write_record
from semantic_ns.scene_batch.run import run_batch
from semantic_ns.scene_batch.scene import SceneTask, run_scene
from semantic_ns.scene_batch.steps import DOCTOR_REPORT
from semantic_ns.scene_batch.table import Row
from support.batch_steps import FakeSteps, task
from support.fresh_process import ROOT
from support.job_programs import GROW, HANG

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
SILENT = Console(file=open(os.devnull, "w"))  # noqa: SIM115 - as long as the module


def states(records: list[Record]) -> dict[str, str]:
    return {record.step: record.state for record in records}


def run(one: SceneTask, steps: FakeSteps) -> list[Record]:
    return run_scene(one, Processes(), command_of=steps)


def batch(tasks: list[SceneTask], steps: FakeSteps, jobs: int = 2) -> dict[str, Row]:
    return {row.task.name: row for row in run_batch(tasks, LocalBackend(jobs, steps), SILENT)}


def test_steps_run_in_their_order_and_each_leaves_a_record(tmp_path: Path) -> None:
    steps = FakeSteps(tmp_path)
    one = task(tmp_path)
    assert states(run(one, steps)) == {"doctor": "done", "train": "done", "eval": "done"}
    assert steps.started() == ["room doctor", "room train", "room eval"]
    record = read_record(one.folder, "train")
    assert (record.exit_status, record.attempts, record.reason) == (0, 1, "")
    assert record.peak_memory_gib > 0
    assert record.seconds > 0


def test_a_step_that_is_done_is_not_run_again(tmp_path: Path) -> None:
    steps = FakeSteps(tmp_path)
    for _ in range(2):
        run(task(tmp_path), steps)
    assert len(steps.started()) == 3


def test_steps_of_a_later_call_are_added(tmp_path: Path) -> None:
    steps = FakeSteps(tmp_path)
    run(task(tmp_path, steps=("train",)), steps)
    run(task(tmp_path, steps=("doctor", "train", "audit")), steps)
    assert steps.started() == ["room train", "room doctor", "room audit"]


def test_what_needs_a_step_that_failed_is_skipped_and_the_rest_is_done(tmp_path: Path) -> None:
    steps = FakeSteps(tmp_path, {("room", "audit"): "raise ValueError('no region')"})
    records = run(task(tmp_path, steps=("train", "audit", "export-mesh")), steps)
    assert states(records) == {"train": "done", "audit": "failed", "export-mesh": "done"}
    assert records[1].reason == "ValueError: no region"
    steps = FakeSteps(tmp_path, {("hall", "train"): "import sys; sys.exit('Error: no labels')"})
    records = run(task(tmp_path, "hall", ("train", "eval", "audit")), steps)
    assert states(records) == {"train": "failed", "eval": "skipped", "audit": "skipped"}
    assert records[0].reason == "no labels"


def test_a_step_that_failed_is_tried_again_by_the_next_call(tmp_path: Path) -> None:
    one = task(tmp_path, steps=("train", "eval"))
    run(one, FakeSteps(tmp_path, {("room", "train"): "raise ValueError"}))
    assert states(run(one, FakeSteps(tmp_path))) == {"train": "done", "eval": "done"}


def test_a_problem_that_the_doctor_finds_is_a_remark_and_one_that_ends_it_a_failure(tmp_path: Path) -> None:
    one = task(tmp_path)
    report = json.dumps({"problems": ["Depth agrees on 3 % of the points.", "x"]})
    found = f"open({str(one.folder / DOCTOR_REPORT)!r}, 'w').write({report!r}); raise SystemExit(1)"
    records = run(one, FakeSteps(tmp_path, {("room", "doctor"): found}))
    assert states(records) == {"doctor": "done", "train": "done", "eval": "done"}
    assert records[0].reason == "Depth agrees on 3 % of the points."
    for name, code in (("hall", "raise SystemExit(2)"), ("attic", "raise KeyError('x')")):
        records = run(task(tmp_path, name), FakeSteps(tmp_path, {(name, "doctor"): code}))
        assert states(records) == {"doctor": "failed", "train": "skipped", "eval": "skipped"}


def test_only_a_step_that_a_signal_ended_is_started_again(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    once = f"import os\nif not os.path.exists({str(mark)!r}): open({str(mark)!r}, 'w').close(); os.kill(os.getpid(), 9)"
    steps = FakeSteps(tmp_path, {("room", "train"): once, ("hall", "train"): "raise ValueError('x')"})
    records = run(task(tmp_path, steps=("train",)), steps)
    assert (records[0].state, records[0].attempts) == ("done", 2)
    assert run(task(tmp_path, "hall", ("train",)), steps)[0].attempts == 1
    always = FakeSteps(tmp_path, {("attic", "train"): "import os; os.kill(os.getpid(), 9)"})
    record = run(task(tmp_path, "attic", ("train",), retries=2), always)[0]
    assert (record.state, record.attempts, record.exit_status) == ("failed", 3, -9)
    assert "signal 9 (SIGKILL)" in record.reason


def test_broken_hungry_and_endless_scenes_have_a_reason_each_and_the_rest_finish(tmp_path: Path) -> None:
    codes = {
        ("broken", "train"): "raise ValueError('no frames')",
        ("hungry", "train"): GROW,
        ("endless", "train"): HANG,
    }
    steps = FakeSteps(tmp_path, codes)  # pyright: ignore[reportArgumentType]
    limits = Limits(seconds=3.0, memory_bytes=150 * 2**20)
    names = ("broken", "endless", "hungry", "fine")
    rows = batch([task(tmp_path, name, ("train", "eval"), limits=limits) for name in names], steps)
    assert {name: row.status for name, row in rows.items()} == {
        "broken": "failed", "endless": "failed", "hungry": "failed", "fine": "done",
    }  # fmt: skip
    assert rows["broken"].reason == "train: ValueError: no frames"
    assert "time limit of 0.05 minutes" in rows["endless"].reason
    assert "out of memory" in rows["hungry"].reason
    assert rows["fine"].scores == {"miou_present": 0.5, "psnr": 20.0, "depth_l1": 0.25}
    assert all(len(row.reason.splitlines()) <= 1 for row in rows.values())


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from rich.console import Console
from semantic_ns.scene_batch.backend import LocalBackend
from semantic_ns.scene_batch.run import run_batch
from support.batch_steps import FakeSteps, task
place = Path({place!r})
steps = FakeSteps(place, {codes!r})
run_batch([task(place, name) for name in ("a", "b", "c")], LocalBackend(1, steps), Console(quiet=True))
"""


def test_a_batch_that_is_killed_twice_trains_nothing_twice_and_gives_the_same_rows(tmp_path: Path) -> None:
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    for folder in (killed, whole):
        folder.mkdir()
    for place in (("b", "train"), ("c", "eval")):
        # One for each kill: a step of the batch before may be about to end with its own still open.
        fifo = tmp_path / f"{place[0]}.fifo"
        os.mkfifo(fifo)
        reach = f"open({str(fifo)!r}, 'w').close(); {HANG}"
        code = KILLED.format(tests=str(ROOT / "tests"), place=str(killed), codes={place: reach})
        process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
        fifo.open().close()  # the step runs
        process.send_signal(signal.SIGKILL)
        process.wait()
    names = ("a", "b", "c")
    steps = FakeSteps(killed)
    rows = batch([task(killed, name) for name in names], steps)
    expected = batch([task(whole, name) for name in names], FakeSteps(whole))
    for name in names:
        assert (rows[name].status, rows[name].scores) == (expected[name].status, expected[name].scores)
    started = steps.started()
    assert {line: started.count(line) for line in started if started.count(line) > 1} == {"b train": 2, "c eval": 2}


def test_a_batch_that_is_stopped_leaves_its_steps_open(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    reach = f"open({str(tmp_path / 'fifo')!r}, 'w').close(); {HANG}"
    wait = f"open({str(tmp_path / 'fifo')!r}).close()"
    steps = FakeSteps(tmp_path, {("slow", "train"): reach, ("fast", "train"): wait})
    tasks = [task(tmp_path, name, ("train", "eval")) for name in ("slow", "fast")]
    ended = LocalBackend(2, steps).run(tasks, lambda _name, _record: None)
    assert next(iter(ended)).task.name == "fast"
    ended.close()
    assert [record.state for record in tasks[0].records()] == ["open", "open"]


def test_a_half_written_record_is_none(tmp_path: Path) -> None:
    write_record(tmp_path, Record("train", "done", 0))
    path = tmp_path / "steps/train.json"
    path.write_text(path.read_text()[:20])
    assert read_record(tmp_path, "train") == Record("train", "open")


def test_the_log_of_a_step_keeps_what_earlier_attempts_wrote(tmp_path: Path) -> None:
    one = task(tmp_path, steps=("train",))
    for word in ("first", "second"):
        record = run(one, FakeSteps(tmp_path, {("room", "train"): f"raise ValueError('{word}')"}))[0]
        assert record.reason == f"ValueError: {word}"
    assert [word in log_path(one.folder, "train").read_text() for word in ("first", "second")] == [True, True]
