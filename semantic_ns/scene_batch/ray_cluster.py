"""Scenes on a Ray cluster: one task of Ray for each."""

import json
import os
from collections.abc import Generator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

from semantic_ns.errors import SceneError
from semantic_ns.io.writing import write_json
from semantic_ns.jobs.processes import Processes
from semantic_ns.jobs.ray_cluster import RayCluster, alone, interruptible
from semantic_ns.scene_batch.backend import SceneEnd
from semantic_ns.scene_batch.records import FOLDER
from semantic_ns.scene_batch.scene import SceneTask, Told, run_scene

_STARTS = "starts.json"


class PlacedScene(NamedTuple):
    """What a machine is told of a scene.

    Attributes:
        task: What is done.
        started_in: The folder in which the batch was started, to which paths among the options may be relative.
        call: A name of this call of the batch, which no other has.
        retries: How often the scene is started again when its machine is lost.
    """

    task: SceneTask
    started_in: Path
    call: str
    retries: int


class RayBackend:
    """Works on scenes on a Ray cluster.

    Args:
        cluster: The cluster, with what a scene needs.
    """

    def __init__(self, cluster: RayCluster) -> None:
        self._cluster, self.jobs = cluster, cluster.jobs

    def run(self, tasks: Sequence[SceneTask], told: Told) -> Generator[SceneEnd, None, None]:
        """Do the tasks; when the caller stops early, what runs is asked to end, and its steps stay open."""
        del told  # the machines write records, which are read when a scene has ended
        started_in, call, retries = Path.cwd(), uuid4().hex, self._cluster.retries
        placed = {task.name: PlacedScene(task, started_in, call, retries) for task in tasks}
        with closing(self._cluster.run(work_on, placed)) as ended:
            for scene, lost in ended:
                yield SceneEnd(scene.task, lost)


def work_on(scene: PlacedScene) -> str:
    """Work on a scene where Ray has placed it; returns why it came to no end, or nothing."""

    def work() -> None:
        _count_start(scene)
        with suppress(OSError):  # which this machine need not have, unless options hold relative paths
            os.chdir(scene.started_in)
        processes = Processes()
        interruptible(lambda: run_scene(scene.task, processes), processes.stop)
        (scene.task.folder / FOLDER / _STARTS).unlink(missing_ok=True)

    return alone(scene.task.folder, work)


def _count_start(scene: PlacedScene) -> None:
    """Count the starts of a scene in a call of the batch.

    Ray itself counts the machines that it loses, but starts a task again for ever that it has ended for its memory.

    Raises:
        SceneError: it was started as often as it may be.
    """
    path, starts = scene.task.folder / FOLDER / _STARTS, 0
    with suppress(OSError, ValueError, TypeError, KeyError):
        content = json.loads(path.read_text("utf8"))
        starts = int(content["starts"]) if content["call"] == scene.call else 0
    if starts > scene.retries:
        raise SceneError(
            f"It was started {starts} times, and each time Ray has ended it, as it does where memory is short, or lost "
            "its machine; give it more by --memory, or have it ended with a reason by --memory-limit."
        )
    write_json(path, {"call": scene.call, "starts": starts + 1})
