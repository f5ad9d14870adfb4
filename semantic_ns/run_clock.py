"""How far a run is: by its steps, or by the clock where that is ahead, since a run may be bounded by seconds."""

import math
import time
from collections.abc import Callable
from typing import Any

from semantic_ns.errors import SceneError


class RunClock:
    """The seconds and steps of a run, those before a resume included.

    Args:
        num_steps: The number of steps after which the run ends.
        max_seconds: The seconds after which it ends, or None if only steps count.
        seconds_before: Seconds of training before a resume.
    """

    def __init__(self, num_steps: int, max_seconds: float | None = None, seconds_before: float = 0.0) -> None:
        self._num_steps, self._limit, self._before = num_steps, max_seconds, seconds_before
        self._start: float | None = None  # of the training in this process, on the monotonic clock

    def start(self) -> None:
        """Training begins."""
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds of training so far."""
        return self._before + (0.0 if self._start is None else time.monotonic() - self._start)

    @property
    def is_over(self) -> bool:
        """Whether the seconds of the run are over."""
        return self._limit is not None and self.seconds >= self._limit

    def schedule_step(self, step: int) -> int:
        """The step at which schedules are in this step: farther where the clock is ahead, so that they end with it."""
        if self._limit is None:
            return step
        return max(step, round(min(1.0, self.seconds / self._limit) * self._num_steps))


def schedule_step_of(trainer: Any) -> Callable[[int], int]:
    """`RunClock.schedule_step` of a trainer; nerfstudio's own trainer has no clock, and its schedules follow steps."""
    clock = getattr(trainer, "clock", None)
    return (lambda step: step) if clock is None else clock.schedule_step


def check_max_seconds(seconds: float | None, world_size: int) -> None:
    """Refuse a bound on the time of training that cannot be kept.

    Raises:
        SceneError: it is no positive number, or there are several processes, which would end after different steps.
    """
    if seconds is None:
        return
    if not 0 < seconds < math.inf:
        raise SceneError(f"Expected some seconds for --max-seconds, found {seconds:g}; leave it out for no limit.")
    if world_size > 1:
        raise SceneError(
            f"Expected one process for --max-seconds, found {world_size}, whose clocks would stop them at different "
            "steps; limit the run by --max-num-iterations."
        )
