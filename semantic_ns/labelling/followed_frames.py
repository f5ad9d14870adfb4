"""How a session knows its frames again when photos are renamed, replaced, added or removed."""

from collections.abc import Callable, Sequence

from semantic_ns.io.console import announce
from semantic_ns.labelling.actions import MARK_ELSEWHERE
from semantic_ns.labelling.session_journal import SessionJournal
from semantic_ns.labelling.state import SessionState
from semantic_ns.labelling.surface import FrameInfo


class FollowedFrames:
    """The part of a session that names its frames for good; `LabelSession` gives it its journal and its state."""

    frames: Sequence[FrameInfo]
    marked_frames: Callable[[], list[int]]
    _journal: SessionJournal
    _state: SessionState

    def _told(self) -> list[str]:
        """What became of marks since photos were renamed, replaced or removed; the command line says it, too."""
        gone = [entry for entry in self._state.log.in_force() if entry.kind == MARK_ELSEWHERE]
        names = [info.name for info in self.frames]
        elsewhere = [entry.values["mark"]["frame"] for entry in gone]
        found = self._journal.told(elsewhere, self.marked_frames(), names)
        for sentence in found:
            announce("labelling", f"{self._journal.path}: {sentence}")
        return found

    @property
    def identity(self) -> str:
        """What tells the marks of this session from those of all others, whatever becomes of its photos."""
        return self._journal.identity

    @property
    def frame_numbers(self) -> Sequence[int]:
        """A number of each frame that it keeps when others are added or removed, and when photos are renamed."""
        return self._journal.numbers
