"""What the scenes of a batch have cost so far, read from its folder; how fast the file system of the folder is."""

import math
import os
import re
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from semantic_ns.dataparsers.scene_files import files_of_scene
from semantic_ns.errors import SceneError
from semantic_ns.io.writing import flush_to_disk, write_errors_as_scene_error, write_text
from semantic_ns.run_paths import RESUME_CONFIG
from semantic_ns.scene_batch.page import as_data, pictures_of
from semantic_ns.scene_batch.plan import SCENES, SETTINGS, Settings, begun_steps, read_settings
from semantic_ns.scene_batch.records import Record, read_record
from semantic_ns.scene_batch.scene_stamp import read_stamp
from semantic_ns.scene_batch.steps import RUN, Step, newest_step

_MOST_WALKED = 200
"""Scenes whose files are counted: of a large batch some, evenly spread."""
_MOST_PICTURED = 20
_NUM_FILES = 100
_FILE_BYTES = 512
_BLOCK_BYTES = 4 * 2**20
_NUM_BLOCKS = 16
_MOST_SECONDS = 2.0


@dataclass(frozen=True)
class Measured:
    """What the ended scenes of a batch have cost: means per ended scene where nothing else is said.

    Attributes:
        num_scenes: Scenes of the batch, without those that are no longer in its list.
        num_ended: Scenes whose steps have all ended.
        num_failed: Ended scenes of which a step failed.
        step_seconds: Seconds on the clock of each step, with all its attempts.
        error_seconds: Standard error of the seconds of a scene; None with fewer than two scenes.
        longest_seconds: Seconds of the longest scene.
        peak_memory_gib: Largest resident memory of any step of any scene.
        files: Files that a scene leaves.
        folders: Folders that a scene leaves.
        bytes: Bytes of these files.
        checkpoint_bytes: Bytes of its newest checkpoint.
        num_checkpoints: Checkpoints that a training leaves.
        checkpoint_seconds: Seconds between two checkpoints of a training; None where that is not known.
        input_bytes: Bytes of the scene itself; 0 where it cannot be seen from here.
        look_seconds: Seconds for which a scene is looked through for files that have changed, as each call does; 0
            where the batch notes no files.
        description_bytes: Bytes of the scene and its settings in the file of the batch.
        page_bytes: Bytes of the scene in a page of pictures.
        page_seconds: Seconds for which the scene is drawn into a page.
    """

    num_scenes: int
    num_ended: int
    num_failed: int
    step_seconds: Mapping[Step, float]
    error_seconds: float | None
    longest_seconds: float
    peak_memory_gib: float
    files: float
    folders: float
    bytes: float
    checkpoint_bytes: float = 0.0
    num_checkpoints: float = 1.0
    checkpoint_seconds: float | None = None
    input_bytes: float = 0.0
    look_seconds: float = 0.0
    description_bytes: float = 0.0
    page_bytes: float = 0.0
    page_seconds: float = 0.0

    @property
    def seconds(self) -> float:
        """Seconds of all steps of a scene."""
        return math.fsum(self.step_seconds.values())


def measure_batch(folder: Path) -> Measured:
    """Read what the scenes of a batch have cost that have ended; the batch may still run.

    Args:
        folder: Folder of the batch.

    Raises:
        SceneError: It is no folder of a batch, or none of its scenes has ended.
    """
    settings = read_settings(folder)
    if settings is None:
        raise SceneError(
            f"Expected the folder of a batch with the file {SETTINGS}, found none in {folder}; give the --output-dir "
            "of sns-batch."
        )
    scenes = settings.listed
    steps = begun_steps(folder, scenes)
    all_records = {name: [read_record(folder / SCENES / name, step) for step in steps] for name in scenes}
    ended = {
        name: records for name, records in all_records.items() if all(record.state != "open" for record in records)
    }
    if not steps or not ended:
        raise SceneError(
            f"Expected at least one scene of {folder} whose steps have all ended, found none among "
            f"{len(scenes)}; give a batch that has gone further."
        )
    step_seconds: dict[Step, float] = {
        step: _mean_seconds([records[place] for records in ended.values()]) for place, step in enumerate(steps)
    }
    if not math.fsum(step_seconds.values()):
        raise SceneError(
            f"Expected the seconds of at least one step in {folder}, found that no step was run there; give a batch "
            "that has run."
        )
    needed: Step = "train" if "train" in steps else steps[0]
    if not any(record.step == needed and record.state == "done" for records in ended.values() for record in records):
        raise SceneError(
            f"Expected at least one scene of {folder} for which {needed} is done, found none among {len(ended)} that "
            "have ended; mend what fails, and give a batch in which some succeed."
        )
    totals = [
        math.fsum(record.seconds for record in records)
        for records in ended.values()
        if all(record.attempts or record.state == "skipped" for record in records)
    ]
    return Measured(
        num_scenes=len(scenes),
        num_ended=len(ended),
        num_failed=sum(any(record.state == "failed" for record in records) for records in ended.values()),
        step_seconds=step_seconds,
        error_seconds=statistics.stdev(totals) / len(totals) ** 0.5 if len(totals) > 1 else None,
        longest_seconds=max(totals, default=math.fsum(step_seconds.values())),
        peak_memory_gib=max(record.peak_memory_gib for records in ended.values() for record in records),
        **_files_of(folder, settings, list(ended), step_seconds.get("train", 0.0)),
    )


