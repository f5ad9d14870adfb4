"""The journal of a session, which keeps its marks where frames of the scene are added, removed or in another order.

Frames have numbers of their own in a journal: those of its first line, and further ones for frames that came later, in
lines of the kind `frames`. A mark belongs to the frame of the same name and size. One on a frame that is gone stays in
the journal, and counts again when the frame is back.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from semantic_ns.errors import SceneError
from semantic_ns.io.console import announce
from semantic_ns.labelling.frame_looks import difference, looks_of
from semantic_ns.labelling.import_frames import reframed
from semantic_ns.labelling.journal import Journal
from semantic_ns.labelling.state import KINDS, MARK_ELSEWHERE
from semantic_ns.labelling.surface import LabelSurface
from semantic_ns.labels.class_table import ClassTable

_VERSION = 1
_FRAMES = "frames"
"""Kind of the lines, which are no actions, that number further frames."""
_LARGEST_DIFFERENCE = 10.0
"""Of brightness 0..255, up to which pictures count as those of one scene: copies differ by little, scenes by dozens."""
_NUM_NAMED = 3

_Frame = tuple[str, int, int]
"""Name, height and width."""
_Numbers = Mapping[int, int]


class SessionJournal:
    """An open journal of the marks on a surface; entries have the numbers of its frames.

    Args:
        path: The file; it is made if there is none.
        surface: The surface.
        table: A class table, or something else; if the scene has no classes, the table says which id means void.

    Attributes:
        header: The first line, see `journal_header`.
        entries: The actions of before.

    Raises:
        SceneError: if it is of another scene or version, damaged, or another session has it open.
        JournalWriteError: if it cannot be written.
    """

    def __init__(self, path: Path, surface: LabelSurface, table: object = None) -> None:
        self._journal = Journal(path, journal_header(surface, table))
        try:
            self.header = self._journal.header
            self._refuse_other_version()
            frames = [_frame(one) for one in self.header["frames"]]
            for values in self._journal.entries:
                frames += map(_frame, values["frames"]) if values.get("kind") == _FRAMES else []
            own = {_frame(one): number for number, one in enumerate(_frames_of(surface))}
            self._refuse_other_scene(surface, set(frames), set(own))
            self._to_surface = {number: own[frame] for number, frame in enumerate(frames) if frame in own}
            added = [frame for frame in own if frame not in set(frames)]
            if added:
                self._journal.append({"kind": _FRAMES, "frames": [list(frame) for frame in added]})
            self._to_journal = {number: known for known, number in self._to_surface.items()}
            self._to_journal |= {own[frame]: number for number, frame in enumerate(added, len(frames))}
            self._num_at_first = len(self.header["frames"])
            self.entries = [*self._read()]
            self._tell(frames, added)
        except BaseException:
            self._journal.close()
            raise

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

    def _refuse_other_scene(self, surface: LabelSurface, frames: set[_Frame], own: set[_Frame]) -> None:
        """Check that a journal has frames of a surface, which look as they did."""
        if not frames & own:
            raise SceneError(
                f"Expected a journal of the {len(own)} frames of {surface.scene}, found one of {len(frames)} others at "
                f"{self.path}; choose another folder for it."
            )
        is_undistorted = _is_undistorted(surface)
        if self.header.get("is_undistorted", is_undistorted) != is_undistorted:
            pictures = ("the photos", "pictures without the distortion of a lens")
            raise SceneError(
                f"Expected marks on {pictures[is_undistorted]}, found those in {self.path} on "
                f"{pictures[not is_undistorted]}, whose pixels lie elsewhere; choose another --output-dir for this run."
            )
        found = difference(self.header.get("looks", {}), surface.frames)
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

    def _tell(self, frames: Sequence[_Frame], added: Sequence[_Frame]) -> None:
        gone = [frame for number, frame in enumerate(frames) if number not in self._to_surface]
        num_marks = sum(values["kind"] == MARK_ELSEWHERE for values in self.entries)
        if gone and num_marks:
            announce(
                "labelling",
                f"{num_marks} marks of {self.path} are on frames that there are not any more, such as {_named(gone)}; "
                "they are kept, and do not count",
            )
        if added:
            announce("labelling", f"{len(added)} frames are new in {self.path}, such as {_named(added)}")


def journal_header(surface: LabelSurface, table: object = None) -> dict[str, Any]:
    """What a new journal of a surface is of.

    Args:
        surface: The surface.
        table: A class table, or something else; if the scene has no classes, the table says which id means void.
    """
    void_id = surface.void_id
    if isinstance(table, ClassTable) and table.has_given_ids and not surface.classes:
        void_id = void_id if void_id in table.void_ids else min(table.void_ids, default=void_id)
    return {
        "version": _VERSION,
        "scene": str(surface.scene),
        "frames": _frames_of(surface),
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


def _frames_of(surface: LabelSurface) -> list[list[Any]]:
    return [[info.name, info.height, info.width] for info in surface.frames]


def _frame(values: Sequence[Any]) -> _Frame:
    name, height, width = values
    return name, height, width


def _named(frames: Sequence[_Frame]) -> str:
    return ", ".join(name for name, _, _ in frames[:_NUM_NAMED])


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
