"""Logs of limited size: their beginning and end are there, and they say what is not."""

import os
import re
import sys
from pathlib import Path

import pytest

from semantic_ns.jobs import processes
from semantic_ns.jobs.limited_log import LimitedLog
from semantic_ns.jobs.processes import Limits, Processes
from semantic_ns.scene_batch.records import log_path
from semantic_ns.scene_batch.scene import run_scene
from support.batch_steps import FakeSteps, task
from support.job_programs import python

MOST = 2**13
LEFT_OUT = re.compile(r"\n\[(\d+) bytes were left out here: the log has reached its limit of 8192 bytes\]\n")


def lines(begin: int, end: int) -> str:
    return "".join(f"line {number:05}\n" for number in range(begin, end))


def assert_is_shortened(log: str, whole: str) -> None:
    """Beginning and end are those of what was written, and the only line between says how much is missing."""
    beginning, left_out, end = LEFT_OUT.split(log)
    assert whole.startswith(beginning)
    assert whole.endswith(end)
    assert len(beginning) == MOST // 4
    assert len(end) >= MOST // 4
    assert len(beginning) + int(left_out) + len(end) == len(whole)
    assert len(log) <= MOST


@pytest.mark.parametrize("size", [1, 11, 700, 10**6])
def test_of_a_long_log_beginning_and_end_are_kept_and_what_is_missing_is_counted(size: int, tmp_path: Path) -> None:
    path, whole = tmp_path / "log.txt", lines(0, 3000)
    log = LimitedLog(path, MOST)
    for begin in range(0, len(whole), size):
        log.write(whole[begin : begin + size].encode())
        assert path.stat().st_size <= MOST
    log.close()
    assert_is_shortened(path.read_text(), whole)


def test_a_log_within_its_limit_is_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    for begin in (0, 300):
        log = LimitedLog(path, MOST)
        log.write(lines(begin, begin + 300).encode())
        log.close()
    assert path.read_text() == lines(0, 600)
    assert log.start == len(lines(0, 300))


def test_a_log_that_is_gone_on_with_counts_what_was_left_out_before(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    for begin in (0, 2000, 4000):
        log = LimitedLog(path, MOST)
        log.write(lines(begin, begin + 2000).encode())
        log.close()
    assert_is_shortened(path.read_text(), lines(0, 6000))


@pytest.mark.parametrize("before", [100, 700, 3000])
@pytest.mark.parametrize("count", [1, 100, 3000])
def test_where_the_words_of_a_process_begin_is_known_also_where_some_were_left_out(
    before: int, count: int, tmp_path: Path
) -> None:
    path = tmp_path / "log.txt"
    earlier = LimitedLog(path, MOST)
    earlier.write(b"e" * before)
    earlier.close()
    log = LimitedLog(path, MOST)
    for _ in range(count):
        log.write(b"own word\n")
    log.close()
    of_it = path.read_bytes()[log.start :].decode()
    assert of_it.endswith("own word\n")
    assert set(LEFT_OUT.sub("", of_it)) <= set("own word\n")


def test_a_process_that_prints_much_has_a_short_log_with_its_first_and_last_words(tmp_path: Path) -> None:
    code = "print('first'); print('x' * 10**6); print('last')"
    ending = Processes().run(python(code), tmp_path / "log.txt", Limits(log_bytes=MOST))
    log = (tmp_path / "log.txt").read_text()
    assert ending.status == 0
    assert log.startswith("first\n")
    assert log.endswith("last\n")
    assert len(log) <= MOST


@pytest.mark.skipif(sys.platform != "linux", reason="has a device that is always full")
def test_a_process_whose_log_cannot_be_written_ends_as_it_would_have(tmp_path: Path) -> None:
    (tmp_path / "log.txt").symlink_to("/dev/full")
    ending = Processes().run(python("import sys; print('x' * 10**6); sys.exit(3)"), tmp_path / "log.txt")
    assert ending.status == 3


def test_what_comes_after_the_end_of_an_attempt_is_not_written_among_the_words_of_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    former = LimitedLog(path, MOST)
    former.write(b"former\n")
    former.end()
    log = LimitedLog(path, MOST)
    for log_of_whom in (log, former, log):
        log_of_whom.write(b"late\n" if log_of_whom is former else b"own word\n")
    for each in (former, log):
        each.close()
    assert path.read_text() == "former\nown word\nown word\n"


def test_a_process_that_leaves_another_with_its_output_ends_and_the_log_is_the_next_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is left behind has a session of its own, and writes as soon as the next process has begun."""
    monkeypatch.setattr(processes, "_LAST_WORDS_S", 1.0)  # the first process leaves a pipe that stays open
    log, begun, late = (tmp_path / name for name in ("log.txt", "begun", "late"))
    for pipe in (begun, late):
        os.mkfifo(pipe)  # each process waits until the other one has opened it
    leaves = (
        "import os\nprint('first', flush=True)\n"
        f"if os.fork() == 0:\n    os.setsid()\n    open({str(begun)!r}).close()\n"
        f"    print('late', flush=True)\n    open({str(late)!r}, 'w').close()\n"
    )
    waits = (
        f"print('own word', flush=True)\nopen({str(begun)!r}, 'w').close()\n"
        f"open({str(late)!r}).close()\nprint('own word')\n"
    )
    both = Processes()
    assert both.run(python(leaves), log).status == 0
    ending = both.run(python(waits), log, Limits(seconds=60.0))
    assert log.read_text() == "first\nown word\nown word\n"
    assert log.read_text()[ending.log_start :] == "own word\nown word\n"


def test_a_log_that_is_emptied_while_it_is_written_goes_on_at_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    log = LimitedLog(path, MOST)
    log.write(b"before\n")
    path.write_bytes(b"")
    log.write(b"after\n")
    log.close()
    assert path.read_text() == "after\n"


def test_no_descriptor_is_left_open_after_processes(tmp_path: Path) -> None:
    some = Processes()
    before = len(os.listdir("/dev/fd"))
    for _ in range(3):
        some.run(python("print(1)"), tmp_path / "log.txt")
    with pytest.raises(FileNotFoundError):
        some.run(python("print(1)"), tmp_path / "no folder/log.txt")
    assert len(os.listdir("/dev/fd")) == before


def test_the_reason_of_a_step_is_found_in_a_log_that_was_shortened(tmp_path: Path) -> None:
    code = "print('ValueError: early'); print('x' * 10**5, flush=True); raise ValueError('late')"
    one = task(tmp_path, steps=("train",), limits=Limits(log_bytes=MOST))
    steps = FakeSteps(tmp_path, {("room", "train"): code})
    for _ in range(2):
        (record,) = run_scene(one, Processes(), command_of=steps)
        assert record.reason == "ValueError: late"
    assert log_path(one.folder, "train").stat().st_size <= MOST
    (record,) = run_scene(one, Processes(), command_of=FakeSteps(tmp_path, {("room", "train"): "raise SystemExit(3)"}))
    assert record.reason == "It ended with status 3 and said nothing."
