"""Where trials are trained: an interface, and processes of this machine."""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from semantic_ns.benchmark.runner.reasons import how_it_ended
from semantic_ns.benchmark.runner.trials import LOG, read_result, read_trial, read_trial_or_none, write_failed
from semantic_ns.jobs.parallel import in_threads
from semantic_ns.jobs.processes import Processes, thread_counts

_INTERRUPTED = (130, 143, -2, -15)
"""Exit statuses of a process that was asked to end (SIGINT, SIGTERM), which is no failure of its trial."""
_NUM_LOG_LINES = 20


class TrialEnd(NamedTuple):
    """A trial that has ended.

    Attributes:
        folder: its folder.
        lost: why it came to no end; empty where its result says all, or where it was interrupted.
    """

    folder: Path
    lost: str = ""


@runtime_checkable
class Backend(Protocol):
    """Trains trials somewhere.

    A trial is a folder with `cell.json`. When it ends, its folder holds `result.json`; without one it was interrupted.
    """

    def run(self, folders: Sequence[Path]) -> Iterator[TrialEnd]:
        """Train the trials in these folders; gives each trial when it has ended, in any order."""
        ...


def lost_trial(folder: Path, reason: str) -> TrialEnd:
    """A trial that came to no end, with the reason in its result, too, if its folder can be written."""
    with suppress(OSError):
        if (trial := read_trial_or_none(folder)) is not None and read_result(folder) is None:
            write_failed(folder, trial, reason)
    return TrialEnd(folder, reason)


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

    def run(self, folders: Sequence[Path]) -> Iterator[TrialEnd]:
        """Train the trials; when the caller stops early, the processes are asked to end."""
        self._processes = Processes()
        return in_threads(self._jobs, self._run_one, folders, self._processes.stop)

    def _run_one(self, folder: Path) -> TrialEnd:
        try:
            run_trial_process(folder, self._arguments, self._processes, thread_counts(self._jobs))
        # Such as a full disk, or a folder without rights: the others may lie elsewhere.
        except Exception as error:
            return lost_trial(
                folder, f"It cannot be run, or its result not be written: {type(error).__name__}: {error}."
            )
        return TrialEnd(folder)


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
        said = log.read_text("utf8", errors="replace")
        write_failed(folder, read_trial(folder), how_it_ended(ending.status, said, _NUM_LOG_LINES))
