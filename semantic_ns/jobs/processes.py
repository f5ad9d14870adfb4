"""Processes with a log and with limits, which can all be stopped at once and do not outlive this one."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from semantic_ns.jobs import limited_log, tied
from semantic_ns.jobs.limited_log import LimitedLog

_THREAD_COUNTS = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_LOOK_S = 0.1
GRACE_S = 30.0
"""Seconds after SIGTERM until SIGKILL: a training writes its checkpoint meanwhile."""
_LAST_WORDS_S = 10.0
"""Seconds after the end of a process in which its last words are waited for; they are in a pipe, and come at once."""

Cause = Literal["itself", "time", "memory", "stopped"]


@dataclass(frozen=True)
class Limits:
    """What a process may use.

    Attributes:
        seconds: Seconds until it is asked to end; None for no limit.
        memory_bytes: Resident memory of the process and its children, above which they are killed; None for no limit.
        grace_s: Seconds after it is asked to end until it is killed.
        log_bytes: Size of its log, of which the middle is left out where it would be larger.
    """

    seconds: float | None = None
    memory_bytes: int | None = None
    grace_s: float = GRACE_S
    log_bytes: int = limited_log.MOST_BYTES


@dataclass(frozen=True)
class Ending:
    """How a process ended.

    Attributes:
        status: Its exit status, or minus the number of the signal that ended it.
        seconds: Seconds that it ran; 0 for one that was not started, because all were stopped before.
        peak_bytes: Largest resident memory.
        cause: Why it ended: by itself (or a stranger's signal), at a limit, or because all were stopped.
        log_start: Where in its log what it has written begins.
    """

    status: int
    seconds: float
    peak_bytes: int
    cause: Cause
    log_start: int = 0


class Processes:
    """Runs processes, each in the thread that asks for it, until they are stopped."""

    def __init__(self) -> None:
        self._running: dict[subprocess.Popen[bytes], Cause] = {}
        self._reaped: dict[subprocess.Popen[bytes], tuple[int, Any]] = {}
        self._changed = threading.Condition()
        self._is_stopped = False

    @property
    def running(self) -> tuple[subprocess.Popen[bytes], ...]:
        """The processes that have not ended."""
        with self._changed:
            return tuple(self._running)

    def run(
        self,
        command: Sequence[str],
        log: Path,
        limits: Limits | None = None,
        environment: Mapping[str, str] = os.environ,
        told: Callable[[float], None] = lambda _seconds: None,
    ) -> Ending:
        """Run a command and wait for its end. What it leaves behind in its session is killed.

        Where the wait itself is interrupted, as by Ctrl-C, the command is asked to end first.

        Args:
            command: Program and arguments.
            log: File to which its output and errors are appended, see `LimitedLog`.
            limits: What it may use; nothing is limited by default.
            environment: Its environment.
            told: Told the seconds that it has run, some ten times a second while it runs.
        """
        limits = limits or Limits()
        started = time.monotonic()
        with self._changed:
            if self._is_stopped:
                return Ending(-signal.SIGTERM, 0.0, 0, "stopped")
            written, words = LimitedLog(log, limits.log_bytes), os.pipe()
            copying = limited_log.follow(words[0], written)
            try:
                process = subprocess.Popen(
                    [sys.executable, "-S", tied.__file__, str(os.getpid()), *command],
                    env=dict(environment), stdin=subprocess.DEVNULL, stdout=words[1], stderr=subprocess.STDOUT,
                    start_new_session=True,
                )  # fmt: skip
            finally:
                os.close(words[1])
            self._running[process] = "itself"
        peak = 0
        try:
            peak = self._watch(process, limits, started, told)
        except BaseException:
            self._wait_for_end(process, limits.grace_s)
            raise
        finally:
            ending = self._end(process, started, peak)  # whatever happens, `stop` does not wait for it any longer
            copying.join(_LAST_WORDS_S)
            written.end()  # something that has left its session may have the pipe, and the log is the next attempt's
        return replace(ending, log_start=written.start)

    def stop(self, grace_s: float = GRACE_S) -> None:
        """Ask all processes to end, kill those that do not, and start no others."""
        with self._changed:
            self._is_stopped = True
            for process in self._running:
                self._ask_to_end(process, "stopped")
            if not self._changed.wait_for(lambda: not self._running, grace_s):
                for process in self._running:
                    if process not in self._reaped:
                        _kill(process)
                self._changed.wait_for(lambda: not self._running, grace_s)

    def _watch(
        self, process: subprocess.Popen[bytes], limits: Limits, started: float, told: Callable[[float], None]
    ) -> int:
        """Wait until the process has ended; its largest memory in bytes."""
        peak, asked = 0, None
        while not self._has_ended(process):
            peak = max(peak, resident_bytes(process.pid))
            now = time.monotonic()
            if limits.memory_bytes is not None and peak > limits.memory_bytes:
                self._mark(process, "memory")
                _kill(process)
            elif asked is None and limits.seconds is not None and now - started > limits.seconds:
                asked = now
                with self._changed:
                    self._ask_to_end(process, "time")
            elif asked is not None and now - asked > limits.grace_s:
                _kill(process)
            told(now - started)
            time.sleep(_LOOK_S)
        return peak

    def _wait_for_end(self, process: subprocess.Popen[bytes], grace_s: float) -> None:
        """Ask a process to end, and wait for it as long as it may take."""
        with self._changed:
            self._ask_to_end(process, "stopped")
        end = time.monotonic() + grace_s
        while not self._has_ended(process) and time.monotonic() < end:
            time.sleep(_LOOK_S)

    def _has_ended(self, process: subprocess.Popen[bytes]) -> bool:
        """Whether the process has ended, which stays to be reaped where the system has a call that only looks.

        Elsewhere (macOS with a Python before 3.13) it is reaped by looking. Its number is then another's only if its
        session has no process left, and within the moment until `_end`.
        """
        if hasattr(os, "waitid"):
            return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None
        with self._changed:
            number, status, usage = os.wait4(process.pid, os.WNOHANG)
            if number:
                self._reaped[process] = (status, usage)
            return number != 0

    def _end(self, process: subprocess.Popen[bytes], started: float, peak: int) -> Ending:
        with self._changed:
            _kill(process)  # what it has left in its session; until it is reaped, the number is no other's
            status, usage = self._reaped.pop(process, None) or os.wait4(process.pid, 0)[1:]
            process.returncode = os.waitstatus_to_exitcode(status)
            cause = self._running.pop(process)
            self._changed.notify_all()
        unit = 1 if sys.platform == "darwin" else 1024
        return Ending(process.returncode, time.monotonic() - started, max(peak, usage.ru_maxrss * unit), cause)

    def _mark(self, process: subprocess.Popen[bytes], cause: Cause) -> None:
        if self._running[process] == "itself":
            self._running[process] = cause

    def _ask_to_end(self, process: subprocess.Popen[bytes], cause: Cause) -> None:
        is_asked = self._running[process] != "itself"
        self._mark(process, cause)
        if is_asked or process in self._reaped:  # a training takes a second request for one to end at once
            return
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGTERM)


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def resident_bytes(process: int) -> int:
    """Resident memory of a process and its children now; 0 where the system has no /proc."""
    total = 0
    waiting = [str(process)]
    while waiting:
        folder = Path("/proc", waiting.pop())
        with suppress(OSError, ValueError, IndexError):
            total += int((folder / "statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
            for children in folder.glob("task/*/children"):
                waiting += children.read_text("ascii").split()
    return total


def can_limit_memory() -> bool:
    """Whether this system tells how much memory a process has."""
    return resident_bytes(os.getpid()) > 0


def num_cores() -> int:
    """Number of the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def thread_counts(jobs: int) -> dict[str, str]:
    """The environment that gives each of some processes its share of the cores."""
    return with_threads(max(1, num_cores() // jobs))


def with_threads(count: int) -> dict[str, str]:
    """The environment that gives a process a number of threads."""
    return dict.fromkeys(_THREAD_COUNTS, str(count))
