"""The task of one scene: its steps one after the other, each as a process, those that are done left out."""

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from semantic_ns.errors import SceneError
from semantic_ns.io.text import as_text
from semantic_ns.jobs.processes import Ending, Limits, Processes
from semantic_ns.run_paths import SCENE_VARIABLE
from semantic_ns.scene_batch import steps as known
from semantic_ns.scene_batch.reasons import GIB, reason_of
from semantic_ns.scene_batch.records import Record, log_path, read_record, write_record
from semantic_ns.scene_batch.scene_stamp import Change, ChangedScenes, forget_stamp, read_stamp, write_stamp
from semantic_ns.scene_batch.steps import Step

CommandOf = Callable[[Step, Path, Path, Path, str, Sequence[str]], list[str]]
Told = Callable[[str, Record], None]
"""Told the name of a scene and the record of a step when it has ended."""

_ASKED_TO_END = (130, 143)
"""Exit statuses of a training that a signal ended."""
MOST_READ_BYTES = 2**20
"""Bytes at the end of a log in which the reason of a failure is looked for."""
NOTE_S = 10.0
"""How often the seconds of an attempt that runs are written down."""


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
        earlier_steps: Other steps of earlier calls, which are told of and not run.
        version: Version of this package, which is written into the records of steps.
        is_listed: Whether it is among the scenes of this call; results of one that is not are told of and not counted.
        changed_scenes: What is done with a scene that has other files than those that it was trained on: its row says
            so, it is trained anew, or nobody looks.
        change: That it has other files, as far as that was looked for.
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
    earlier_steps: tuple[Step, ...] = ()
    version: str = ""
    is_listed: bool = True
    changed_scenes: ChangedScenes = "say"
    change: Change | None = None

    @property
    def config(self) -> Path:
        """The config.yml of its training."""
        return known.config_path(self.folder, self.method_name or self.method)

    @property
    def is_changed(self) -> bool:
        """Whether it has other files than in training, and was not trained anew since that was seen."""
        return self.change is not None and read_stamp(self.folder) == self.change.stamp

    @property
    def starts_over(self) -> bool:
        """Whether all its steps are to be done anew, because it has other files; only where it is trained as well."""
        return self.changed_scenes == "train" and "train" in self.steps and self.is_changed

    def records(self) -> list[Record]:
        """The records of its steps as they are on the disk; all are open where it starts over."""
        if self.starts_over:
            return [Record(step, "open") for step in self.steps]
        return [read_record(self.folder, step) for step in self.steps]

    @property
    def all_steps(self) -> tuple[Step, ...]:
        """Its steps and those of earlier calls, in their order."""
        return tuple(step for step in known.STEPS if step in self.steps or step in self.earlier_steps)

    def all_records(self) -> list[Record]:
        """The records of its steps, and of those of earlier calls that were begun, as they are on the disk."""
        found = [read_record(self.folder, step) for step in self.all_steps]
        return [record for record in found if record.step in self.steps or record != Record(record.step, "open")]


def run_scene(
    task: SceneTask,
    processes: Processes,
    told: Told = lambda _name, _record: None,
    command_of: CommandOf = known.command_of,
) -> list[Record]:
    """Run the steps of a scene that are not done, and write the record of each; those that failed are tried again.

    What was made from a former training is done anew where the scene is trained again.

    Args:
        task: What is done.
        processes: What runs the commands.
        told: Told of each step that ends.
        command_of: Gives the command of a step.

    Returns:
        A record of each step; it is open where they were stopped.

    Raises:
        SceneError: the path of the scene is no text, which the files of its results could not name.
    """
    if as_text(task.data) != str(task.data):
        raise SceneError(
            f"Expected a path in UTF-8, found {as_text(task.data)}, which the files of a run cannot name; rename the "
            "folder."
        )
    if task.starts_over:
        _start_over(task)
    records: dict[Step, Record] = {}
    for step in task.steps:
        record = before = read_record(task.folder, step)
        if record.state != "done":
            needed = known.needed_step(step)
            blocked = needed is not None and needed in records and records[needed].state != "done"
            if blocked:
                reason = f"{needed} has not succeeded."
                record = Record(step, "skipped", attempt_seconds=before.attempt_seconds, reason=reason)
            else:
                record = _run_step(task, step, processes, command_of, before.attempt_seconds)
            if record.state == "open":
                if record.attempts > before.attempts:
                    write_record(task.folder, record)
                return [*records.values(), *(Record(left, "open") for left in task.steps[len(records) :])]
            write_record(task.folder, record)
            told(task.name, record)
        records[step] = record
    return list(records.values())


