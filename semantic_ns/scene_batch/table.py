"""The table of a batch: a row for each scene, from its records and scores, as CSV, in markdown and for the terminal."""

import csv
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from semantic_ns.io.text import as_text, markdown_row, markdown_table
from semantic_ns.io.writing import replacing
from semantic_ns.scene_batch.records import Record, State
from semantic_ns.scene_batch.scene import SceneTask
from semantic_ns.scene_batch.steps import SCORES

CSV_FILE = "results.csv"
MARKDOWN_FILE = "results.md"
HEADER = ("scene", "mIoU", "PSNR, dB", "depth L1, m", "s", "status", "reason")
_SHOWN = (("miou_present", 3), ("psnr", 2), ("depth_l1", 3))
"""Scores in the table for people, with their digits."""
_SCORES = ("miou_present", "miou", "psnr", "depth_l1")
Status = State | Literal["unlisted"]


@dataclass(frozen=True)
class Row:
    """A scene in the table.

    Attributes:
        task: What was to be done.
        records: A record of each step, and of those of earlier calls that were begun.
        scores: `miou_present`, `miou`, `psnr` (dB) and `depth_l1` (m), those that are known.
        lost: Why the task as a whole came to no end, such as a node that was lost; may be empty.
        change: That its files are not those that it was trained on; empty where that is not known.
    """

    task: SceneTask
    records: tuple[Record, ...]
    scores: dict[str, float]
    lost: str = ""
    change: str = ""

    @property
    def status(self) -> Status:
        """Done where every step is, failed where one has failed, else open.

        Skipped where nothing was to be done, unlisted where it is not among the scenes of this call.
        """
        if not self.task.is_listed:
            return "unlisted"
        if not self.task.steps:
            return "skipped"
        states = {record.state for record in self.records}
        if "failed" in states:
            return "failed"
        return "done" if states == {"done"} else "failed" if self.lost else "open"

    @property
    def seconds(self) -> float:
        """Seconds of all steps."""
        return math.fsum(record.seconds for record in self.records)

    @property
    def peak_memory_gib(self) -> float:
        """Largest memory of a step, GiB."""
        return max((record.peak_memory_gib for record in self.records), default=0.0)

    @property
    def versions(self) -> list[str]:
        """Versions of this package that its steps ran with, as far as they are known."""
        return sorted({record.version for record in self.records if record.version})

    @property
    def reason(self) -> str:
        """What failed and why, else what was remarked, step by step."""
        failed = [record for record in self.records if record.state == "failed"]
        said = failed or [record for record in self.records if record.state == "done"]
        sentences = [f"{record.step}: {record.reason}" for record in said if record.reason]
        if not self.task.is_listed:
            return " ".join([self.lost, *sentences])
        lost = [self.lost] if self.lost and not failed else []
        return " ".join([*sentences, *lost, *([self.change] if self.change else [])])


def row_of(task: SceneTask, lost: str = "") -> Row:
    """The row of a scene, from the files in its folder."""
    records = tuple(task.all_records())
    is_scored = any(record.step == "eval" and record.state == "done" for record in records)
    change = task.change.sentence() if task.change is not None and task.is_changed else ""
    return Row(task, records, read_scores(task.folder) if is_scored else {}, lost, change)


def read_scores(folder: Path) -> dict[str, float]:
    """The scores that `ns-eval` left in the folder of a scene."""
    found: dict[str, Any] = {}
    with suppress(OSError, ValueError, TypeError, KeyError):
        found = dict(json.loads((folder / SCORES).read_text("utf8"))["results"])
    return {name: found[name] for name in _SCORES if isinstance(found.get(name), int | float)}


class Rows:
    """The rows of a batch in the order of its scenes, each read from its files when it is asked for.

    Args:
        tasks: What was to be done with each scene.
        lost: Why the tasks of some scenes came to no end, by their names.
    """

    def __init__(self, tasks: Sequence[SceneTask], lost: Mapping[str, str]) -> None:
        self._tasks, self._lost = tasks, lost

    def __len__(self) -> int:
        return len(self._tasks)

    def __getitem__(self, number: int) -> Row:
        task = self._tasks[number]
        return row_of(task, self._lost.get(task.name, ""))

    def __iter__(self) -> Iterator[Row]:
        return (self[number] for number in range(len(self)))


def write_table(output: Path, rows: Iterable[Row]) -> None:
    """Write `results.csv` and `results.md`, row by row.

    The former has the path of each scene and of its run, its scores unrounded, its largest memory, and for each step of
    this call and of earlier ones its state and seconds.
    """
    with (
        replacing(output / CSV_FILE) as csv_path,
        replacing(output / MARKDOWN_FILE) as markdown_path,
        csv_path.open("w", encoding="utf8", errors="backslashreplace", newline="") as csv_file,
        markdown_path.open("w", encoding="utf8", errors="backslashreplace") as markdown_file,
    ):
        writer = csv.writer(csv_file, lineterminator="\n")
        markdown_file.write(f"{markdown_table(HEADER, [])}\n")
        for number, row in enumerate(rows):
            if number == 0:
                writer.writerow(_csv_header(row.task.all_steps))
            writer.writerow(_csv_row(row))
            markdown_file.write(f"{markdown_row(_markdown_row(row))}\n")


def _csv_header(steps: Sequence[str]) -> list[str]:
    of_steps = [f"{step}{what}" for step in steps for what in ("", "_seconds")]
    return ["scene", *_SCORES, "seconds", "peak_memory_gib", "status", "reason", *of_steps, "data", "run", "versions"]


def _csv_row(row: Row) -> list[object]:
    config = row.task.config
    records = {record.step: record for record in row.records}
    of_steps = [records.get(step) for step in row.task.all_steps]
    return [
        row.task.name,
        *(row.scores.get(name, "") for name in _SCORES),
        f"{row.seconds:.1f}", f"{row.peak_memory_gib:.2f}", row.status, row.reason,
        *(value for record in of_steps for value in (("", "") if record is None else _csv_cells(record))),
        as_text(row.task.data), str(config) if config.is_file() else "", "; ".join(row.versions),
    ]  # fmt: skip


def _csv_cells(record: Record) -> tuple[str, str]:
    return record.state, f"{record.seconds:.1f}"


def _markdown_row(row: Row) -> list[str]:
    return [cell.replace("|", "\\|").replace("\n", " ") for cell in cells(row)]


def cells(row: Row) -> list[str]:
    """The cells of a row under `HEADER`; mIoU is that over classes with ground truth."""
    return [
        row.task.name,
        *(_number(row.scores.get(name), digits) for name, digits in _SHOWN),
        f"{row.seconds:.0f}",
        row.status,
        row.reason or "-",
    ]


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
