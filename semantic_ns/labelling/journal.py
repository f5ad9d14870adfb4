"""A file to which actions are appended, each one safe on the disk before it is answered.

The first line says what the journal is of, and each further line holds one action: `{"crc32": number, "entry": {...}}`
with the check sum of the entry as it stands in the line. A line that a crash has cut off was never answered, and is
dropped.
"""

import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from semantic_ns.errors import SceneError
from semantic_ns.io.console import announce
from semantic_ns.io.locking import take_lock
from semantic_ns.io.writing import flush_to_disk, write_errors_as_scene_error

LOCK_SUFFIX = ".lock"


class JournalWriteError(SceneError):
    """The journal cannot be written, for example because the disk is full; the action is not taken."""


class Journal:
    """An open journal, which no other process can open meanwhile.

    Args:
        path: The file; it is made if there is none.
        header: What a new journal is of.

    Attributes:
        header: What the journal is of: as given, or as an existing one says.
        entries: The actions of before.

    Raises:
        SceneError: if another session has it open, or a line other than the last is damaged.
        JournalWriteError: if it cannot be written.
    """

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        self.path = path
        with write_errors_as_scene_error(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.with_name(path.name + LOCK_SUFFIX)
        self._lock: int | None = take_lock(
            lock,
            lambda owner: (
                f"Expected a journal that nobody else has open, found that process {owner} is labelling with "
                f"it ({lock}); open the page of that one, or end it first."
            ),
        )
        try:
            lines, self._size = _whole_lines(path)
            with write_errors_as_scene_error(path):
                self._file: BinaryIO = path.open("r+b" if path.exists() else "x+b", buffering=0)
                self._file.truncate(self._size)
            if not lines:
                self.append(header)
                with write_errors_as_scene_error(path):
                    flush_to_disk(path.parent)
                lines = [dict(header)]
            self.header, self.entries = lines[0], lines[1:]
        except BaseException:
            self._release_lock()
            raise

    def append(self, entry: Mapping[str, Any]) -> None:
        """Write an action and wait until it is on the disk.

        Raises:
            JournalWriteError: if it cannot be written, or the journal was closed; the file is then as it was before.
        """
        if self._file.closed:
            raise JournalWriteError(
                "Expected an action of a session that is open, found that it has ended; start sns-label again, and "
                "the page sends it once more."
            )
        text = _as_text(entry)
        line = f'{{"crc32": {zlib.crc32(text.encode("utf8"))}, "entry": {text}}}\n'.encode()
        try:
            self._file.seek(self._size)
            written = self._file.write(line)
            if written != len(line):
                raise OSError(28, "No space left on device")
            os.fsync(self._file.fileno())
        except OSError as error:
            self._file.truncate(self._size)
            raise JournalWriteError(
                f"Expected to write an action to {self.path}, found that it cannot be written "
                f"({error.strerror or error}); make room, and send the action again."
            ) from error
        self._size += len(line)

    def close(self) -> None:
        """Let others open it; closing twice does no harm."""
        self._file.close()
        self._release_lock()

    def _release_lock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _as_text(entry: Mapping[str, Any]) -> str:
    return json.dumps(entry, allow_nan=False, separators=(",", ":"))


def _whole_lines(path: Path) -> tuple[list[dict[str, Any]], int]:
    """The entries of all lines that are whole, and their bytes."""
    if not path.exists():
        return [], 0
    content = _read(path)
    entries: list[dict[str, Any]] = []
    size = 0
    lines = content.split(b"\n")
    for number, line in enumerate(lines[:-1], 1):
        entry = _entry_of(line)
        if entry is None:
            if number < len(lines) - 1 or lines[-1]:
                raise SceneError(
                    f"Expected an action with its check sum at line {number} of {path}, found a damaged line before "
                    "others that may be whole; put a copy of the file back, or remove it from there on."
                )
            break
        entries.append(entry)
        size += len(line) + 1
    if size < len(content):
        announce(
            "labelling",
            f"the last line of {path} is cut off after {len(content) - size} bytes, by a crash while it was written, "
            "and is dropped; nothing that was answered is lost",
        )
    return entries, size


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SceneError(f"Expected a journal at {path}, found '{error.strerror}'; check its rights.") from error


def _entry_of(line: bytes) -> dict[str, Any] | None:
    try:
        values = json.loads(line.decode("utf8"))
        entry, number = values["entry"], values["crc32"]
        is_whole = isinstance(entry, dict) and zlib.crc32(_as_text(entry).encode("utf8")) == number
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return entry if is_whole else None
