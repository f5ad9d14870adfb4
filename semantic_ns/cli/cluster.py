"""Options of commands that can give their work to a Ray cluster."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from semantic_ns.errors import SceneError

if TYPE_CHECKING:
    from semantic_ns.jobs.ray_cluster import RayCluster


@dataclass
class ClusterOptions:
    """Where the work is done."""

    cluster: Literal["none", "ray"] = "none"
    """Where the work is done: on this machine, or on a Ray cluster whose machines all see the scenes and the results
    under the same paths."""
    address: str = "auto"
    """Address of the Ray cluster, such as ray://head:10001; auto: the one that runs here; local: one of this machine
    alone, for the time of the call."""
    cpus: float = 1.0
    """Cores of each scene or training (Ray)."""
    gpus: float = 0.0
    """GPUs of each scene or training, or a share of one (Ray)."""
    memory: float | None = None
    """Memory of each scene or training in GiB, by which Ray places it (Ray)."""
    lost_node_retries: int = 3
    """Number of times that a scene or training is started again elsewhere when its machine is lost (Ray)."""

    def check(self, jobs: int) -> None:
        """Check these options.

        Args:
            jobs: The value of `--jobs`, which is for this machine.

        Raises:
            SceneError: one of them is below what is possible, or the number of jobs is given for a cluster.
        """
        for name, value in (("--lost-node-retries", self.lost_node_retries), ("--gpus", self.gpus)):
            if not value >= 0:
                raise SceneError(f"Expected {name} of at least 0, found {value}; raise it.")
        for name, value in (("--cpus", self.cpus), ("--memory", self.memory)):
            if value is not None and not value > 0:
                raise SceneError(f"Expected {name} above 0, found {value}; raise it.")
        if self.cluster == "ray" and jobs != 1:
            raise SceneError(
                "Expected the number of jobs at a time to follow from --cpus, --gpus and --memory with --cluster ray, "
                f"found --jobs {jobs}; leave it out."
            )

    def connect(self) -> "RayCluster":
        """Connect to the cluster.

        Raises:
            SceneError: there is none, or none of its machines has what is needed.
        """
        from semantic_ns.jobs.ray_cluster import RayCluster, Resources

        memory = None if self.memory is None else round(self.memory * 2**30)
        return RayCluster(self.address, Resources(self.cpus, self.gpus, memory), self.lost_node_retries)
