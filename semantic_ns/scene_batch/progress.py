"""How long a batch still takes, from what its steps have taken so far; what it does now and then."""

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from time import monotonic

from semantic_ns.scene_batch.records import Record
from semantic_ns.scene_batch.steps import Step

_LEAST_S = 60.0
_TIMES = 20.0
"""What is done now and then is not done again for so many times the seconds that it took."""


def seconds_left(ended: Iterable[Record], open_steps: Mapping[Step, int], jobs: int) -> float | None:
    """Seconds until the end: for each kind of step the mean of those that ended times the number of those left.

    Args:
        ended: Records of steps that have ended, of this call and of earlier ones.
        open_steps: How many steps of each kind are left.
        jobs: Scenes at a time.

    Returns:
        Seconds; None while a kind that is left has not been seen.
    """
    seconds: dict[Step, list[float]] = defaultdict(list)
    for record in ended:
        if record.attempts:
            seconds[record.step].append(record.seconds)
    total = 0.0
    for step, count in open_steps.items():
        if count and step not in seconds:
            return None
        total += count * statistics.fmean(seconds[step]) if count else 0.0
    return total / jobs


def as_clock(seconds: float | None) -> str:
    """Such as 1:02:03, or 2:03; -:-- for what is not known."""
    if seconds is None:
        return "-:--"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Seldom:
    """Does something that takes time now and then, so that it takes a small share of the time.

    Args:
        work: What is done.
        clock: Gives the seconds.
    """

    def __init__(self, work: Callable[[], object], clock: Callable[[], float] = monotonic) -> None:
        self._work, self._clock = work, clock
        self._next = clock() + _LEAST_S

    def __call__(self) -> None:
        """Do it, unless that was a short time ago."""
        started = self._clock()
        if started < self._next:
            return
        self._work()
        ended = self._clock()
        self._next = ended + max(_LEAST_S, _TIMES * (ended - started))
