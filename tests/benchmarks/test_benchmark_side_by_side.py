"""The benchmark of trainings side by side counts the time in which all of them train."""

import pytest

from benchmarks.side_by_side import ARMS, common_milliseconds, plain_environment, summary


def test_steps_count_from_the_last_start_to_the_first_end() -> None:
    fast = [(10 + 0.1 * step, 0.2 * step) for step in range(100)]
    slow = [(12 + 0.4 * step, 0.3 * step) for step in range(100)]
    # Alone, at the start or after the other has ended, the fast one would take another time.
    fast = [(-5.0, 0.0), (0.0, 1.0), *fast[:50], *((moment + 90, used + 70) for moment, used in fast[50:])]
    slow = [(moment, used) for moment, used in slow if moment <= 14.8]
    (fast_clock, fast_processor), (slow_clock, slow_processor) = common_milliseconds([fast, slow], 1)
    assert (fast_clock, fast_processor) == pytest.approx((100, 200))
    assert (slow_clock, slow_processor) == pytest.approx((400, 300))


def test_trainings_that_never_met_have_no_figure() -> None:
    first = [(float(step), 0.0) for step in range(10)]
    with pytest.raises(SystemExit, match="raise --max-num-iterations"):
        common_milliseconds([first, [(moment + 20, 0.0) for moment, _ in first]], 2)


def test_a_ratio_is_taken_within_a_round() -> None:
    found = summary([(50.0, 90.0), (100.0, 90.0), (10.0, 90.0)], [(100.0, 99.0), (100.0, 99.0), (50.0, 99.0)])
    assert found["clock"]["ratio"] == pytest.approx(2)
    assert found["clock"]["rounds"]["ratio"] == pytest.approx([2, 1, 5])
    assert found["processor"]["ratio"] == pytest.approx(1.1)


def test_nothing_says_how_threads_run_as_shipped(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "NUMBA_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("NUMBA_CPU_NAME", "haswell")
    environment = plain_environment() | ARMS["as shipped"]
    assert not [name for name in environment if "OMP_" in name or "THREADS" in name]
    assert environment["NUMBA_CPU_NAME"] == "haswell"
