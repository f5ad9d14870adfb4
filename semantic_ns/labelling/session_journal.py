"""The journal of a session, which keeps its marks where frames of the scene are added, removed or in another order.

Frames have numbers of their own in a journal: those of its first line, and further ones for frames that came later, in
lines of the kind `frames`. A mark belongs to the photo that it was made on, by the content of the file, and where that
is not known or has changed, to the frame of the same name and size, see `frame_files.places_of`. One on a frame that is
gone stays in the journal, and counts again when the frame is back.
"""

import hashlib
import json
import re
import secrets
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from semantic_ns.errors import SceneError
from semantic_ns.io.console import announce
from semantic_ns.labelling.actions import MARK_ELSEWHERE
from semantic_ns.labelling.frame_files import KnownFrame, fingerprint, places_of
from semantic_ns.labelling.frame_looks import difference, looks_of
from semantic_ns.labelling.import_frames import reframed
from semantic_ns.labelling.journal import Journal
from semantic_ns.labelling.state import KINDS
from semantic_ns.labelling.surface import LabelSurface
from semantic_ns.labels.class_table import ClassTable

_VERSION = 1
_FRAMES = "frames"
"""Kind of the lines, which are no actions, that number further frames."""
_LARGEST_DIFFERENCE = 10.0
"""Of brightness 0..255, up to which pictures count as those of one scene: copies differ by little, scenes by dozens."""
_NUM_NAMED = 3

_Numbers = Mapping[int, int]


