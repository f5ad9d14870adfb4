"""Which photo a frame is of, whatever its name: what marks follow when photos are renamed, added and removed."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

_PART_BYTES = 32_768
"""At the beginning, in the middle and at the end of a file. Two compressed photos never share the ends and the size;
two that are not compressed may, with a white background, but then differ in the middle."""


class KnownFrame(NamedTuple):
    """A frame as a journal knows it.

    Attributes:
        name: Its name.
        height, width: Its size, pixels.
        file: The fingerprint of its photo; None where that is not known.
    """

    name: str
    height: int
    width: int
    file: str | None = None

    @classmethod
    def of(cls, values: Sequence[Any], file: Any = None) -> "KnownFrame":
        """That of a line of a journal."""
        name, height, width = values
        return cls(name, height, width, file if isinstance(file, str) else None)

    @property
    def place(self) -> tuple[str, int, int]:
        """Name and size, by which frames are found whose photo is not known."""
        return self.name, self.height, self.width

    @property
    def content(self) -> tuple[str | None, int, int]:
        """Photo and size: one photo is another frame at another size, which has marks of its own."""
        return self.file, self.height, self.width


def fingerprint(path: Path) -> str | None:
    """What tells the content of a file from others, by its size and three parts of it; None where it is gone."""
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            found = hashlib.sha256(f"{size} ".encode() + file.read(_PART_BYTES))
            for start in (size // 2 - _PART_BYTES // 2, size - _PART_BYTES):
                file.seek(max(file.tell(), start))
                found.update(file.read(_PART_BYTES))
    except OSError:
        return None
    return found.hexdigest()[:16]


def places_of(known: Sequence[KnownFrame], own: Sequence[KnownFrame]) -> dict[int, int]:
    """Which frame of now each frame of a journal is, by their numbers; those that are gone are left out.

    A photo is found wherever it is, and under any name. Where its file has changed, or several have one content, the
    frame of the same name and size counts, unless that is another photo which the journal knows.
    """
    by_content = {frame.content: number for number, frame in enumerate(own)}
    counts = Counter(frame.content for frame in own)
    known_counts = Counter(frame.content for frame in known)
    places: dict[int, int] = {}
    for number, frame in enumerate(known):
        if frame.file is not None and counts[frame.content] == known_counts[frame.content] == 1:
            places[number] = by_content[frame.content]
    taken = set(places.values())
    by_place = {frame.place: number for number, frame in enumerate(own) if number not in taken}
    for number, frame in enumerate(known):
        if number not in places and frame.place in by_place:
            places[number] = by_place.pop(frame.place)
    return dict(sorted(places.items()))


def have_moved(before: Sequence[str | None], paths: Sequence[Path]) -> bool:
    """Whether a photo has the name now that another one had before, by the fingerprints of before."""
    known: Mapping[str | None, int] = {file: number for number, file in enumerate(before)}
    counts = Counter(before)
    for number, (file, path) in enumerate(zip(before, paths, strict=True)):
        now = fingerprint(path)
        if now is not None and now != file and counts[now] == 1 and known[now] != number:
            return True
    return False
