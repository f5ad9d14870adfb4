"""Locks between processes, which the system frees when their owner ends, however it ends."""

import errno
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from semantic_ns.errors import SceneError
from semantic_ns.io.writing import write_errors_as_scene_error

_TAKEN = (errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES)
"""What the systems answer where another process has the lock; they answer otherwise where there can be no locks."""

_MOST_BYTES = 500


class LockTakenError(SceneError):
    """Another process has the lock."""


def take_lock(path: Path, refusal: Callable[[str], str]) -> int:
    """Open a lock file, which no other process can open meanwhile.

    Args:
        path: The file; it is made if there is none, in a folder that there is.
        refusal: A function that gives the sentence of the refusal from what is told of the process that has the lock,
            such as `4711 on node3 since 2026-01-31 20:15:00+01:00`.

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
            os.write(descriptor, _told_of_this_process().encode())
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


@contextmanager
def locked_folder(folder: Path, name: str, refusal: Callable[[str], str]) -> Iterator[int]:
    """Make a folder in which no other process works meanwhile; gives the descriptor of its lock.

    Args:
        folder: The folder.
        name: The name of the lock file in it.
        refusal: See `take_lock`.

    Raises:
        LockTakenError: if another process works there.
        SceneError: if the folder cannot be written, or lies where files cannot be locked.
    """
    with write_errors_as_scene_error(folder):
        folder.mkdir(parents=True, exist_ok=True)
    lock = take_lock(folder / name, refusal)
    try:
        yield lock
    finally:
        os.close(lock)


def _told_of_this_process() -> str:
    """Its number, with the machine: on a shared file system it may be another than the one that is refused."""
    since = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    return f"{os.getpid()} on {socket.gethostname()} since {since}"


def _owner(descriptor: int) -> str:
    """What is told of the process that has the lock; Windows does not let it be read."""
    with suppress(OSError):
        return os.read(descriptor, _MOST_BYTES).decode("utf8", "replace").strip() or "unknown"
    return "unknown"


def _lock(descriptor: int) -> None:
    if os.name == "nt":
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # pyright: ignore[reportAttributeAccessIssue]
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
