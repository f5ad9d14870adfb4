"""On which files of its scene a training was begun, so that images, labels or poses that are replaced are noticed.

The sizes and times of the files are compared, folder by folder, and their contents where these differ: a copy of the
same files is the same scene. What only one of then and now has says nothing: smaller images and points are made later.
"""

import json
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Literal, NamedTuple

from semantic_ns.dataparsers.scene_files import files_of_scene
from semantic_ns.io.text import as_text
from semantic_ns.io.writing import write_json
from semantic_ns.scene_batch.records import FOLDER

STAMP = "scene_files.json"
"""File in the folder of the records of a scene."""
ChangedScenes = Literal["say", "train", "ignore"]
_READ_BYTES = 2**20
_NUM_SHOWN = 3
_OTHER = "other status"
"""Sizes and times with which the contents of a folder were found to be others."""


class Change(NamedTuple):
    """That a scene has other files than those that its training was begun on.

    Attributes:
        what: The folders, or the files beside them, that are others.
        stamp: What was known of the former files; a training that was begun since has left another one.
    """

    what: str
    stamp: str

    def sentence(self) -> str:
        """What the row of the scene says."""
        return (
            f"Its files are not those that it was trained on: {self.what} changed; --changed-scenes train trains it "
            "anew."
        )


Group = list[tuple[str, int, int]]
"""Names, sizes in bytes and times in nanoseconds of the files of a folder."""


def write_stamp(folder: Path, data: Path) -> None:
    """Write down which files a scene has, before a training reads them; nothing where one cannot be read.

    Their contents are read as well, which the training then finds in the memory of the machine.

    Args:
        folder: The folder of the results of the scene, `scenes/NAME` in that of the batch.
        data: The scene.
    """
    path = folder / FOLDER / STAMP
    with suppress(OSError):
        path.unlink(missing_ok=True)
        groups = _groups_of(data, folder)
        write_json(path, {name: _told(data, name, group) for name, group in groups.items()})


def read_stamp(folder: Path) -> str:
    """What is known of the files of a scene; empty where nothing is."""
    with suppress(OSError, ValueError):
        return (folder / FOLDER / STAMP).read_text("utf8")
    return ""


def forget_stamp(folder: Path) -> None:
    """Let nothing be known of the files of a scene."""
    (folder / FOLDER / STAMP).unlink(missing_ok=True)


def find_change(folder: Path, data: Path) -> Change | None:
    """Compare the files of a scene with those that its training was begun on; None where they are the same.

    The same where nothing is known of the former ones, or the scene cannot be looked into.

    Args:
        folder: The folder of the results of the scene.
        data: The scene.
    """
    text = read_stamp(folder)
    with suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
        known: dict[str, dict[str, str]] = dict(json.loads(text)) if text else {}
        groups = _groups_of(data, folder) if known else {}
        statuses = {name: _status_of(groups[name]) for name in known if name in groups}
        touched = [name for name, status in statuses.items() if known[name]["status"] != status]
        now = {name: _told(data, name, groups[name]) for name in touched if known[name].get(_OTHER) != statuses[name]}
        same = {name: told for name, told in now.items() if told["content"] == known[name]["content"]}
        others = {name: known[name] | {_OTHER: statuses[name]} for name in now if name not in same}
        if now:  # so that their contents are not read again in every call
            with suppress(OSError):
                write_json(folder / FOLDER / STAMP, known | same | others)
        if changed := [as_text(name.rstrip("/")) for name in touched if name not in same]:
            more = f" and {len(changed) - _NUM_SHOWN} more" if len(changed) > _NUM_SHOWN else ""
            return Change(f"{', '.join(changed[:_NUM_SHOWN])}{more}", read_stamp(folder))
    return None


def _groups_of(data: Path, folder: Path) -> Mapping[str, Group]:
    """The files of a scene by their folders, and those in its own folder each for itself: of these some are new.

    The folder of the batch is left out: it may lie beside the file that describes a scene, and is other in every call.
    """
    found: dict[str, Group] = defaultdict(list)
    batch, place = (Path(os.path.realpath(each)) for each in (folder.parents[1], _folder_of(data)))
    results = "".join(f"{part}/" for part in batch.relative_to(place).parts) if batch.is_relative_to(place) else None
    for path, status in files_of_scene(data):
        if results is not None and path.startswith(results):
            continue
        above, slash, name = path.rpartition("/")
        found[f"{above}/" if slash else name].append((name, status.st_size, status.st_mtime_ns))
    return found


def _folder_of(data: Path) -> Path:
    return data if data.is_dir() else data.parent


def _told(data: Path, name: str, group: Group) -> dict[str, str]:
    folder = _folder_of(data)
    paths = (folder / name / each for each, _, _ in group) if name.endswith("/") else (folder / name,)
    return {"status": _status_of(group), "content": _content_of(paths)}


def _status_of(group: Group) -> str:
    return blake2b(repr(group).encode("utf8", errors="surrogateescape"), digest_size=16).hexdigest()


def _content_of(paths: Iterable[Path]) -> str:
    total = blake2b(digest_size=16)
    for path in paths:
        own = blake2b(os.fsencode(path.name), digest_size=16)
        with path.open("rb") as file:
            while block := file.read(_READ_BYTES):
                own.update(block)
        total.update(own.digest())
    return total.hexdigest()
