"""Zip files as tools export them, unpacked into a temporary folder within limits of size and number."""

import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath, PureWindowsPath

from semantic_ns.annotations.records import in_short
from semantic_ns.errors import SceneError

MAX_BYTES = 4 * 2**30
"""Size of all files of an archive, unpacked, that are read."""
MAX_FILES = 200_000
_ANY_DENSITY_BYTES = 256 * 2**20
_MAX_RATIO = 200
_READ = frozenset(
    {".ndjson", ".jsonl", ".json", ".xml", ".txt", ".csv", ".yaml", ".yml", ".names", ".png", ".npy", ".jpg", ".jpeg"}
)
_PHOTOS = frozenset({".jpg", ".jpeg"})
_BROKEN = (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError, ValueError)


def unpack(path: Path) -> "tempfile.TemporaryDirectory[str]":
    """Unpack the annotations of a zip file; photos are left out, of which only empty files are made.

    Returns:
        The temporary folder, which is removed with this object.

    Raises:
        SceneError: if the archive is damaged or encrypted, is larger than `MAX_BYTES` or `MAX_FILES`, or holds a file
            that would be written outside the folder.
    """
    folder = tempfile.TemporaryDirectory(prefix="annotations-", ignore_cleanup_errors=True)
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            _check(members, path)
            for member in members:
                _unpack_one(archive, member, Path(folder.name))
    except SceneError:
        raise
    except _BROKEN as error:
        raise SceneError(
            f"Expected a complete zip file without a password at {path}, found one that cannot be read "
            f"({in_short(str(error))}); export it again."
        ) from error
    return folder


def _check(members: Iterable[zipfile.ZipInfo], path: Path) -> None:
    members = list(members)
    for member in members:
        name = member.filename.replace("\\", "/")
        parts = PurePosixPath(name)
        is_outside = parts.is_absolute() or ".." in parts.parts or PureWindowsPath(name).drive
        if is_outside or stat.S_ISLNK(member.external_attr >> 16) or not name.isprintable():
            raise SceneError(
                f"Expected files inside the archive {path}, found {in_short(member.filename)}, which leads out of it "
                "or is a link; do not use this archive."
            )
    size = sum(member.file_size for member in members if _is_read(member))
    if len(members) > MAX_FILES or size > MAX_BYTES:
        raise SceneError(
            f"Expected at most {MAX_FILES} files and {MAX_BYTES >> 30} GiB in {path}, found {len(members)} files and "
            f"{size >> 20} MiB; unpack it yourself and name the folder."
        )
    packed = sum(member.compress_size for member in members)
    # Zeros pack a thousandfold; annotations of some size do not.
    if size > max(_ANY_DENSITY_BYTES, _MAX_RATIO * packed):
        raise SceneError(
            f"Expected an archive of usual density at {path}, found {size >> 20} MiB packed into {packed} bytes; do "
            "not use this archive."
        )


def _is_read(member: zipfile.ZipInfo) -> bool:
    suffix = PurePosixPath(member.filename).suffix.lower()
    return suffix in _READ and suffix not in _PHOTOS


def _unpack_one(archive: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path) -> None:
    relative = PurePosixPath(member.filename.replace("\\", "/"))
    if relative.suffix.lower() not in _READ:
        return
    target = folder / relative
    target.parent.mkdir(parents=True, exist_ok=True)
    if not _is_read(member):
        target.touch()
        return
    # The reader of zipfile stops at the size that the archive states, so that the check of the sum holds.
    with archive.open(member) as source, target.open("wb") as copy:
        shutil.copyfileobj(source, copy)
