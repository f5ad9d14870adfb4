"""Where scenes are worked on: an interface, and processes of this machine."""

import traceback
from collections.abc import Generator, Sequence
from contextlib import suppress
from functools import partial
from typing import NamedTuple, Protocol, runtime_checkable

from semantic_ns.io.writing import write_text
from semantic_ns.jobs.parallel import in_threads
from semantic_ns.jobs.processes import Processes
from semantic_ns.jobs.ray_cluster import alone
from semantic_ns.scene_batch import steps
from semantic_ns.scene_batch.scene import CommandOf, SceneTask, Told, run_scene

ERROR_LOG = "error.log"
"""File with the traceback of an error of the batch itself, in the folder of the scene."""


class SceneEnd(NamedTuple):
    """A scene whose task has ended.

    Attributes:
        task: The task.
        lost: Why it came to no end; empty where its records say all.
    """

    task: SceneTask
    lost: str = ""


@runtime_checkable
class Backend(Protocol):
    """Works on scenes somewhere; the folders of their results are reached from here."""

    @property
    def jobs(self) -> int:
        """Scenes at a time."""
        ...

    def run(self, tasks: Sequence[SceneTask], told: Told) -> Generator[SceneEnd, None, None]:
        """Do the tasks; gives each when it has ended, in any order. `told` is told of steps where that is possible."""
        ...


class LocalBackend:
    """Processes of this machine, some scenes at a time.

    Args:
        jobs: Scenes at a time.
        command_of: Gives the command of a step.
    """

    def __init__(self, jobs: int, command_of: CommandOf = steps.command_of) -> None:
        self.jobs = jobs
        self._command_of = command_of

    def run(self, tasks: Sequence[SceneTask], told: Told) -> Generator[SceneEnd, None, None]:
        """Do the tasks; when the caller stops early, the processes are asked to end and their steps stay open."""
        processes = Processes()
        one = partial(_run_one, processes=processes, told=told, command_of=self._command_of)
        return in_threads(self.jobs, one, tasks, processes.stop)


def _run_one(task: SceneTask, processes: Processes, told: Told, command_of: CommandOf) -> SceneEnd:
    """Work on a scene; whatever is wrong with it, the others go on."""
    try:
        # A machine of a cluster that was taken for lost may still work there, and has the lock.
        lost = alone(task.folder, lambda: run_scene(task, processes, told, command_of), wait_s=0.0)
    except Exception as error:  # a fault of the program, which is no reason to lose the work on other scenes
        with suppress(OSError):
            write_text(task.folder / ERROR_LOG, "".join(traceback.format_exception(error)))
        return SceneEnd(task, f"The batch failed with {type(error).__name__}: {error} ({ERROR_LOG} in its folder).")
    return SceneEnd(task, lost)
