"""Where files are kept that were computed once and can be computed again."""

import os
import tempfile
from functools import cache
from pathlib import Path


def user_cache() -> Path:
    """The user's cache: `$XDG_CACHE_HOME`, or `~/.cache`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def user_cache_folder(name: str) -> Path:
    """The folder `semantic_ns/name` in the user's cache, made if need be.

    Where it cannot be written, a temporary folder that goes with this process.
    """
    folder = user_cache() / "semantic_ns" / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return _temporary_folder(name)
    return folder if os.access(folder, os.W_OK) else _temporary_folder(name)


def _temporary_folder(name: str) -> Path:
    folder = Path(_temporary().name) / name
    folder.mkdir(exist_ok=True)
    return folder


@cache
def _temporary() -> "tempfile.TemporaryDirectory[str]":
    # Kept until the process ends, which removes it.
    return tempfile.TemporaryDirectory(prefix="semantic_ns-")
