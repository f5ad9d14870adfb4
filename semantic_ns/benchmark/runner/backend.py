"""Where trials are trained: an interface, and processes of this machine."""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from semantic_ns.benchmark.runner.trials import LOG, read_result, read_trial, write_failed
from semantic_ns.jobs.parallel import in_threads
from semantic_ns.jobs.processes import Processes, thread_counts

_INTERRUPTED = (130, 143, -2, -15)
"""Exit statuses of a process that was asked to end (SIGINT, SIGTERM), which is no failure of its trial."""
_NUM_LOG_LINES = 20


@runtime_checkable
class Backend(Protocol):
    """Trains trials somewhere.

    A trial is a folder with `cell.json`. When it ends, its folder holds `result.json`; without one it was interrupted.
    """

    def run(self, folders: Sequence[Path]) -> Iterator[Path]:
        """Train the trials in these folders; gives each folder when its trial has ended, in any order."""
        ...


class ProcessBackend:
    """A process of its own for each trial, some at a time.

    Args:
        jobs: trials at a time; the machine's cores are shared among them, unless the environment says otherwise.
        arguments: what is run, as arguments of Python; the trial's folder comes last.
    """

    def __init__(self, jobs: int, arguments: Sequence[str]) -> None:
        self._jobs = jobs
        self._arguments = arguments
        self._processes = Processes()

    def run(self, folders: Sequence[Path]) -> Iterator[Path]:
        """Train the trials; when the caller stops early, the processes are asked to end."""
        self._processes = Processes()
        return in_threads(self._jobs, self._run_one, folders, self._processes.stop)

    def _run_one(self, folder: Path) -> Path:
        run_trial_process(folder, self._arguments, self._processes, thread_counts(self._jobs))
        return folder


def run_trial_process(
    folder: Path, arguments: Sequence[str], processes: Processes, environment: Mapping[str, str]
) -> None:
    """Train a trial in a process of its own, and say in its result if that ended without one.

    Args:
        folder: its folder.
        arguments: what is run, as arguments of Python; the folder comes last.
        processes: what runs it.
        environment: variables of its environment, unless this process has them already.
    """
    log = folder / LOG
    log.unlink(missing_ok=True)
    ending = processes.run([sys.executable, *arguments, str(folder)], log, environment={**environment, **os.environ})
    if ending.status not in _INTERRUPTED and ending.cause != "stopped" and read_result(folder) is None:
        write_failed(folder, read_trial(folder), _how_it_ended(ending.status, log))


def _how_it_ended(status: int, log: Path) -> str:
    how = f"signal {-status}" if status < 0 else f"status {status}"
    lines = log.read_text("utf8", errors="replace").splitlines()[-_NUM_LOG_LINES:]
    return "\n".join([f"The process ended with {how} and left no result; the last lines of its log:", *lines])