class SessionJournal:
    """An open journal of the marks on a surface; entries have the numbers of its frames.

    Args:
        path: The file; it is made if there is none.
        surface: The surface.
        table: A class table, or something else; if the scene has no classes, the table says which id means void.

    Attributes:
        header: The first line, see `journal_header`.
        identity: What tells the journal from all others, one that took its place among them.
        entries: The actions of before.
        numbers: The number in the journal of each frame of the surface, which stays whatever becomes of the others.
        changed: The frames of the surface whose photo has another content than when the journal was open last.

    Raises:
        SceneError: if it is of another scene or version, damaged, or another session has it open.
        JournalWriteError: if it cannot be written.
    """

    def __init__(self, path: Path, surface: LabelSurface, table: object = None) -> None:
        own = frames_of(surface)
        self._journal = Journal(path, journal_header(surface, table, own))
        try:
            self.header = self._journal.header
            self._refuse_other_version()
            self._known = self._known_frames()
            self._to_surface = places_of(self._known, own)
            self._refuse_other_scene(surface, len(own))
            placed = set(self._to_surface.values())
            added = [number for number in range(len(own)) if number not in placed]
            self.changed = {
                place
                for number, place in self._to_surface.items()
                if self._known[number].file not in {None, own[place].file}
            }
            self._renamed = [
                (self._known[number].name, own[place].name)
                for number, place in self._to_surface.items()
                if self._known[number].name != own[place].name
            ]
            self._note(own, added)
            self._to_journal = {place: number for number, place in self._to_surface.items()}
            self._to_journal |= {place: number for number, place in enumerate(added, len(self._known))}
            self.numbers = [self._to_journal[place] for place in range(len(own))]
            self._num_at_first = len(self.header["frames"])
            self.entries = [*self._read()]
            if added:
                named = _named([own[place].name for place in added])
                announce("labelling", f"{len(added)} frames are new in {self.path}, such as {named}")
        except BaseException:
            self._journal.close()
            raise

    def _known_frames(self) -> list[KnownFrame]:
        """The frames in the order of their numbers, as they were last: lines of the kind `frames` may change them."""
        lines = [self.header, *(one for one in self._journal.entries if one.get("kind") == _FRAMES)]
        known: list[KnownFrame] = []
        for line in lines:
            files = line.get("files") or [None] * len(line["frames"])
            known += map(KnownFrame.of, line["frames"], files)
            for number, (values, file) in line.get("now", {}).items():
                known[int(number)] = KnownFrame.of(values, file)
        return known

    def _note(self, own: Sequence[KnownFrame], added: Sequence[int]) -> None:
        """Write down which frames are new, and what is known of others now: the next start finds them by that."""
        now = {
            str(number): [[*own[place].place], own[place].file]
            for number, place in self._to_surface.items()
            if own[place] != self._known[number] and own[place].file is not None
        }
        if added or now:
            files = [own[place].file for place in added]
            line = {"kind": _FRAMES, "frames": [[*own[place].place] for place in added], "files": files}
            self._journal.append({**line, "now": now} if now else line)

    def name_of(self, number: int) -> str:
        """The name that a frame had last, by its number in the journal."""
        return self._known[number].name if number < len(self._known) else "a new one"

    def told(self, elsewhere: Iterable[int], marked: Iterable[int], names: Sequence[str]) -> list[str]:
        """What people are to know of marks since photos were renamed, replaced or removed, in one sentence each.

        Args:
            elsewhere: The number in the journal of the frame of each mark in force that has no frame now.
            marked: The frames with marks in force.
            names: The names of the frames.
        """
        counts = Counter(self.name_of(number) for number in elsewhere)
        sentences = []
        if counts:
            on = ", ".join(f"{name}: {count}" for name, count in counts.most_common(_NUM_NAMED))
            sentences.append(
                "Marks on photos that the scene no longer has are kept without effect, and count again when the photos "
                f"are back: {counts.total()} in all ({on}{_rest(len(counts))})."
            )
        if self._renamed:
            on = ", ".join(f"{before} is now {now}" for before, now in self._renamed[:_NUM_NAMED])
            sentences.append(f"Marks have followed photos to their new names ({on}{_rest(len(self._renamed))}).")
        changed = [names[place] for place in marked if place in self.changed]
        if changed:
            sentences.append(
                f"The files of photos with marks have changed ({_named(changed)}{_rest(len(changed))}); check that the "
                "marks still fit."
            )
        return sentences

    @property
    def identity(self) -> str:
        """What tells the journal from all others, and from one that took its place."""
        text = json.dumps(self.header, sort_keys=True)  # of a version that gave it no name
        found = self.header.get("id")
        if isinstance(found, str) and re.fullmatch("[0-9a-f]{16}", found):
            return found
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def path(self) -> Path:
        """The file."""
        return self._journal.path

    def append(self, values: Mapping[str, Any]) -> None:
        """Write an action and wait until it is on the disk, see `Journal.append`."""
        if values["kind"] == "mark":
            values = _with_frames(values, self._to_journal)
        elif values["kind"] == "import":
            values = {**values, "frames": [self._to_journal[number] for number in range(len(self._to_journal))]}
        self._journal.append(values)

    def close(self) -> None:
        """Let others open it; closing twice does no harm."""
        self._journal.close()

    def _read(self) -> Iterator[dict[str, Any]]:
        for number, values in enumerate(self._journal.entries, 2):
            kind = values.get("kind")
            if kind == _FRAMES:
                continue
            if kind not in KINDS:
                raise SceneError(
                    f"Expected an action that this version of the package knows at line {number} of {self.path}, found "
                    f"one of the kind {kind!r:.60}; open it with the version that wrote it, or a newer one."
                )
            if kind == "mark":
                yield _with_frames(values, self._to_surface)
            elif kind == "import":
                yield self._with_images(values)
            else:
                yield values

    def _with_images(self, values: dict[str, Any]) -> dict[str, Any]:
        """An import whose kept images are in the order of the frames of now."""
        of_images = values.get("frames", range(self._num_at_first))
        places = {self._to_surface[known]: place for place, known in enumerate(of_images) if known in self._to_surface}
        order = [places.get(number, -1) for number in range(len(self._to_journal))]
        if order == [*range(len(of_images))]:
            return values
        return {**values, "checksum": reframed(self.path.parent, values["checksum"], order)}

    def _refuse_other_version(self) -> None:
        if self.header.get("version") != _VERSION:
            raise SceneError(
                f"Expected a journal of version {_VERSION} at {self.path}, found {self.header.get('version')!r}; open "
                "it with the version of this package that wrote it."
            )

    def _refuse_other_scene(self, surface: LabelSurface, num_own: int) -> None:
        """Check that a journal has frames of a surface, which look as they did."""
        if not self._to_surface:
            raise SceneError(
                f"Expected a journal of the {num_own} frames of {surface.scene}, found one of {len(self._known)} "
                f"others at {self.path}; choose another folder for it."
            )
        is_undistorted = _is_undistorted(surface)
        if self.header.get("is_undistorted", is_undistorted) != is_undistorted:
            pictures = ("the photos", "pictures without the distortion of a lens")
            raise SceneError(
                f"Expected marks on {pictures[is_undistorted]}, found those in {self.path} on "
                f"{pictures[not is_undistorted]}, whose pixels lie elsewhere; choose another --output-dir for this run."
            )
        at_first = [KnownFrame.of(one) for one in self.header["frames"]]
        followed = [
            replace(surface.frames[self._to_surface[number]], name=frame.name)
            for number, frame in enumerate(at_first)
            if number in self._to_surface
        ]
        found = difference(self.header.get("looks", {}), followed)
        is_alike = None if found is None else found <= _LARGEST_DIFFERENCE
        is_same_place = self.header.get("scene") == str(surface.scene)
        if is_alike is False and not is_same_place:
            raise SceneError(
                f"Expected a journal of the pictures in {surface.scene}, found one of others with the same names, in "
                f"{self.header.get('scene')}, at {self.path}; choose another --output-dir for it."
            )
        if is_alike is False:
            announce("labelling", f"the pictures of {surface.scene} differ from those that were marked in {self.path}")
        elif is_alike is None and not is_same_place:
            announce(
                "labelling",
                f"{self.path} is of {self.header.get('scene')}; go on only if {surface.scene} has the same photos, for "
                "the journal does not say how they look",
            )


