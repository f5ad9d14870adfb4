"""Locks between processes, which the system frees when their owner ends, however it ends."""

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from semantic_ns.errors import SceneError
from semantic_ns.io.writing import write_errors_as_scene_error

_TAKEN = (errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES)
"""What the systems answer where another process has the lock; they answer otherwise where there can be no locks."""


class LockTakenError(SceneError):
    """Another process has the lock."""


def take_lock(path: Path, refusal: Callable[[str], str]) -> int:
    """Open a lock file, which no other process can open meanwhile.

    Args:
        path: The file; it is made if there is none, in a folder that there is.
        refusal: A function that gives the sentence of the refusal from the number of the process that has the lock.

    Returns:
        The file's descriptor; `os.close` frees the lock, unless a child process has inherited it and runs.

    Raises:
        LockTakenError: if another process has the lock.
        SceneError: if the file cannot be written, or lies where files cannot be locked.
    """
    with write_errors_as_scene_error(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _lock(descriptor)
        with write_errors_as_scene_error(path):
            os.ftruncate(descriptor, 0)
            os.lseek(descriptor, 0, os.SEEK_SET)
            os.write(descriptor, str(os.getpid()).encode())
    except OSError as error:
        owner = _owner(descriptor)
        os.close(descriptor)
        if error.errno in _TAKEN:
            raise LockTakenError(refusal(owner)) from error
        raise SceneError(
            f"Expected a file system on which files can be locked, found that {path} cannot be "
            f"({error.strerror or error}), so nothing would keep a second process out; choose a folder on a local "
            "disk, or have the network file system mounted with locks."
        ) from error
    except SceneError:
        os.close(descriptor)
        raise
    return descriptor


def _owner(descriptor: int) -> str:
    """The number of the process that has the lock; Windows does not let it be read."""
    with suppress(OSError):
        return os.read(descriptor, 32).decode("ascii", "replace").strip() or "unknown"
    return "unknown"


def _lock(descriptor: int) -> None:
    if os.name == "nt":
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # pyright: ignore[reportAttributeAccessIssue]
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
