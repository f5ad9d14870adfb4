"""Many jobs at a time, each of which waits for processes, and their clean end on a signal."""

import signal
import threading
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


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
        stop: Called when the caller stops early or has had everything; it has to end what the calls wait for.
    """
    from joblib import Parallel, delayed

    parallel = Parallel(jobs, prefer="threads", return_as="generator_unordered", pre_dispatch="n_jobs")
    ended: Any = parallel(delayed(function)(item) for item in items)
    try:
        for result in ended:  # noqa: UP028 - `yield from` would have joblib wait for the jobs first
            yield result
    finally:
        stop()
        with warnings.catch_warnings():  # joblib calls the jobs that are left lost computation
            warnings.simplefilter("ignore", UserWarning)
            ended.close()


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
