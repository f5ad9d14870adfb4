"""The files of a scene, by which it is told whether it is the same as before, or as another one."""

import os
from collections.abc import Iterator
from pathlib import Path


def files_of_scene(data: Path) -> Iterator[tuple[str, os.stat_result]]:
    """The path of each file of a scene, relative to its folder and with slashes, and what the system says of it.

    Hidden files and folders are left out, and links that lead nowhere; links to folders are followed, each folder once.

    Args:
        data: The folder of the scene, or a file in it that describes it.

    Raises:
        OSError: The folder cannot be read.
    """
    folder = data if data.is_dir() else data.parent
    yield from _files_in(folder, "", {os.path.realpath(folder)})


def _files_in(folder: Path, before: str, known: set[str]) -> Iterator[tuple[str, os.stat_result]]:
    with os.scandir(folder) as entries:
        found = sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)
    for entry in found:
        if entry.is_dir():
            real = os.path.realpath(entry.path)
            if real not in known:
                yield from _files_in(Path(entry.path), f"{before}{entry.name}/", known | {real})
        elif entry.is_file():
            yield f"{before}{entry.name}", entry.stat()
