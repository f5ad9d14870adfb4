"""The tables of what scenes cost, for the terminal and as a page in markdown."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from semantic_ns.io.text import markdown_table
from semantic_ns.io.writing import write_errors_as_scene_error, write_text
from semantic_ns.scene_batch.estimate import DRIVER, GIB, HOUR_S, Estimate, Part, Planner
from semantic_ns.scene_batch.node_losses import Simulated

COST_FILE = "cost.md"
_TESTED_NODES, _TESTED_TASKS = 250, 10_000
"""Sizes up to which Ray's maintainers test it (release/benchmarks/README.md of ray-project/ray)."""
_FEW_SCENES = 30
_ADVICE = {
    "scheduler": "make several batches, each on a cluster of its own",
    "small files": "leave out exports that nobody reads, or make several batches, each on a file system of its own",
    "bytes of files": "save fewer checkpoints (--steps-per-save), leave out exports that nobody reads, or make several "
    "batches, each on a file system of its own",
    "object store": "make several batches",
    DRIVER: "make several batches, each with a part of the scenes, a folder and a driver of its own",
}
Table = tuple[tuple[str, ...], list[tuple[str, ...]]]
"""A header and rows."""


def cost_table(estimates: Sequence[Estimate]) -> Table:
    """What each number of scenes costs, in a column."""
    rows: list[tuple[str, list[str]]] = [
        ("time", [as_time(each.wall_seconds) for each in estimates]),
        ("decided by", [each.limit for each in estimates]),
        ("core-hours of scenes", [as_count(each.core_hours) for each in estimates]),
        ("of these redone after losses", [as_count(each.redone_core_hours) for each in estimates]),
        ("core-hours of machines", [as_count(each.machine_core_hours) for each in estimates]),
        ("price", ["-" if each.price is None else as_count(each.price) for each in estimates]),
        ("bytes left", [as_bytes(each.bytes) for each in estimates]),
        ("files and folders left", [as_count(each.files) for each in estimates]),
        ("scenes lost with a machine", [as_count(each.num_losses) for each in estimates]),
        ("scenes lost too often", [as_count(each.num_given_up) for each in estimates]),
        (
            "scenes that fail (95 %: at most)",
            [f"{as_count(each.num_failed)} ({as_count(each.most_failed)})" for each in estimates],
        ),
        ("records read at a restart", [as_count(each.num_records) for each in estimates]),
        ("time until the first scene starts", [as_time(each.start_seconds) for each in estimates]),
        ("pages of pictures", [f"{as_count(each.num_pages)}, {as_bytes(each.page_bytes)}" for each in estimates]),
    ]
    return ("scenes", *(f"{each.num_scenes:,}" for each in estimates)), [(name, *cells) for name, cells in rows]


def parts_table(parts: Sequence[Part], nodes: int) -> Table:
    """What machines share, the part first that is full first."""
    header = (
        "part",
        "unit",
        "a scene asks",
        f"{nodes:,} machines ask, a second",
        "it can, a second",
        "full at machines",
    )
    return header, [
        (
            part.name, part.unit, as_count(part.per_scene), as_count(part.load), as_count(part.capacity),
            as_count(part.nodes),
        )
        for part in parts
    ]  # fmt: skip


def measured_table(planner: Planner) -> Table:
    """What a scene has cost."""
    measured, cpus = planner.measured, planner.cluster.cpus
    error = "" if measured.error_seconds is None else f" +- {measured.error_seconds:.1f}"
    between = measured.checkpoint_seconds
    rows = [(f"{step}, core-seconds", f"{seconds * cpus:.1f}") for step, seconds in measured.step_seconds.items()]
    return ("a scene", "measured"), [
        *rows,
        ("all steps, seconds", f"{measured.seconds:.1f}{error}; the longest {measured.longest_seconds:.1f}"),
        ("largest memory, GiB", f"{measured.peak_memory_gib:.2f}"),
        ("files and folders left", f"{measured.files:.1f} and {measured.folders:.1f}"),
        ("bytes left", f"{as_bytes(measured.bytes)}, a checkpoint {as_bytes(measured.checkpoint_bytes)}"),
        ("seconds between checkpoints", "-" if between is None else f"{between:.1f}"),
        ("bytes of the scene itself", as_bytes(measured.input_bytes)),
        ("its part of a page of pictures", f"{as_bytes(measured.page_bytes)}, {measured.page_seconds:.3f} s"),
        ("failed", f"{measured.num_failed} of {measured.num_ended}"),
    ]


