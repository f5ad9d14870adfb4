"""`sns-batch-cost`: what a thousand to a million scenes cost, by what a few have cost, and what is full first."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro
from rich.console import Console

from semantic_ns.cli.main import run_command
from semantic_ns.errors import SceneError

if TYPE_CHECKING:
    from semantic_ns.scene_batch.estimate import Capacities, Cluster, Planner
    from semantic_ns.scene_batch.measured import Measured


@dataclass
class BatchCost:
    """Compute what many scenes cost on a cluster, from what the scenes of a batch have cost, and what is full first.

    The folder is that of sns-batch; the batch may still run. Seconds, memory, bytes, files and failures of its ended
    scenes are measured, and the speed of its file system by a short test. What is said of machines is assumed. Prints
    a table, and writes it with all that it was computed from as cost.md into the folder.
    """

    folder: tyro.conf.Positional[Path]
    """Folder of a batch: the --output-dir of sns-batch."""
    num_scenes: tuple[int, ...] = (1_000, 10_000, 100_000, 1_000_000)
    """Numbers of scenes."""
    nodes: int = 10
    """Number of machines."""
    cores_per_node: float = 16.0
    """Cores of a machine."""
    memory_per_node: float = 64.0
    """Memory of a machine in GiB."""
    cpus: float = 1.0
    """Cores that a scene held while it was measured, and holds on the cluster: --cpus or --threads of sns-batch, or
    without these the cores of the machine over --jobs."""
    losses_per_node_hour: float = 0.001
    """How often a machine is lost in an hour; 0 for never."""
    replacement_seconds: float = 300.0
    """Seconds after which another machine is in the place of a lost one."""
    checkpoint_seconds: float | None = None
    """Seconds between two checkpoints of a training; by default those of the measured trainings."""
    restart_seconds: float = 15.0
    """Seconds that a training takes until it goes on from a checkpoint."""
    lost_node_retries: int = 3
    """Number of times that a scene is started again when its machine is lost."""
    price_per_core_hour: float | None = None
    """Price of a core for an hour, of any currency."""
    tasks_per_second: float = 190.0
    """Tasks that the scheduler starts in a second; by default what a test of Ray's maintainers shows with 250
    machines."""
    files_per_second: float | None = None
    """Files that the shared file system makes in a second; by default what this machine alone reaches in the folder."""
    megabytes_per_second: float | None = None
    """Megabytes that the shared file system reads and writes in a second; by default as above."""
    reads_per_second: float | None = None
    """Small files that one process reads in a second, one after the other; by default as above."""
    simulate: int = 0
    """Number of batches of the first of --num-scenes to run in simulated time with losses of machines, to see how far
    the time scatters."""

    def main(self) -> None:
        """Measure, compute, print and write."""
        self._check_options()
        # Slow to import, and not needed to refuse a wrong option.
        from semantic_ns.scene_batch.cost_page import cost_table, remarks, write_cost
        from semantic_ns.scene_batch.estimate import Planner
        from semantic_ns.scene_batch.measured import measure_batch

        measured = measure_batch(self.folder)
        planner = Planner(measured, self._cluster(measured), self._capacities())
        estimates = [planner.estimate(number) for number in self.num_scenes]
        simulated = self._simulated(planner)
        page = write_cost(self.folder, planner, estimates, simulated)
        console = Console()
        _show(console, *cost_table(estimates))
        for sentence in (*remarks(planner, estimates), *simulated, f"All numbers: {page}"):
            console.print(sentence, soft_wrap=True, highlight=False, markup=False)

    def _check_options(self) -> None:
        if not self.num_scenes:
            raise SceneError("Expected at least one number for --num-scenes, found none; give one.")
        for name, value, least in (
            *(("--num-scenes", number, 1) for number in self.num_scenes), ("--nodes", self.nodes, 1),
            ("--losses-per-node-hour", self.losses_per_node_hour, 0), ("--simulate", self.simulate, 0),
            ("--replacement-seconds", self.replacement_seconds, 0), ("--restart-seconds", self.restart_seconds, 0),
            ("--lost-node-retries", self.lost_node_retries, 0), ("--price-per-core-hour", self.price_per_core_hour, 0),
        ):  # fmt: skip
            if value is not None and not least <= value < float("inf"):
                raise SceneError(f"Expected {name} of at least {least}, found {value}; change it.")
        for name, value in (
            ("--cores-per-node", self.cores_per_node), ("--memory-per-node", self.memory_per_node),
            ("--cpus", self.cpus), ("--checkpoint-seconds", self.checkpoint_seconds),
            ("--tasks-per-second", self.tasks_per_second), ("--files-per-second", self.files_per_second),
            ("--megabytes-per-second", self.megabytes_per_second), ("--reads-per-second", self.reads_per_second),
        ):  # fmt: skip
            if value is not None and not 0 < value < float("inf"):
                raise SceneError(f"Expected {name} above 0, found {value}; change it.")

    def _cluster(self, measured: "Measured") -> "Cluster":
        from semantic_ns.scene_batch.estimate import Cluster

        between = measured.checkpoint_seconds if self.checkpoint_seconds is None else self.checkpoint_seconds
        return Cluster(
            self.nodes, self.cores_per_node, self.memory_per_node, self.cpus, self.losses_per_node_hour,
            self.replacement_seconds, between, self.restart_seconds, self.lost_node_retries, self.price_per_core_hour,
        )  # fmt: skip

    def _capacities(self) -> "Capacities":
        """What is given, and else what a test of some seconds finds."""
        from semantic_ns.scene_batch.estimate import Capacities
        from semantic_ns.scene_batch.measured import Storage, measure_storage

        given = (self.files_per_second, self.reads_per_second, self.megabytes_per_second)
        found = Storage(1.0, 1.0, 1.0) if None not in given else measure_storage(self.folder)
        return Capacities(
            self.tasks_per_second,
            self.files_per_second or found.files,
            found.bytes if self.megabytes_per_second is None else self.megabytes_per_second * 1e6,
            self.reads_per_second or found.reads,
        )

    def _simulated(self, planner: "Planner") -> list[str]:
        from semantic_ns.scene_batch.cost_page import sentence_about_simulation
        from semantic_ns.scene_batch.node_losses import simulate

        number = self.num_scenes[0]
        runs = [
            simulate(planner.pieces, number, planner.machines, seed, self.lost_node_retries)
            for seed in range(self.simulate)
        ]
        return [sentence_about_simulation(runs, planner, number)] if runs else []


def _show(console: Console, header: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    from rich.table import Table

    table = Table(*header)
    for row in rows:
        table.add_row(*row)
    console.print(table)


def entrypoint() -> None:
    """Console script `sns-batch-cost`."""
    command = tyro.cli(BatchCost, config=(tyro.conf.FlagConversionOff,))
    run_command(command.main)


if __name__ == "__main__":
    entrypoint()
