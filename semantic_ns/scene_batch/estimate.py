"""What many scenes cost on many machines, from what a few have cost, and what is full first. Arithmetic alone.

Work that is spread over machines takes less time with more of them; a part that all machines share does not. By the
bounds of operational analysis (P. J. Denning and J. P. Buzen, The operational analysis of queueing network models, ACM
Computing Surveys 10, 1978) no more scenes end in a second than each part can serve, which is its capacity over what a
scene asks of it. The part with the smallest such bound is the bottleneck, and it is reached with as many machines as
would otherwise do that many scenes in a second.
"""

import math
from dataclasses import dataclass

from semantic_ns.errors import SceneError
from semantic_ns.scene_batch.index_page import SCENES_PER_PAGE
from semantic_ns.scene_batch.measured import Measured
from semantic_ns.scene_batch.node_losses import Machines, Piece, expected_seconds, pieces_of, share_given_up
from semantic_ns.scene_batch.scene import NOTE_S

GIB = 2**30
HOUR_S = 3600.0
DRIVER = "sns-batch itself"
_MOST_WAITING = 1000
"""Scenes that wait at Ray at least, see `ray_cluster`."""
_OBJECT_STORE_SHARE = 0.3
"""Share of the memory of a machine that Ray takes for its object store by default."""
_Z95 = 1.959964


@dataclass(frozen=True)
class Cluster:
    """Machines and how scenes are placed on them.

    Attributes:
        nodes: Number of machines.
        cores_per_node: Cores of each.
        memory_per_node_gib: Memory of each, GiB.
        cpus: Cores that a scene holds, on these machines and on those where it was measured.
        losses_per_node_hour: How often a machine is lost in an hour.
        replacement_seconds: Seconds after which another one is in its place.
        checkpoint_seconds: Seconds between two checkpoints of a training; None for one at its end alone.
        restart_seconds: Seconds that a training takes until it goes on from a checkpoint.
        retries: How often a scene is started again when its machine is lost.
        price_per_core_hour: Price of a core for an hour; None where it is not known.
    """

    nodes: int = 10
    cores_per_node: float = 16.0
    memory_per_node_gib: float = 64.0
    cpus: float = 1.0
    losses_per_node_hour: float = 0.001
    replacement_seconds: float = 300.0
    checkpoint_seconds: float | None = None
    restart_seconds: float = 15.0
    retries: int = 3
    price_per_core_hour: float | None = None


@dataclass(frozen=True)
class Capacities:
    """What the parts that all machines share can do in a second.

    Attributes:
        tasks: Tasks that the scheduler starts.
        files: Files and folders that the file system makes.
        bytes: Bytes that the file system reads and writes.
        reads: Small files that one process reads one after the other.
    """

    tasks: float
    files: float
    bytes: float
    reads: float


@dataclass(frozen=True)
class Part:
    """Something that all machines share.

    Attributes:
        name: Its name.
        unit: Unit of what it does.
        per_scene: What a scene asks of it.
        load: What the given machines ask of it in a second, as long as nothing else slows them.
        capacity: What it can do in a second.
        nodes: Number of machines whose load is its capacity.
    """

    name: str
    unit: str
    per_scene: float
    load: float
    capacity: float
    nodes: float


@dataclass(frozen=True)
class Estimate:
    """What a number of scenes costs.

    Attributes:
        num_scenes: Number of scenes.
        wall_seconds: Seconds from the start to the last result: at most so many where the machines decide, at least
            where a part does.
        limit: What decides it: `the machines`, or the name of a part.
        core_hours: Core-hours that scenes hold.
        machine_core_hours: Core-hours of all machines from start to end, which are paid.
        price: Price of these; None where that of a core-hour is not known.
        redone_core_hours: Core-hours of scenes that losses of machines undo, and of restarts after them.
        num_losses: Scenes that are lost with their machine and started again.
        num_given_up: Scenes that are lost too often.
        num_failed: Scenes that fail for other reasons.
        most_failed: The same with the upper end of the 95 % interval of their share.
        bytes: Bytes that are left.
        files: Files and folders that are left.
        num_records: Records that are read when the batch is started again.
        start_seconds: Seconds that this takes.
        page_bytes: Bytes of the pages of pictures together.
        num_pages: Their number.
    """

    num_scenes: int
    wall_seconds: float
    limit: str
    core_hours: float
    machine_core_hours: float
    price: float | None
    redone_core_hours: float
    num_losses: float
    num_given_up: float
    num_failed: float
    most_failed: float
    bytes: float
    files: float
    num_records: int
    start_seconds: float
    page_bytes: float
    num_pages: int


