"""Many jobs at a time, each of which waits for processes, and their clean end on a signal."""

import signal
import threading
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, Generic, NoReturn, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
_LAST_WORDS_S = 30.0


def in_threads(
    jobs: int, function: Callable[[Item], Result], items: Sequence[Item], stop: Callable[[], None]
) -> Generator[Result, None, None]:
    """Call a function for each item in threads, some at a time; gives the results in the order in which they come.

    joblib's own worker processes would stay from job to job, with all that nerfstudio keeps for the life of a process,
    and one that dies takes the others along; so its threads only wait for processes that are new.

    Args:
        jobs: Calls at a time.
        function: What is called.
        items: Its arguments.
        stop: Called when the caller stops early or has had everything; it has to end what the calls wait for. The calls
            then have some seconds to return.
    """
    from joblib import Parallel, delayed

    calls = _Calls(function)
    parallel = Parallel(jobs, prefer="threads", return_as="generator_unordered", pre_dispatch="n_jobs")
    ended: Any = parallel(delayed(calls)(item) for item in items)
    try:
        for result in ended:  # noqa: UP028 - `yield from` would have joblib wait for the jobs first
            yield result
    finally:
        stop()
        with warnings.catch_warnings():  # joblib calls the jobs that are left lost computation
            warnings.simplefilter("ignore", UserWarning)
            ended.close()
        calls.wait()


class _Calls(Generic[Item, Result]):
    """Calls of a function, which the threads of joblib would leave in the middle when this process ends."""

    def __init__(self, function: Callable[[Item], Result]) -> None:
        self._function, self._running, self._changed = function, 0, threading.Condition()

    def __call__(self, item: Item) -> Result:
        with self._changed:
            self._running += 1
        try:
            return self._function(item)
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def wait(self) -> None:
        """Wait until those that run have written down what they know, but not for ever: a disk may hang."""
        with self._changed:
            self._changed.wait_for(lambda: self._running == 0, _LAST_WORDS_S)


@contextmanager
def sigterm_as_exit() -> Iterator[None]:
    """Let SIGTERM end this process as Ctrl-C does, so that it does not leave others behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, frame: FrameType | None) -> NoReturn:
        del frame
        raise SystemExit(128 + number)

    previous = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
