"""Scenes on a Ray cluster: one task of Ray for each."""

from collections.abc import Generator, Sequence
from contextlib import closing

from semantic_ns.jobs.processes import Processes
from semantic_ns.jobs.ray_cluster import RayCluster, alone
from semantic_ns.scene_batch.backend import SceneEnd
from semantic_ns.scene_batch.scene import SceneTask, Told, run_scene


class RayBackend:
    """Works on scenes on a Ray cluster.

    Args:
        cluster: The cluster, with what a scene needs.
    """

    def __init__(self, cluster: RayCluster) -> None:
        self._cluster, self.jobs = cluster, cluster.jobs

    def run(self, tasks: Sequence[SceneTask], told: Told) -> Generator[SceneEnd, None, None]:
        """Do the tasks; when the caller stops early, Ray ends what runs, and its steps stay open."""
        del told  # the machines write records, which are read when a scene has ended
        ended = self._cluster.run(work_on, {task.name: task for task in tasks})
        with closing(ended):
            for task, lost in ended:
                yield SceneEnd(task, lost)


def work_on(task: SceneTask) -> str:
    """Work on a scene where Ray has placed it; returns why it came to no end, or nothing."""
    return alone(task.folder, lambda: run_scene(task, Processes()))
