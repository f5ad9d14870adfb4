"""What is known of a step of a scene: a small file, written whole when the step has ended and while it runs."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from semantic_ns.io.writing import write_json
from semantic_ns.scene_batch.steps import Step

FOLDER = "steps"
State = Literal["done", "failed", "skipped", "open"]


@dataclass(frozen=True)
class Record:
    """What is known of a step.

    Attributes:
        step: Its name.
        state: Whether it is done, failed, or was skipped because what it needs failed; open: it has not ended.
        exit_status: Exit status of its command, or minus the number of the signal that ended it; None without a
            command.
        attempt_seconds: Seconds of each start of its command, by this call and by earlier ones, also of those that were
            killed.
        peak_memory_gib: Largest resident memory of its last attempt, GiB.
        reason: Why it failed; a remark where it is done; where it is open, why its file cannot be read.
        version: Version of this package that its last attempt ran with; empty where that is not known.
    """

    step: Step
    state: State
    exit_status: int | None = None
    attempt_seconds: tuple[float, ...] = ()
    peak_memory_gib: float = 0.0
    reason: str = ""
    version: str = ""

    @property
    def attempts(self) -> int:
        """How often its command was started."""
        return len(self.attempt_seconds)

    @property
    def seconds(self) -> float:
        """Seconds of all attempts."""
        return math.fsum(self.attempt_seconds)


def log_path(folder: Path, step: Step) -> Path:
    """The log of a step in the folder of its scene."""
    return folder / FOLDER / f"{step}.log"


def record_path(folder: Path, step: Step) -> Path:
    """The record of a step in the folder of its scene."""
    return folder / FOLDER / f"{step}.json"


def write_record(folder: Path, record: Record) -> None:
    """Write the record of a step into the folder of its scene; the sums are for people who read the file."""
    sums = {"seconds": round(record.seconds, 3), "attempts": record.attempts}
    write_json(record_path(folder, record.step), asdict(record) | sums)


def read_record(folder: Path, step: Step) -> Record:
    """The record of a step; one that is open where there is none, with the reason where its file cannot be read."""
    try:
        return _record_of(json.loads(record_path(folder, step).read_text("utf8")), step)
    except (FileNotFoundError, NotADirectoryError):
        return Record(step, "open")
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        return Record(step, "open", reason=str(error) or type(error).__name__)


def _record_of(content: Any, step: Step) -> Record:
    """The record in a file; entries of later versions are left out.

    Raises:
        ValueError, TypeError, KeyError: It is no record of the step.
    """
    state, status, reason = content["state"], content["exit_status"], content["reason"]
    seconds, peak = _attempt_seconds(content), float(content["peak_memory_gib"])
    version = str(content.get("version", ""))  # earlier versions did not write it
    if content["step"] != step or state not in get_args(State) or not isinstance(reason, str):
        raise ValueError(f"it is no record of the step {step}")
    if not all(math.isfinite(number) for number in (*seconds, peak)):
        raise ValueError("its numbers are not finite")
    return Record(step, state, None if status is None else int(status), seconds, peak, reason, version)


def _attempt_seconds(content: Any) -> tuple[float, ...]:
    if "attempt_seconds" not in content:  # an earlier version, which kept those of the last attempt
        return (float(content["seconds"]),) if content["attempts"] else ()
    return tuple(float(number) for number in content["attempt_seconds"])


def sentence_about_unreadable(unread: Sequence[tuple[Path, Record]]) -> str:
    """What is said of records that cannot be read, in one sentence for all of them.

    Args:
        unread: Folders of scenes, and the records that were made up for such files.
    """
    folder, record = unread[0]
    others = f" and {len(unread) - 1} more such files" if len(unread) > 1 else ""
    return (
        f"Expected the record of a step in {record_path(folder, record.step)}, found a file that cannot be read "
        f"({record.reason}){others}; these steps are done again, but for trainings whose last checkpoint is there."
    )