def remarks(planner: Planner, estimates: Sequence[Estimate]) -> list[str]:
    """What a person has to know beside the tables, in sentences; the first bottleneck comes first."""
    first, cluster = planner.parts()[0], planner.cluster
    said = [
        f"The first bottleneck is {first.name}: it is full at {as_count(first.nodes)} machines of "
        f"{planner.machines.places} scenes each. More machines than that make a batch no faster; {_ADVICE[first.name]}."
    ]
    if first.nodes < cluster.nodes:
        said[0] += f" The {cluster.nodes:,} machines given are more."
    succeeded = planner.measured.num_ended - planner.measured.num_failed
    if succeeded < _FEW_SCENES:
        said.append(
            f"Only {succeeded} of the measured scenes succeeded; means over fewer than {_FEW_SCENES} are rough, and "
            "scenes that fail early lower them."
        )
    places = planner.machines.places * cluster.nodes
    if cluster.nodes > _TESTED_NODES or places > _TESTED_TASKS:
        said.append(
            f"Ray's maintainers test clusters of {_TESTED_NODES} machines and {_TESTED_TASKS:,} tasks at a time; these "
            f"are {cluster.nodes:,} and {places:,}, of which nothing is known here."
        )
    if lost := [each for each in estimates if each.num_given_up >= 1]:
        said.append(
            f"Of {lost[0].num_scenes:,} scenes, {as_count(lost[0].num_given_up)} are lost more than {cluster.retries} "
            "times and given up; the same command tries them again, or raise --lost-node-retries."
        )
    return said


def sentence_about_simulation(runs: Sequence[Simulated], planner: Planner, num_scenes: int) -> str:
    """What simulated batches have taken, beside what the formula says."""
    seconds, hours = [run.seconds for run in runs], [run.busy_seconds * planner.cluster.cpus / HOUR_S for run in runs]
    expected = num_scenes * planner.seconds * planner.cluster.cpus / HOUR_S
    losses = statistics.fmean(run.num_losses for run in runs)
    return (
        f"{len(runs)} simulated batches of {num_scenes:,} scenes, limited by the machines alone, took "
        f"{as_time(min(seconds))} to {as_time(max(seconds))}, and {as_count(statistics.fmean(hours))} core-hours of "
        f"scenes on average (by the formula {as_count(expected)}), with {as_count(losses)} scenes lost with a machine."
    )


def write_cost(folder: Path, planner: Planner, estimates: Sequence[Estimate], more: Sequence[str] = ()) -> Path:
    """Write `cost.md` into the folder of a batch; returns its path.

    Args:
        folder: Folder of the batch.
        planner: What the tables are computed from.
        estimates: The numbers of scenes.
        more: Further sentences.

    Raises:
        SceneError: The folder cannot be written.
    """
    measured = planner.measured
    sections = [
        f"# What scenes like those of {folder.absolute().name} cost",
        f"{measured.num_ended} of {measured.num_scenes} scenes have ended. {_assumed(planner)}",
        _markdown(cost_table(estimates)),
        "\n".join(f"- {sentence}" for sentence in (*remarks(planner, estimates), *more)),
        "## What machines share",
        _markdown(parts_table(planner.parts(), planner.cluster.nodes)),
        "## What was measured",
        _markdown(measured_table(planner)),
    ]
    with write_errors_as_scene_error(folder):
        write_text(folder / COST_FILE, "\n\n".join(sections) + "\n")
    return folder / COST_FILE


def _assumed(planner: Planner) -> str:
    cluster = planner.cluster
    between = cluster.checkpoint_seconds
    checkpoints = "one checkpoint, at its end" if between is None else f"a checkpoint each {between:.0f} s"
    cores = "1 core" if cluster.cpus == 1 else f"{cluster.cpus:g} cores"
    return (
        f"Machines: {cluster.nodes:,}, each with {cluster.cores_per_node:g} cores and {cluster.memory_per_node_gib:g} "
        f"GiB, which take {planner.machines.places} scenes of {cores} at a time. Each is lost "
        f"{cluster.losses_per_node_hour:g} times an hour and replaced after {cluster.replacement_seconds:g} s. A "
        f"training has {checkpoints}, and takes {cluster.restart_seconds:g} s to go on from one. A scene is started "
        f"again {cluster.retries} times."
    )


def _markdown(table: Table) -> str:
    return markdown_table(*table)


def as_time(seconds: float | int) -> str:
    """Such as 12 s, 3.4 min, 5.6 h or 7.8 days."""
    for unit, length in (("days", 24 * HOUR_S), ("h", HOUR_S), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{as_count(seconds / length)} {unit}"
    return f"{seconds:.3g} s"


def as_bytes(count: float | int) -> str:
    """Such as 1.5 MiB."""
    for unit, length in (("PiB", 2**50), ("TiB", 2**40), ("GiB", GIB), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= length:
            return f"{count / length:.3g} {unit}"
    return f"{count:.3g} B"


def as_count(number: float | int) -> str:
    """A number with three digits that count, and all of those before the point."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"
