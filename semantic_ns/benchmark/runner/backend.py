"""Where trials are trained: an interface, and processes of this machine."""

import os
import subprocess
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from semantic_ns.benchmark.runner.trials import LOG, read_result, read_trial, write_failed

_THREAD_COUNTS = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
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

    joblib's own worker processes would stay from trial to trial, with all that nerfstudio keeps for the life of a
    process, and one that dies takes the others along; so its threads only wait for processes that are new.

    Args:
        jobs: trials at a time; the machine's cores are shared among them, unless the environment says otherwise.
        arguments: what is run, as arguments of Python; the trial's folder comes last.
    """

    def __init__(self, jobs: int, arguments: Sequence[str]) -> None:
        self._jobs = jobs
        self._arguments = arguments
        self._running: set[subprocess.Popen] = set()

    def run(self, folders: Sequence[Path]) -> Iterator[Path]:
        """Train the trials; when the caller stops early, the processes are asked to end."""
        from joblib import Parallel, delayed

        parallel = Parallel(self._jobs, prefer="threads", return_as="generator_unordered", pre_dispatch="n_jobs")
        ended: Any = parallel(delayed(self._run_one)(folder) for folder in folders)
        try:
            for folder in ended:  # noqa: UP028 - `yield from` would have joblib wait for the processes first
                yield folder
        finally:
            for process in tuple(self._running):
                process.terminate()
            with warnings.catch_warnings():  # joblib calls the trials that are left lost computation
                warnings.simplefilter("ignore", UserWarning)
                ended.close()

    def _run_one(self, folder: Path) -> Path:
        command = [sys.executable, *self._arguments, str(folder)]
        with (folder / LOG).open("wb") as log:
            process = subprocess.Popen(
                command, env=thread_counts(self._jobs) | os.environ, stdout=log, stderr=subprocess.STDOUT
            )
            self._running.add(process)
            status = process.wait()
            self._running.discard(process)
        if status not in _INTERRUPTED and read_result(folder) is None:
            write_failed(folder, read_trial(folder), _how_it_ended(status, folder / LOG))
        return folder


def thread_counts(jobs: int) -> dict[str, str]:
    """The environment that gives each of some processes its share of the cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return dict.fromkeys(_THREAD_COUNTS, str(max(1, cores // jobs)))


def _how_it_ended(status: int, log: Path) -> str:
    how = f"signal {-status}" if status < 0 else f"status {status}"
    lines = log.read_text("utf8", errors="replace").splitlines()[-_NUM_LOG_LINES:]
    return "\n".join([f"The process ended with {how} and left no result; the last lines of its log:", *lines])
