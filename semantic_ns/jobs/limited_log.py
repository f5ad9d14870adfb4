"""A log of limited size: of what is too much the middle is left out, and the log says how much that was."""

import os
import re
import threading
from contextlib import suppress
from pathlib import Path

MOST_BYTES = 16 * 2**20
"""Size of a log by default."""
_LEAST_BYTES = 2**12
_KEPT_SHARE = 4
_READ_BYTES = 2**16
_LEFT_OUT = re.compile(rb"\n\[(\d+) bytes were left out here: the log has reached its limit of \d+ bytes\]\n")


class LimitedLog:
    """Appends to a file until it is as large as it may be, and then leaves out of its middle.

    The first quarter of the limit and the last one are kept at least, the beginning of the file as it was once written.
    What is written lies in the file at once, so that it can be followed, and is all there after a kill.

    Args:
        path: The file; it is made if there is none.
        most_bytes: The limit; some thousand bytes are always kept.

    Raises:
        OSError: The file cannot be written.
    """

    def __init__(self, path: Path, most_bytes: int = MOST_BYTES) -> None:
        self._file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b", buffering=0)
        self._most = max(most_bytes, _LEAST_BYTES)
        self._kept = self._most // _KEPT_SHARE
        self._size = self._file.seek(0, os.SEEK_END)
        self.start = self._size
        """Where in the file what is written by this object begins, or what is left of it."""
        self._is_ended = False

    def write(self, content: bytes) -> None:
        """Append; what cannot be written, as where the disk is full, is lost, and so is what comes after the end."""
        if self._is_ended:
            return
        with suppress(OSError):
            self._size = self._file.seek(0, os.SEEK_END)  # someone may have emptied the file
            written = 0
            while written < len(content):
                written += self._file.write(content[written:])
                self._size = self._file.tell()
            if self._size > self._most:
                self._leave_out()

    def end(self) -> None:
        """Write nothing more: the file may be another's from now on. Waits for nothing, not even for a disk."""
        self._is_ended = True

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _leave_out(self) -> None:
        """Put the last quarter of the limit where its first quarter ends, with a line between them."""
        self._file.seek(self._kept)
        before = _LEFT_OUT.match(self._file.read(len(_line(2**63, self._most))))
        begin = self._size - self._kept
        self._file.seek(begin)
        end = self._file.read(self._kept)
        already, known = (int(before[1]), len(before[0])) if before else (0, 0)
        line = _line(already + begin - self._kept - known, self._most)
        # The end first, in its new place, and only then the rest is cut off: a kill in between loses nothing.
        self._file.seek(self._kept)
        self._file.write(line + end)
        self._size = self._file.truncate(self._kept + len(line) + len(end))
        self.start = max(self.start - begin, 0) + self._kept + len(line) if self.start > self._kept else self.start


def _line(left_out: int, most: int) -> bytes:
    return f"\n[{left_out} bytes were left out here: the log has reached its limit of {most} bytes]\n".encode()


def follow(source: int, log: LimitedLog) -> threading.Thread:
    """Write all that comes from a descriptor into a log, in a thread that ends, and closes both, when no more can come.

    Of no use after the end of this process: a disk that hangs does not keep it.
    """

    def copy() -> None:
        try:
            while content := os.read(source, _READ_BYTES):
                log.write(content)
        finally:
            os.close(source)
            log.close()

    thread = threading.Thread(target=copy, daemon=True)
    thread.start()
    return thread