class Planner:
    """Computes what scenes cost that are like those of a batch.

    Args:
        measured: What scenes of the batch have cost.
        cluster: The machines.
        capacities: What the parts can do that these share.

    Raises:
        SceneError: A machine has too few cores or too little memory for a scene, or is lost before one can end.
    """

    def __init__(self, measured: Measured, cluster: Cluster, capacities: Capacities) -> None:
        self.measured, self.cluster, self.capacities = measured, cluster, capacities
        self.pieces: tuple[Piece, ...] = pieces_of(
            list(measured.step_seconds.items()), cluster.checkpoint_seconds, cluster.restart_seconds
        )
        self._rate = cluster.losses_per_node_hour / HOUR_S
        self.machines = Machines(
            cluster.nodes, places_on(cluster, measured.peak_memory_gib), self._rate, cluster.replacement_seconds
        )
        self.seconds = expected_seconds(self.pieces, self._rate)
        """Seconds for which a scene holds its cores, with what losses undo."""

    @property
    def scenes_per_second(self) -> float:
        """Scenes that end in a second where only the machines limit them."""
        return self.cluster.nodes * self._scenes_per_second_of_node

    @property
    def _scenes_per_second_of_node(self) -> float:
        return self.machines.places * self.machines.share_up / self.seconds

    def parts(self) -> list[Part]:
        """The parts that machines share, the one that is full first at the beginning."""
        measured, able = self.measured, self.capacities
        num_steps = len(measured.step_seconds)
        extra = self._num_extra_checkpoints()
        num_after = (
            num_steps - 1 - list(measured.step_seconds).index("train") if "train" in measured.step_seconds else 0
        )
        moved = measured.bytes + measured.input_bytes * num_steps + measured.checkpoint_bytes * (extra + num_after)
        asked = [
            ("scheduler", "tasks", 1 + self._rate * self.seconds, able.tasks),
            ("small files", "files made", measured.files + measured.folders + extra + self._num_notes(), able.files),
            ("bytes of files", "bytes", moved, able.bytes),
            (DRIVER, "seconds", sum(self._driver_seconds()), 1.0),
        ]
        found = [
            Part(name, unit, each, each * self.scenes_per_second, capacity, self._nodes_at(capacity, each))
            for name, unit, each, capacity in asked
        ]
        return sorted([*found, self._object_store()], key=lambda part: part.nodes)

    def _nodes_at(self, capacity: float, per_scene: float) -> float:
        return capacity / (per_scene * self._scenes_per_second_of_node) if per_scene > 0 else math.inf

    def _object_store(self) -> Part:
        """Holds the descriptions of scenes that wait or run; their results are files, and never pass through it."""
        each, places = self.measured.description_bytes, self.machines.places
        capacity = _OBJECT_STORE_SHARE * self.cluster.memory_per_node_gib * GIB
        held = each * max(_MOST_WAITING, 2 * places * self.cluster.nodes)
        nodes = capacity / (2 * places * each) if each > 0 else math.inf
        return Part("object store", "bytes held", each, held, capacity, nodes)

    def _num_extra_checkpoints(self) -> float:
        """Checkpoints that a training writes and replaces by later ones."""
        train = self.measured.step_seconds.get("train", 0.0)
        written = len(pieces_of([("train", train)], self.cluster.checkpoint_seconds, 0.0))
        return max(0.0, written - self.measured.num_checkpoints)

    def _num_notes(self) -> float:
        """Files that say how long a step has run: each takes the place of the one before, and is made nevertheless."""
        return len(self.measured.step_seconds) + self.seconds / NOTE_S

    def _driver_seconds(self) -> tuple[float, float, float]:
        """Seconds of the one process of the batch for a scene: before the work, while it goes on, and after it.

        It reads the records of all scenes at its start and looks for files that have changed, reads the records of each
        scene that ends, with its scores, and all of them again for the tables and for the pages, whose pictures it
        draws.
        """
        one = 1 / self.capacities.reads
        num_steps = len(self.measured.step_seconds)
        before = num_steps * one + self.measured.look_seconds
        return before, (num_steps + 1) * one, 2 * (num_steps + 1) * one + self.measured.page_seconds

    def estimate(self, num_scenes: int) -> Estimate:
        """What a number of scenes costs.

        The time of the machines is at most the work over the places, and the longest scene once more at the end, in
        which other places are idle (R. L. Graham, Bounds for certain multiprocessing anomalies, 1966).
        """
        cluster, measured = self.cluster, self.measured
        before, meanwhile, after = (num_scenes * each for each in self._driver_seconds())
        places = self.machines.places * cluster.nodes
        longest = measured.longest_seconds * self.seconds / measured.seconds
        shared = {
            part.name: num_scenes * part.per_scene / part.capacity
            for part in self.parts()
            if part.name not in (DRIVER, "object store")
        }
        machines = num_scenes / self.scenes_per_second
        spread = {"the machines": machines + longest * (1 - 1 / places), DRIVER: meanwhile, **shared}
        wall = before + max(spread.values()) + after
        limit = max(spread, key=lambda name: spread[name])
        if before + after > max(spread.values()):
            limit = DRIVER
        core_hours = num_scenes * self.seconds * cluster.cpus / HOUR_S
        paid = wall * cluster.nodes * cluster.cores_per_node / HOUR_S
        return Estimate(
            num_scenes=num_scenes,
            wall_seconds=wall,
            limit=limit,
            core_hours=core_hours,
            machine_core_hours=paid,
            price=None if cluster.price_per_core_hour is None else paid * cluster.price_per_core_hour,
            redone_core_hours=core_hours - num_scenes * measured.seconds * cluster.cpus / HOUR_S,
            num_losses=num_scenes * self._rate * self.seconds,
            num_given_up=num_scenes * share_given_up(self.pieces, self._rate, cluster.retries),
            num_failed=num_scenes * measured.num_failed / measured.num_ended,
            most_failed=num_scenes * most_share(measured.num_failed, measured.num_ended),
            bytes=num_scenes * measured.bytes,
            files=num_scenes * (measured.files + measured.folders),
            num_records=num_scenes * len(measured.step_seconds),
            start_seconds=before,
            page_bytes=num_scenes * measured.page_bytes,
            num_pages=math.ceil(num_scenes / SCENES_PER_PAGE),
        )


