"""A run is as far as its steps, or as its clock where that is ahead."""

from types import SimpleNamespace
from typing import Any

import pytest

from semantic_ns.run_clock import RunClock, schedule_step_of


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    now = SimpleNamespace(seconds=70.0)
    monkeypatch.setattr("semantic_ns.run_clock.time", SimpleNamespace(monotonic=lambda: now.seconds))
    return now


def test_without_a_limit_schedules_follow_steps(now: SimpleNamespace) -> None:
    clock = RunClock(100)
    clock.start()
    now.seconds += 1e6
    assert [clock.schedule_step(step) for step in (0, 7, 99)] == [0, 7, 99]
    assert not clock.is_over


def test_schedules_follow_whichever_is_further_of_steps_and_time(now: SimpleNamespace) -> None:
    clock = RunClock(100, max_seconds=20.0)
    clock.start()
    now.seconds += 5.0
    assert [clock.schedule_step(step) for step in (0, 25, 26, 99)] == [25, 25, 26, 99]


def test_the_end_of_the_time_is_the_end_of_the_schedules(now: SimpleNamespace) -> None:
    clock = RunClock(100, max_seconds=20.0)
    clock.start()
    now.seconds += 19.9
    assert not clock.is_over
    now.seconds += 300.0
    assert clock.is_over
    assert clock.schedule_step(3) == 100


def test_seconds_before_a_resume_count_and_those_before_the_start_do_not(now: SimpleNamespace) -> None:
    clock = RunClock(100, max_seconds=20.0, seconds_before=5.0)
    now.seconds += 1000.0
    assert clock.seconds == 5.0
    clock.start()
    now.seconds += 10.0
    assert clock.seconds == 15.0
    assert clock.schedule_step(0) == 75


def test_schedules_of_a_trainer_without_a_clock_follow_steps() -> None:
    trainer: Any = SimpleNamespace()
    assert schedule_step_of(trainer)(12) == 12
