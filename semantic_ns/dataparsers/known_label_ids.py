"""The ids in the label images of a scene, remembered between runs: reading all of them takes long in a large one."""

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from semantic_ns.io.user_cache import user_cache
from semantic_ns.io.writing import write_text

_VERSION = 1
_WORTHWHILE_PIXELS = 1 << 24
"""Fewer are read anew in less than a second."""
_RECENT_NS = 2_000_000_000
"""A file that changed so lately may change again without another time of modification."""


class IdsInImage(NamedTuple):
    """The ids in a label image, and its size (width, height)."""

    ids: frozenset[int]
    size: tuple[int, int]


class KnownLabelIds:
    """What was found in label images by an earlier reading; an image that has changed since is not known.

    It lies in `label_ids` in the user's cache, in one file for each scene, and may be removed at any time.

    Args:
        paths: the label images of a scene.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = list(dict.fromkeys(path.absolute() for path in paths))
        listed = "\n".join(map(str, self._paths))
        name = hashlib.sha256(listed.encode("utf8", "surrogateescape")).hexdigest()[:32]
        self._path = user_cache() / "semantic_ns" / "label_ids" / f"{name}.json"
        self._entries: dict[Path, tuple[tuple[int, int], IdsInImage]] = {}
        with suppress(OSError, ValueError, TypeError, KeyError):
            self._entries = dict(zip(self._paths, self._loaded(), strict=True))

    def _loaded(self) -> list[tuple[tuple[int, int], IdsInImage]]:
        content = json.loads(self._path.read_text("utf8"))
        if content["version"] != _VERSION:
            return []
        return [
            ((int(length), int(modified)), IdsInImage(frozenset(map(int, ids)), (int(width), int(height))))
            for length, modified, width, height, ids in content["images"]
        ]

    def find(self, path: Path) -> IdsInImage | None:
        """What is known of an image; None if it is not known, or no longer there."""
        entry = self._entries.get(path.absolute())
        if entry is None:
            return None
        try:
            return entry[1] if _state_of(path) == entry[0] else None
        except OSError:
            return None

    def remember(self, found: dict[Path, IdsInImage], began_ns: int) -> None:
        """Keep what was found in all images, if reading them is worth being spared and they are not being written.

        Args:
            found: what each image holds.
            began_ns: when reading began, in nanoseconds as `time.time_ns` gives them.
        """
        if sum(width * height for _, (width, height) in found.values()) < _WORTHWHILE_PIXELS:
            return
        by_path = {path.absolute(): one for path, one in found.items()}
        images = []
        with suppress(OSError):  # what cannot be kept is read again
            for path in self._paths:
                length, modified = _state_of(path)
                if modified > began_ns - _RECENT_NS:
                    return
                ids, (width, height) = by_path[path]
                images.append([length, modified, width, height, sorted(ids)])
            write_text(self._path, json.dumps({"version": _VERSION, "images": images}, separators=(",", ":")))


def _state_of(path: Path) -> tuple[int, int]:
    """Length and time of modification of a file."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns
