"""Files that are written whole or not at all."""

import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from numpy import ndarray
from PIL import Image

from semantic_ns.errors import SceneError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; what was written there takes the name `path` when the block ends well.

    A reader finds the old content or the new, even after a crash of the machine. A block that raises leaves the old
    file as it was, and no temporary file. Folders are made as needed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        # Before it is renamed: else a crash can leave the new name with no content.
        flush_to_disk(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def flush_to_disk(path: Path) -> None:
    """Wait until the content of a file, or the list of files of a folder, is on the disk."""
    if os.name == "nt" and path.is_dir():
        return  # Windows has no handle for a folder
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_png(path: Path, image: ndarray) -> None:
    """Write an image as PNG: uint8 [H, W], uint16 [H, W] or uint8 [H, W, 3]."""
    with replacing(path) as temporary:
        Image.fromarray(image).save(temporary, format="PNG")


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8."""
    with replacing(path) as temporary:
        temporary.write_text(text, "utf8")


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a dictionary as indented JSON in UTF-8; NaN is refused, since JSON has none.

    A path whose bytes are no UTF-8 is read back as it was.
    """
    text = json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False)
    # Python reads such bytes as lone surrogates, which UTF-8 has none of and JSON writes as escapes.
    write_text(path, re.sub("[\ud800-\udfff]", lambda found: f"\\u{ord(found[0]):04x}", text) + "\n")


@contextmanager
def write_errors_as_scene_error(place: Path) -> Iterator[None]:
    """Turn what a full disk or missing rights raise inside into a SceneError that names the file or folder."""
    try:
        yield
    except OSError as error:
        raise SceneError(
            f"Expected to write to {place}, found that it cannot be written ({error.strerror or error}); make room, "
            "change its rights or choose another place."
        ) from error


def refuse_used_folder(folder: Path, option: str, is_replaced: bool = False) -> None:
    """Refuse a folder that holds anything, so that no file of the user is ever replaced.

    Args:
        folder: The folder that is about to be written to.
        option: The option of the command line that names it.
        is_replaced: Whether `making_folder` will make it, for which an empty one must be replaced.

    Raises:
        SceneError: if it is a file or a folder with something in it, or cannot be replaced.
    """
    place = folder.resolve()
    if is_replaced and place.is_dir() and (place.is_mount() or place == Path.cwd()):
        what = "the root of a file system" if place.is_mount() else "the folder in which the command runs"
        raise SceneError(
            f"Expected a folder that appears when it is complete, found {what} at {place}; choose a new folder in it "
            f"for {option}."
        )
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if folder.exists():
        raise SceneError(
            f"Expected a new or an empty folder, found something at {folder}; remove it or choose another {option}."
        )


@contextmanager
def making_folder(folder: Path) -> Iterator[Path]:
    """Give a temporary folder beside `folder`, which takes its name when the block ends well; else nothing is left.

    Where `folder` is a link, the folder is made that it leads to.

    Raises:
        SceneError: if the folder cannot be written.
    """
    folder = folder.resolve()
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        with write_errors_as_scene_error(folder):
            temporary.mkdir(parents=True)
            yield temporary
            if folder.exists():
                folder.rmdir()  # an empty one
            os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def refuse_inside(folder: Path, kept: Sequence[Path], option: str) -> None:
    """Refuse a folder inside one of the input.

    Args:
        folder: The folder that is about to be written to.
        kept: Folders and files of the input.
        option: The option of the command line that names the folder.

    Raises:
        SceneError: if it lies in one of them.
    """
    for place in kept:
        if folder.resolve().is_relative_to(place.resolve()):
            raise SceneError(
                f"Expected an output folder outside the scene, found {folder} in {place}; choose another {option}."
            )
