"""Many jobs at a time, each of which waits for processes, and their clean end on a signal."""

import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from types import FrameType
from typing import NoReturn, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
_LAST_WORDS_S = 30.0


def in_threads(
    jobs: int, function: Callable[[Item], Result], items: Sequence[Item], stop: Callable[[], None]
) -> Generator[Result, None, None]:
    """Call a function for each item in threads, some at a time; gives the results in the order in which they come.

    The thread of the caller only waits, also for a single job, so that a signal, which arrives there, finds the calls
    in others, which can still write down how their processes have ended.

    Args:
        jobs: Calls at a time.
        function: What is called.
        items: Its arguments.
        stop: Called when the caller stops early or has had everything; it has to end what the calls wait for. The calls
            then have some seconds to return.

    Raises:
        BaseException: whatever a call raises; the others are stopped then.
    """
    left, ended = deque(items), SimpleQueue[Callable[[], Result]]()

    def work() -> None:
        with suppress(IndexError):
            while True:
                ended.put(_called(function, left.popleft()))

    # Of no use after the end of this process: a disk that hangs must not keep it.
    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(jobs, len(left)))]
    try:
        for thread in threads:
            thread.start()
        for _ in items:
            yield ended.get()()
    finally:
        left.clear()
        stop()
        end = time.monotonic() + _LAST_WORDS_S
        for thread in threads:
            if thread.ident is not None:
                thread.join(max(0.0, end - time.monotonic()))


def _called(function: Callable[[Item], Result], item: Item) -> Callable[[], Result]:
    """Call a function; what comes back gives its result or raises what it has raised."""
    try:
        result = function(item)
    # Whatever it is, the caller waits for it.
    except BaseException as error:
        raised = error

        def fail() -> NoReturn:
            raise raised

        return fail
    return lambda: result


@contextmanager
def sigterm_as_exit() -> Iterator[None]:
    """Let SIGTERM end this process as Ctrl-C does, so that it does not leave others behind; and SIGHUP, too.

    SIGHUP comes when a terminal closes or a connection breaks. Where it is ignored, as by nohup, it stays so. Further
    ones change nothing until all has ended: shells send SIGHUP twice, and schedulers SIGTERM after it. Ctrl-C still
    hastens the end.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, frame: FrameType | None) -> NoReturn:
        del frame
        for each in heard:
            signal.signal(each, signal.SIG_IGN)
        raise SystemExit(128 + number)

    heard = {signal.SIGTERM}
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # Windows has none
        heard.add(signal.SIGHUP)
    previous = {number: signal.signal(number, leave) for number in heard}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