def _mean_seconds(records: Sequence[Record]) -> float:
    """Seconds of a step per ended scene: skipped ones take none; of a training found at its end they are not known."""
    known = [record.seconds for record in records if record.attempts]
    share = sum(record.state != "skipped" for record in records) / len(records)
    return statistics.fmean(known) * share if known else 0.0


def _files_of(folder: Path, settings: Settings, ended: Sequence[str], train_seconds: float) -> dict[str, Any]:
    places = [folder / SCENES / name for name in _spread(ended, _MOST_WALKED)]
    found = [_content(place) for place in places]
    inputs = [_content(Path(settings.scenes[place.name])).bytes for place in places]
    checkpoints = [
        [path.stat().st_size for path in sorted(place.glob(f"*/{RUN}/nerfstudio_models/*.ckpt"))] for place in places
    ]
    shares = [share for place in places if (share := _share_between_checkpoints(place)) is not None]
    pictured = _spread(places, _MOST_PICTURED)
    started = time.perf_counter()
    for place in pictured:
        with suppress(OSError):
            list(files_of_scene(Path(settings.scenes[place.name])))
    looked = time.perf_counter() - started
    started = time.perf_counter()
    drawn = [sum(len(as_data(path) or "") for path in pictures_of(place)) for place in pictured]
    return {
        "files": statistics.fmean(each.files for each in found),
        "folders": statistics.fmean(each.folders for each in found),
        "bytes": statistics.fmean(each.bytes for each in found),
        "checkpoint_bytes": statistics.fmean(sizes[-1] if sizes else 0 for sizes in checkpoints),
        "num_checkpoints": statistics.fmean(map(len, checkpoints)),
        "checkpoint_seconds": statistics.fmean(shares) * train_seconds if shares and train_seconds else None,
        "input_bytes": statistics.fmean(inputs),
        "look_seconds": looked / len(pictured) if any(map(read_stamp, pictured)) else 0.0,
        "description_bytes": (folder / SETTINGS).stat().st_size / len(settings.scenes),
        "page_seconds": (time.perf_counter() - started) / len(pictured),
        "page_bytes": statistics.fmean(drawn),
    }


def _spread(items: Sequence[Any], most: int) -> list[Any]:
    return [items[number * len(items) // most] for number in range(most)] if len(items) > most else list(items)


class _Content(NamedTuple):
    files: int
    folders: int
    bytes: int


def _content(place: Path) -> _Content:
    """What a folder holds, itself included; links count as files and are not followed."""
    files, folders, size = 0, 0, 0
    for root, _, names in os.walk(place):
        folders += 1
        for name in names:
            with suppress(OSError):  # a running step may have removed it
                size += os.lstat(Path(root, name)).st_size
                files += 1
    return _Content(files, folders, size)


def _share_between_checkpoints(place: Path) -> float | None:
    """Share of a training after which it writes a checkpoint, from its own settings."""
    for resume in place.glob(f"*/{RUN}/{RESUME_CONFIG}"):
        text = resume.read_text("utf8", errors="replace")
        found, steps = re.search(r"^steps_per_save: (\d+)$", text, re.MULTILINE), newest_step(resume)
        if found and steps:
            return min(1.0, int(found[1]) / steps)
    return None


@dataclass(frozen=True)
class Storage:
    """What a file system does in a second.

    Attributes:
        files: Small files that are written whole, as the records of steps are.
        reads: Small files that are read.
        bytes: Bytes that are written to a large file.
    """

    files: float
    reads: float
    bytes: float


def measure_storage(folder: Path) -> Storage:
    """Try how fast a file system is from this machine, one file at a time, for some seconds at most.

    Several machines together may reach more. Reading finds what was just written, which may lie in memory.

    Args:
        folder: Folder in which some files are written, and removed again.

    Raises:
        SceneError: The folder cannot be written.
    """
    with write_errors_as_scene_error(folder), TemporaryDirectory(prefix=".cost_", dir=folder) as temporary:
        paths = [Path(temporary, f"{number}.json") for number in range(_NUM_FILES)]
        written, seconds = _timed(lambda path: write_text(path, "x" * _FILE_BYTES), paths)
        read, read_seconds = _timed(lambda path: path.read_bytes(), paths[:written])
        large, block = Path(temporary, "large"), bytes(_BLOCK_BYTES)

        def append(_: int) -> None:
            with large.open("ab") as file:
                file.write(block)
            flush_to_disk(large)

        blocks, large_seconds = _timed(append, range(_NUM_BLOCKS))
        return Storage(written / seconds, read / read_seconds, blocks * _BLOCK_BYTES / large_seconds)


def _timed(work: Callable[[Any], object], items: Iterable[Any]) -> tuple[int, float]:
    """How many items were worked on until the time was over, at least one, and the seconds that it took."""
    started, done = time.perf_counter(), 0
    for item in items:
        work(item)
        done += 1
        if time.perf_counter() - started > _MOST_SECONDS:
            break
    return done, max(time.perf_counter() - started, 1e-9)
