"""Trials that fail, and files that are half there: each has its reason in one line, and the others go on."""

from pathlib import Path

import pytest

from semantic_ns.benchmark.runner.backend import ProcessBackend
from semantic_ns.benchmark.runner.reasons import how_it_ended, reason_of
from semantic_ns.benchmark.runner.run import run_trials
from semantic_ns.benchmark.runner.trials import RESULT, TRIAL, read_result, state_of, trial_folder
from semantic_ns.benchmark.scenes.report import write_scoreboard
from semantic_ns.benchmark.scenes.summary import read_scoreboard
from support import benchmark_trials
from support.benchmark_trials import FakeBackend, trial
from support.markdown import rows
from support.scoreboards import outcome, write
from support.scoreboards import trial as scene_trial

PROGRAM = (benchmark_trials.__file__,)


def test_a_trial_whose_folder_is_gone_is_lost_with_the_reason_and_the_others_end(tmp_path: Path) -> None:
    trials = [trial(method=method) for method in ("works", "loses-its-folder")]
    said: list[str] = []
    assert run_trials(trials, tmp_path, ProcessBackend(2, PROGRAM), said.append) == {"done": 1, "open": 1}
    (lost,) = [line for line in said if "loses-its-folder" in line]
    assert "lost: It cannot be run, or its result not be written: NotADirectoryError" in lost


def test_a_trial_that_cannot_be_begun_is_told_of_and_the_others_are_trained(tmp_path: Path) -> None:
    trials = [trial(seed=seed) for seed in range(3)]
    (tmp_path / "cells").mkdir()
    trial_folder(tmp_path, trials[1]).touch()
    said: list[str] = []
    assert run_trials(trials, tmp_path, FakeBackend(), said.append) == {"done": 2, "open": 1}
    (lost,) = [line for line in said if "seed-1" in line]
    assert "not trained: Expected to write to" in lost


def test_the_reason_of_a_process_that_died_is_how_it_ended_and_what_it_said_last(tmp_path: Path) -> None:
    said: list[str] = []
    run_trials([trial(method="dies")], tmp_path, ProcessBackend(1, PROGRAM), said.append)
    ended = "The process ended with signal 9, which the system sends when memory is short; it said last: the last words"
    assert said[-1].endswith(f"failed: {ended}")
    error = (read_result(trial_folder(tmp_path, trial(method="dies"))) or {})["error"]
    write(tmp_path / "board", scene_trial(), error)
    assert ended in write_scoreboard(tmp_path / "board").read_text()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (how_it_ended(3, "", 5), "The process ended with status 3; it said nothing"),
        (how_it_ended(-15, "a\nValueError: b\n", 1), "The process ended with signal 15; it said last: ValueError: b"),
        ("Traceback (most recent call last):\n  x\nValueError: a\nb", "ValueError: a"),
        ("Expected a,\nfound b.", "Expected a, found b."),
        # As earlier versions wrote it.
        ("The process ended with signal 9 and left no result; the last lines of its log:\n100% done",
         "The process ended with signal 9; it said last: 100% done"),
        ("", "nothing is known"),
    ],
)  # fmt: skip
def test_an_error_has_its_reason_in_one_line(error: str, reason: str) -> None:
    assert reason_of(error) == reason


@pytest.mark.parametrize(
    "content", [b'{"scene"', b"\xff\xfe", b"[]", b"{}"], ids=["cut off", "no text", "list", "empty"]
)
def test_a_trial_that_is_half_copied_is_named_and_the_others_are_reported(content: bytes, tmp_path: Path) -> None:
    write(tmp_path, scene_trial("a"), outcome(0.9))
    half = trial_folder(tmp_path, scene_trial("b"))
    half.mkdir()
    (half / TRIAL).write_bytes(content)
    (half / RESULT).write_bytes(content)
    text = write_scoreboard(tmp_path).read_text()
    assert rows(text)[0][0] == "a"
    assert "| b |" not in text
    assert f"Not finished, since its files cannot be read; copy it again: `{half.name}`." in text
    assert state_of(half) == "open"


def test_a_result_without_its_trial_is_a_result(tmp_path: Path) -> None:
    write(tmp_path, scene_trial(), outcome(0.9))
    (trial_folder(tmp_path, scene_trial()) / TRIAL).unlink()
    assert len(read_scoreboard(tmp_path).done) == 1