def _run_step(
    task: SceneTask, step: Step, processes: Processes, command_of: CommandOf, spent: tuple[float, ...]
) -> Record:
    """Run a step until it ends by itself, or is stopped; `spent` are the seconds of attempts of earlier calls."""
    if step == "train" and known.is_trained(task.config):
        return Record(step, "done", 0, spent)
    _reopen(task.folder, known.made_from(step))
    log = log_path(task.folder, step)
    log.parent.mkdir(parents=True, exist_ok=True)
    tries_left = task.retries
    while True:
        if step == "train" and known.newest_step(task.config) is None:
            if task.changed_scenes == "ignore":
                forget_stamp(task.folder)  # that of a training that has failed would be taken for this one's
            else:
                write_stamp(task.folder, task.data)
        command = command_of(step, task.data, task.folder, task.config, task.method, task.arguments)
        note = _Notes(task.folder, Record(step, "open", attempt_seconds=spent, version=task.version))
        ending = processes.run(command, log, task.limits, _environment(task), note)
        if ending.cause == "stopped" and not ending.seconds:
            return Record(step, "open", attempt_seconds=spent)
        spent = (*spent, round(ending.seconds, 3))
        is_retried = ending.cause == "itself" and (ending.status < 0 or ending.status in _ASKED_TO_END)
        if not is_retried or tries_left == 0:
            break
        tries_left -= 1
    written = _end_of(log, ending.log_start)
    return _record_of_end(task, Record(step, "open", ending.status, spent, version=task.version), ending, written)


def _start_over(task: SceneTask) -> None:
    """Have all steps done anew. A kill in between changes nothing: what is known of the former files goes last."""
    _reopen(task.folder, known.STEPS)
    run = task.config.parent
    if run.is_symlink():
        run.unlink()  # where it leads is not the batch's to remove
    elif run.exists():
        shutil.rmtree(run)  # where that fails, the former model must not be taken for a new one
    forget_stamp(task.folder)


def _reopen(folder: Path, steps: Sequence[Step]) -> None:
    """Have steps done anew, those of other calls as well: what they are made from is about to change."""
    for step in steps:
        record = read_record(folder, step)
        if record.state != "open":
            write_record(folder, Record(step, "open", attempt_seconds=record.attempt_seconds))


def _environment(task: SceneTask) -> dict[str, str]:
    """The environment of a step, without the variable that would have every run opened with one and the same scene."""
    kept = {name: value for name, value in os.environ.items() if name != SCENE_VARIABLE}
    return kept | dict(task.environment)


def _end_of(log: Path, start: int) -> str:
    """What was written to a log from a place on; of much of it the last part, in which the reason of a failure is."""
    with log.open("rb") as file:
        file.seek(max(start, log.stat().st_size - MOST_READ_BYTES))
        return file.read(MOST_READ_BYTES).decode("utf8", errors="replace")


class _Notes:
    """Writes down how long an attempt has run, so that the next call knows of it when this process is killed.

    Args:
        folder: Folder of the scene.
        record: What is known without the attempt.
    """

    def __init__(self, folder: Path, record: Record) -> None:
        self._folder, self._record = folder, record
        self._next = 0.0

    def __call__(self, seconds: float) -> None:
        if seconds < self._next:
            return
        self._next = seconds + NOTE_S
        spent = (*self._record.attempt_seconds, round(seconds, 3))
        with suppress(OSError):  # what runs goes on; whether the folder can be written is seen at its end
            write_record(self._folder, replace(self._record, attempt_seconds=spent))


def _record_of_end(task: SceneTask, record: Record, ending: Ending, log: str) -> Record:
    """The record of a step whose process has ended.

    A process that was asked to end, at the time limit or because all are stopped, may have been about to: what it has
    done counts.
    """
    step, is_asked = record.step, ending.cause != "itself"
    record = replace(record, peak_memory_gib=round(ending.peak_bytes / GIB, 3))
    if ending.status == 0 and (not is_asked or known.has_results(step, task.folder, task.config)):
        return replace(record, state="done")
    if ending.cause == "stopped":
        return Record(step, "open", attempt_seconds=record.attempt_seconds, version=record.version)
    if step == "doctor" and not is_asked and ending.status == known.PROBLEM_FOUND:
        problem = _problem(task.folder / known.DOCTOR_REPORT)
        if problem is not None:  # else the command itself has failed, with the status that Python gives it
            return replace(record, state="done", reason=problem)
    goes_on = step == "train" and known.newest_step(task.config) is not None
    return replace(record, state="failed", reason=reason_of(ending, task.limits, log, goes_on))


def _problem(report: Path) -> str | None:
    with suppress(OSError, ValueError, TypeError, KeyError, IndexError):
        return str(json.loads(report.read_text("utf8"))["problems"][0])
    return None
