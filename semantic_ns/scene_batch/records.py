"""What is known of a step of a scene: a small file, written whole when the step has ended."""

import json
from dataclasses import asdict, dataclass
from json import JSONDecodeError
from pathlib import Path
from typing import Literal

from semantic_ns.io.writing import write_json
from semantic_ns.scene_batch.steps import Step

FOLDER = "steps"
State = Literal["done", "failed", "skipped", "open"]


@dataclass(frozen=True)
class Record:
    """A step that has ended.

    Attributes:
        step: Its name.
        state: Whether it is done, failed, or was skipped because what it needs failed; open: it has not ended.
        exit_status: Exit status of its command, or minus the number of the signal that ended it; None without a
            command.
        seconds: Seconds of its last attempt.
        peak_memory_gib: Largest resident memory of its last attempt, GiB.
        attempts: How often its command was started, by this call.
        reason: Why it failed; a remark where it is done.
    """

    step: Step
    state: State
    exit_status: int | None = None
    seconds: float = 0.0
    peak_memory_gib: float = 0.0
    attempts: int = 0
    reason: str = ""


def log_path(folder: Path, step: Step) -> Path:
    """The log of a step in the folder of its scene."""
    return folder / FOLDER / f"{step}.log"


def write_record(folder: Path, record: Record) -> None:
    """Write the record of a step into the folder of its scene."""
    write_json(_path(folder, record.step), asdict(record))


def read_record(folder: Path, step: Step) -> Record:
    """The record of a step; one that is open where there is none that can be read."""
    try:
        return Record(**json.loads(_path(folder, step).read_text("utf8")))
    except (OSError, JSONDecodeError, TypeError):
        return Record(step, "open")


def _path(folder: Path, step: Step) -> Path:
    return folder / FOLDER / f"{step}.json"
