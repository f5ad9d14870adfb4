"""The task of one scene: its steps one after the other, each as a process, those that are done left out."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from semantic_ns.jobs.processes import Limits, Processes
from semantic_ns.scene_batch import steps as known
from semantic_ns.scene_batch.reasons import GIB, reason_of
from semantic_ns.scene_batch.records import Record, log_path, read_record, write_record
from semantic_ns.scene_batch.steps import Step

CommandOf = Callable[[Step, Path, Path, Path, str, Sequence[str]], list[str]]
Told = Callable[[str, Record], None]
"""Told the name of a scene and the record of a step when it has ended."""

_ASKED_TO_END = (130, 143)
"""Exit statuses of a training that a signal ended."""


@dataclass(frozen=True)
class SceneTask:
    """What is done with one scene.

    Attributes:
        name: Its name in the tables.
        data: The scene, an absolute path.
        folder: Folder of its results, an absolute path whose last part is the name.
        steps: What is done, in this order.
        method: The method, as `ns-train` knows it.
        arguments: More arguments of `ns-train`.
        limits: What each step may use.
        retries: How often a step is started again that was ended by a signal of others.
        environment: Variables of the environment of every step, beside those of this process.
        method_name: The method's name in its own configuration; the same as `method` if empty.
    """

    name: str
    data: Path
    folder: Path
    steps: tuple[Step, ...]
    method: str
    arguments: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    retries: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)
    method_name: str = ""

    @property
    def config(self) -> Path:
        """The config.yml of its training."""
        return known.config_path(self.folder, self.method_name or self.method)

    def records(self) -> list[Record]:
        """The records of its steps as they are on the disk."""
        return [read_record(self.folder, step) for step in self.steps]


def run_scene(
    task: SceneTask,
    processes: Processes,
    told: Told = lambda _name, _record: None,
    command_of: CommandOf = known.command_of,
) -> list[Record]:
    """Run the steps of a scene that are not done, and write the record of each; those that failed are tried again.

    Args:
        task: What is done.
        processes: What runs the commands.
        told: Told of each step that ends.
        command_of: Gives the command of a step.

    Returns:
        A record of each step; it is open where they were stopped.
    """
    records: dict[Step, Record] = {}
    for step in task.steps:
        record = read_record(task.folder, step)
        if record.state != "done":
            needed = known.needed_step(step)
            blocked = needed is not None and needed in records and records[needed].state != "done"
            if blocked:
                record = Record(step, "skipped", reason=f"{needed} has not succeeded.")
            else:
                record = _run_step(task, step, processes, command_of)
            if record.state == "open":
                return [*records.values(), *(Record(left, "open") for left in task.steps[len(records) :])]
            write_record(task.folder, record)
            told(task.name, record)
        records[step] = record
    return list(records.values())


def _run_step(task: SceneTask, step: Step, processes: Processes, command_of: CommandOf) -> Record:
    if step == "train" and known.is_trained(task.config):
        return Record(step, "done", 0)
    log = log_path(task.folder, step)
    log.parent.mkdir(parents=True, exist_ok=True)
    attempts = 0
    while True:
        attempts += 1
        start = log.stat().st_size if log.exists() else 0
        command = command_of(step, task.data, task.folder, task.config, task.method, task.arguments)
        ending = processes.run(command, log, task.limits, os.environ | dict(task.environment))
        if ending.cause == "stopped":
            return Record(step, "open")
        is_retried = ending.cause == "itself" and (ending.status < 0 or ending.status in _ASKED_TO_END)
        if not is_retried or attempts > task.retries:
            break
    written = log.read_bytes()[start:].decode("utf8", errors="replace")
    figures = (ending.status, round(ending.seconds, 3), round(ending.peak_bytes / GIB, 3), attempts)
    if ending.cause == "itself" and ending.status == 0:
        return Record(step, "done", *figures)
    if step == "doctor" and ending.cause == "itself" and ending.status == known.PROBLEM_FOUND:
        problem = _problem(task.folder / known.DOCTOR_REPORT)
        if problem is not None:  # else the command itself has failed, with the status that Python gives it
            return Record(step, "done", *figures, reason=problem)
    return Record(step, "failed", *figures, reason=reason_of(ending, task.limits, written))


def _problem(report: Path) -> str | None:
    with suppress(OSError, json.JSONDecodeError, KeyError, IndexError):
        return json.loads(report.read_text("utf8"))["problems"][0]
    return None