def places_on(cluster: Cluster, peak_memory_gib: float) -> int:
    """Scenes at a time on a machine, by its cores and by its memory.

    Raises:
        SceneError: there is no place for one.
    """
    by_cores = math.floor(cluster.cores_per_node / cluster.cpus + 1e-9)
    by_memory = math.floor(cluster.memory_per_node_gib / peak_memory_gib) if peak_memory_gib > 0 else by_cores
    if min(by_cores, by_memory) < 1:
        raise SceneError(
            f"Expected machines with the {cluster.cpus:g} cores and {peak_memory_gib:.1f} GiB of a scene, found "
            f"{cluster.cores_per_node:g} cores and {cluster.memory_per_node_gib:g} GiB; raise --cores-per-node or "
            "--memory-per-node."
        )
    return min(by_cores, by_memory)


def most_share(found: int, among: int) -> float:
    """Upper end of the 95 % interval of a share of which a sample is known.

    It is the score interval of E. B. Wilson, Probable inference, the law of succession, and statistical inference,
    Journal of the American Statistical Association 22, 1927.
    """
    share, square = found / among, _Z95**2
    middle = share + square / (2 * among)
    return (middle + _Z95 * math.sqrt(share * (1 - share) / among + square / (4 * among**2))) / (1 + square / among)
