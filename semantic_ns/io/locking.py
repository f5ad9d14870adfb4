"""Locks between processes, which the system frees when their owner ends, however it ends."""

import os
from collections.abc import Callable
from pathlib import Path

from semantic_ns.errors import SceneError
from semantic_ns.io.writing import write_errors_as_scene_error


def take_lock(path: Path, refusal: Callable[[str], str]) -> int:
    """Open a lock file, which no other process can open meanwhile.

    Args:
        path: The file; it is made if there is none, in a folder that there is.
        refusal: A function that gives the sentence of the refusal from the number of the process that has the lock.

    Returns:
        The file's descriptor; `os.close` frees the lock, unless a child process has inherited it and runs.

    Raises:
        SceneError: if another process has the lock, or the file cannot be written.
    """
    with write_errors_as_scene_error(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _lock(descriptor)
    except OSError as error:
        owner = os.read(descriptor, 32).decode("ascii", "replace").strip() or "unknown"
        os.close(descriptor)
        raise SceneError(refusal(owner)) from error
    os.ftruncate(descriptor, 0)
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.write(descriptor, str(os.getpid()).encode())
    return descriptor


def _lock(descriptor: int) -> None:
    if os.name == "nt":
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # pyright: ignore[reportAttributeAccessIssue]
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