def journal_header(
    surface: LabelSurface, table: object = None, own: Sequence[KnownFrame] | None = None
) -> dict[str, Any]:
    """What a new journal of a surface is of.

    Args:
        surface: The surface.
        table: A class table, or something else; if the scene has no classes, the table says which id means void.
        own: Its frames; None to read their photos.
    """
    own = frames_of(surface) if own is None else own
    void_id = surface.void_id
    if isinstance(table, ClassTable) and table.has_given_ids and not surface.classes:
        void_id = void_id if void_id in table.void_ids else min(table.void_ids, default=void_id)
    return {
        "version": _VERSION,
        "id": secrets.token_hex(8),
        "scene": str(surface.scene),
        "frames": [[*frame.place] for frame in own],
        "files": [frame.file for frame in own],
        "classes": [[entry.id, entry.name, list(entry.color)] for entry in surface.classes],
        "void_id": void_id,
        "looks": looks_of(surface.frames),
        "is_undistorted": _is_undistorted(surface),
    }


def tell_other_classes(header: Mapping[str, Any], surface: LabelSurface) -> None:
    """Tell where the classes of a scene are others than when its journal was begun, whose ids exports carry."""
    before = {number: name for number, name, _ in header["classes"]}
    now = {entry.id: entry.name for entry in surface.classes}
    differing = sorted(number for number in before.keys() | now.keys() if before.get(number) != now.get(number))
    if differing:
        pairs = [f"{number} ({before.get(number, 'none')}, now {now.get(number, 'none')})" for number in differing]
        shown = ", ".join(pairs[:_NUM_NAMED])
        announce(
            "labelling",
            f"the classes of {surface.scene} have changed since the marks were begun, such as {shown}; the session "
            "keeps those of then, and its exports name them",
        )


def _is_undistorted(surface: LabelSurface) -> bool:
    return any(info.bent is not None for info in surface.frames)


def frames_of(surface: LabelSurface) -> list[KnownFrame]:
    """The frames of a surface as a journal knows them."""
    return [KnownFrame(info.name, info.height, info.width, fingerprint(info.photo)) for info in surface.frames]


def _named(names: Sequence[str]) -> str:
    return ", ".join(names[:_NUM_NAMED])


def _rest(count: int) -> str:
    return f" and {count - _NUM_NAMED} more" if count > _NUM_NAMED else ""


def _with_frames(values: Mapping[str, Any], numbers: _Numbers) -> dict[str, Any]:
    """A mark with other numbers of its frames; `MARK_ELSEWHERE` where none of them has one."""
    mark = values["mark"]
    shape, pixels = mark["shape"], values.get("pixels")
    if shape["kind"] == "masks":  # on several frames, by their numbers
        runs = _renumbered(shape["runs"], numbers)
        frame = numbers.get(mark["frame"], next((int(number) for number in runs), None))
        shape = {**shape, "runs": runs}
    else:
        frame = numbers.get(mark["frame"])
    if frame is None:
        return {**values, "kind": MARK_ELSEWHERE}
    changed = {**values, "mark": {**mark, "frame": frame, "shape": shape}}
    return changed | {"pixels": _renumbered(pixels, numbers)} if isinstance(pixels, Mapping) else changed


def _renumbered(of_frames: Mapping[str, Any], numbers: _Numbers) -> dict[str, Any]:
    return {str(numbers[int(frame)]): value for frame, value in of_frames.items() if int(frame) in numbers}
