"""The steps of a scene: each is done once, whatever happens, and one that fails says why."""

import json
import os
import signal
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from semantic_ns.jobs.processes import Limits, Processes
from semantic_ns.scene_batch import steps as known
from semantic_ns.scene_batch.backend import LocalBackend
from semantic_ns.scene_batch.records import Record, log_path, read_record, record_path, write_record
from semantic_ns.scene_batch.run import run_batch
from semantic_ns.scene_batch.scene import SceneTask, run_scene
from semantic_ns.scene_batch.steps import DOCTOR_REPORT, Step
from semantic_ns.scene_batch.table import Row
from support.batch_steps import FakeSteps, scoring, task
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
from semantic_ns.scene_batch import scene
from semantic_ns.scene_batch.backend import LocalBackend
from semantic_ns.scene_batch.run import run_batch
from support.batch_steps import FakeSteps, task
place = Path({place!r})
steps = FakeSteps(place, {codes!r})
scene._NOTE_S = 0.0
run_batch([task(place, name) for name in ("a", "b", "c")], LocalBackend(1, steps), Console(quiet=True))
"""


def seconds_of(place: Path, name: str, step: Step) -> float:
    return read_record(place / "out/scenes" / name, step).seconds


def test_a_batch_that_is_killed_twice_trains_nothing_twice_and_gives_the_same_rows(tmp_path: Path) -> None:
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    for folder in (killed, whole):
        folder.mkdir()
    places: list[tuple[str, Step]] = [("b", "train"), ("c", "eval")]
    for place in places:
        # One for each kill: a step of the batch before may be about to end with its own still open.
        fifo = tmp_path / f"{place[0]}.fifo"
        os.mkfifo(fifo)
        reach = f"open({str(fifo)!r}, 'w').close(); {HANG}"
        code = KILLED.format(tests=str(ROOT / "tests"), place=str(killed), codes={place: reach})
        process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
        fifo.open().close()  # the step runs
        while not seconds_of(killed, *place):
            pass
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
    for name, number in (("b", 1), ("c", 2)):
        record = rows[name].records[number]
        assert record.attempts == 2
        assert min(record.attempt_seconds) > 0  # also of the attempt that was killed with its batch
    assert rows["a"].records[1].attempts == 1


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


RECORD = {"step": "train", "state": "done", "exit_status": 0, "peak_memory_gib": 0.5, "reason": ""}


def as_bytes(**changes: object) -> bytes:
    return json.dumps(RECORD | {"attempt_seconds": [1.0]} | changes).encode()


@pytest.mark.parametrize(
    "content",
    [
        b"", as_bytes()[:20], b"\xff" + as_bytes(), b"[" * 10**5, b"[]", b"7", b"null", b'"done"', b"{}",
        as_bytes(step="eval"), as_bytes(state="finished"), as_bytes(attempt_seconds=["x"]),
        as_bytes(attempt_seconds=3), as_bytes(attempt_seconds=[float("nan")]), as_bytes(exit_status=[]),
        as_bytes(reason=None), as_bytes(peak_memory_gib=None),
    ],
)  # fmt: skip
def test_a_damaged_record_is_none_and_says_why(content: bytes, tmp_path: Path) -> None:
    assert read_record(tmp_path, "train") == Record("train", "open")
    write_record(tmp_path, Record("train", "done", 0))
    record_path(tmp_path, "train").write_bytes(content)
    record = read_record(tmp_path, "train")
    assert record == Record("train", "open", reason=record.reason)
    assert record.reason


def test_damaged_records_are_told_in_one_sentence_and_their_steps_done_again(tmp_path: Path) -> None:
    steps, said = FakeSteps(tmp_path), StringIO()
    tasks = [task(tmp_path, name) for name in ("a", "b")]
    batch(tasks, steps)
    for one in tasks:
        record_path(one.folder, "eval").write_bytes(b"\xff\xfe{")
    rows = run_batch(tasks, LocalBackend(1, steps), Console(file=said, width=80))
    assert [row.status for row in rows] == ["done", "done"]
    assert sorted(steps.started())[-4:] == ["b doctor", "b eval", "b eval", "b train"]
    told = [line for line in said.getvalue().splitlines() if "Expected" in line]
    assert len(told) == 1
    assert f"{record_path(tasks[0].folder, 'eval')}, found a file that cannot be read" in told[0]
    assert "and 1 more such files; these steps are done again" in told[0]


def test_records_of_other_versions_are_read(tmp_path: Path) -> None:
    path = record_path(tmp_path, "train")
    path.parent.mkdir()
    path.write_bytes(as_bytes(attempt_seconds=[1.0, 2.0], entry_of_a_later_version=1))
    assert read_record(tmp_path, "train") == Record("train", "done", 0, (1.0, 2.0), 0.5)
    path.write_text(json.dumps(RECORD | {"seconds": 3.0, "attempts": 2}))
    assert read_record(tmp_path, "train") == Record("train", "done", 0, (3.0,), 0.5)
    path.write_text(json.dumps(RECORD | {"seconds": 0.0, "attempts": 0}))
    assert read_record(tmp_path, "train") == Record("train", "done", 0, (), 0.5)


def test_the_seconds_of_all_attempts_are_kept_over_retries_and_calls(tmp_path: Path) -> None:
    one = task(tmp_path, steps=("train", "eval"), retries=1)
    killed = FakeSteps(tmp_path, {("room", "train"): "import os; os.kill(os.getpid(), 9)"})
    first = run(one, killed)[0]
    assert (first.state, first.attempts) == ("failed", 2)
    last = run(one, FakeSteps(tmp_path))[0]
    assert (last.state, last.attempts) == ("done", 3)
    assert last.attempt_seconds[:2] == first.attempt_seconds
    assert last.seconds > first.seconds > first.attempt_seconds[1] > 0
    assert read_record(one.folder, "train") == last
    written = json.loads(record_path(one.folder, "train").read_text())
    assert (written["attempts"], written["seconds"]) == (3, pytest.approx(last.seconds))


def test_a_step_that_is_skipped_keeps_the_seconds_of_its_earlier_attempts(tmp_path: Path) -> None:
    one = task(tmp_path)
    write_record(one.folder, Record("train", "failed", 1, (2.0,)))
    records = run(one, FakeSteps(tmp_path, {("room", "doctor"): "raise ValueError"}))
    assert [(record.state, record.seconds) for record in records[1:]] == [("skipped", 2.0), ("skipped", 0.0)]


def test_a_training_that_was_killed_after_its_end_keeps_the_seconds_of_its_attempts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = task(tmp_path, steps=("train",))
    write_record(one.folder, Record("train", "open", attempt_seconds=(5.0,)))
    monkeypatch.setattr(known, "is_trained", lambda config: True)
    assert run(one, FakeSteps(tmp_path)) == [Record("train", "done", 0, (5.0,))]


LISTENS = "import signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: ({code}, sys.exit({status})))\n"
"""A program that does something when it is asked to end, and then ends with a status."""


@pytest.mark.parametrize(("status", "leaves", "state"), [(0, True, "done"), (0, False, "failed"), (3, True, "failed")])
def test_a_step_that_ends_well_within_the_grace_after_its_time_limit_is_done_if_its_results_are_there(
    status: int, leaves: bool, state: str, tmp_path: Path
) -> None:
    one = task(tmp_path, steps=("train", "eval"), limits=Limits(seconds=2.0))
    code = LISTENS.format(code=scoring(one.folder) if leaves else "0", status=status)
    record = run(one, FakeSteps(tmp_path, {("room", "eval"): code + HANG}))[1]
    assert record.state == state
    assert ("time limit" in record.reason) is (state == "failed")


@pytest.mark.parametrize(("leaves", "state"), [(True, "done"), (False, "open")])
def test_a_step_that_ends_well_after_the_batch_is_stopped_is_done_if_its_results_are_there(
    leaves: bool, state: str, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "fifo")
    slow, fast = task(tmp_path, "slow", ("train", "eval")), task(tmp_path, "fast", ("train",))
    code = LISTENS.format(code=scoring(slow.folder) if leaves else "0", status=0)
    reach = f"{code}open({str(tmp_path / 'fifo')!r}, 'w').close(); {HANG}"
    wait = f"open({str(tmp_path / 'fifo')!r}).close()"
    backend = LocalBackend(2, FakeSteps(tmp_path, {("slow", "eval"): reach, ("fast", "train"): wait}))
    ended = backend.run([slow, fast], lambda _name, _record: None)
    assert next(iter(ended)).task.name == "fast"
    ended.close()
    record = slow.records()[1]
    assert (record.state, record.attempts) == (state, 1)
    assert record.seconds > 0


def test_the_log_of_a_step_keeps_what_earlier_attempts_wrote(tmp_path: Path) -> None:
    one = task(tmp_path, steps=("train",))
    for word in ("first", "second"):
        record = run(one, FakeSteps(tmp_path, {("room", "train"): f"raise ValueError('{word}')"}))[0]
        assert record.reason == f"ValueError: {word}"
    assert [word in log_path(one.folder, "train").read_text() for word in ("first", "second")] == [True, True]
