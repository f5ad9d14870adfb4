"""Trials on a Ray cluster: one task of Ray for each."""

import os
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

from semantic_ns.benchmark.runner.backend import TrialEnd, lost_trial, run_trial_process
from semantic_ns.benchmark.runner.trials import read_result, state_of
from semantic_ns.jobs.processes import Processes, with_threads
from semantic_ns.jobs.ray_cluster import RayCluster, alone, interruptible


class TrialTask(NamedTuple):
    """What a machine is told of a trial.

    Attributes:
        folder: its folder, an absolute path.
        arguments: what is run, as arguments of Python; the folder comes last.
        threads: number of threads.
        started_in: the folder in which the benchmark was started, to which paths of scenes may be relative.
    """

    folder: Path
    arguments: tuple[str, ...]
    threads: int
    started_in: Path


class RayBackend:
    """Trains trials on a Ray cluster.

    Args:
        cluster: the cluster, with what a trial needs.
        arguments: what is run, as arguments of Python; the trial's folder comes last.
        threads: number of threads of a trial.
    """

    def __init__(self, cluster: RayCluster, arguments: Sequence[str], threads: int) -> None:
        self._cluster, self._arguments, self._threads = cluster, tuple(arguments), threads

    def run(self, folders: Sequence[Path]) -> Iterator[TrialEnd]:
        """Train the trials; when the caller stops early, Ray ends what runs, and their folders have no result."""
        tasks = {
            folder.name: TrialTask(folder.absolute(), self._arguments, self._threads, Path.cwd()) for folder in folders
        }
        with closing(self._cluster.run(train_on, tasks)) as ended:
            for task, lost in ended:
                is_lost = lost and read_result(task.folder) is None
                yield lost_trial(task.folder, lost) if is_lost else TrialEnd(task.folder)


def train_on(task: TrialTask) -> str:
    """Train a trial where Ray has placed it; returns why it came to no end, or nothing.

    A machine that Ray took for lost may have ended it meanwhile.
    """
    processes = Processes()

    def train() -> None:
        if state_of(task.folder) != "done":
            with suppress(OSError):  # which this machine need not have, unless options hold relative paths
                os.chdir(task.started_in)
            run_trial_process(task.folder, task.arguments, processes, with_threads(task.threads))

    return alone(task.folder, lambda: interruptible(train, processes.stop))
