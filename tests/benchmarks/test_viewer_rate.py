"""The path of a visitor of the viewer, and what the parts of a picture are counted to."""

import time
from itertools import count

import numpy as np
import pytest

from benchmarks.viewer_client import at_pose
from benchmarks.viewer_rate import Clock, shown

POSITIONS = np.array([[0.0, 0.0, 0.0], [2.0, 0.0, 0.0], [2.0, 4.0, 0.0]])
TURNS = np.array([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]])


@pytest.mark.parametrize("pose", [0, 1, 2, 3, 4])
def test_the_path_is_closed_and_passes_the_poses(pose: int) -> None:
    position, turn = at_pose(POSITIONS, TURNS, float(pose))
    np.testing.assert_allclose(position, POSITIONS[pose % 3])
    np.testing.assert_allclose(turn, TURNS[pose % 3])


def test_between_two_poses_it_turns_the_short_way_whatever_the_signs_of_quaternions() -> None:
    position, turn = at_pose(POSITIONS, TURNS, 0.5)
    np.testing.assert_allclose(position, [1.0, 0.0, 0.0])
    np.testing.assert_allclose(turn, [2**-0.5, 2**-0.5, 0.0, 0.0])
    near = np.array([[1.0, 0.0, 0.0, 0.0], [-1.0, 1e-9, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]])
    np.testing.assert_allclose(at_pose(POSITIONS, near, 0.5)[1], [1.0, 0.0, 0.0, 0.0], atol=1e-8)


def test_the_time_of_inner_calls_is_not_that_of_outer_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = count()
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(ticks)))
    clock = Clock()
    inner = clock.timed(lambda: None, "inner")

    def work() -> str:
        inner()
        inner()
        return "done"

    assert clock.timed(work, "outer")() == "done"
    # Six looks at the clock: the outer call lasts five seconds, each inner one lasts one.
    assert dict(clock.seconds) == {"inner": 2.0, "outer": 3.0}


def test_the_middle_visit_is_shown_beside_the_best() -> None:
    visits = [
        {"pictures_per_s": rate, "median_interval_ms": 1000 / rate, "longest_interval_ms": 200.0,
         "widths": [100, int(20 * rate), 512], "parts_ms": {"drawing": 900 / rate, "JPEG": 1.0}}
        for rate in (10.0, 25.0, 20.0)
    ]  # fmt: skip
    lines = shown("rgb", visits).split("\n")
    assert lines[0] == (
        "rgb: 20.0 pictures a second (best of 3: 25.0), median interval 50 ms, longest 200 ms, 400 pixels wide "
        "(100 to 512)"
    )
    assert [line.split() for line in lines[1:]] == [
        ["45.0", "ms", "a", "picture:", "drawing"],
        ["1.0", "ms", "a", "picture:", "JPEG"],
    ]
