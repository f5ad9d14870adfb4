"""How people take back what was done in a session, and repeat it."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

from semantic_ns.labelling.action_names import described
from semantic_ns.labelling.class_actions import COMMAND_LINE
from semantic_ns.labelling.state import SessionState, Unchecked
from semantic_ns.labelling.surface import FrameInfo


class UndoActions:
    """The part of a session that takes back and repeats; `LabelSession` gives it its state, and says how to act."""

    frames: Sequence[FrameInfo]
    _state: SessionState
    _lock: threading.RLock
    _act: Callable[[str, Unchecked, Unchecked, Callable[[], dict[str, Any]]], int]

    def undo(self, client: Unchecked, sequence: Unchecked, of: int | None = None) -> int:
        """Take back an action that is in force; returns the revision that this makes.

        Args:
            client: Who takes it back, and may repeat it.
            sequence: See `add_mark`.
            of: The revision of the action, which may be another client's; the last one of this client by default.

        Raises:
            SceneError: if there is none, it added a class that marks or imported labels have, or two classes would have
                one name.
        """
        return self._act("undo", client, sequence, lambda: {"target": self._state.undo_target(client, of)})

    def last_of_others(self, client: str) -> tuple[int, str] | None:
        """Revision and description of the last action of others, where this client has none in force; else None."""
        with self._lock:
            log = self._state.log
            entry = None if log.has_action_of(client) else log.last_of_others({client, COMMAND_LINE})
            return None if entry is None else (entry.revision, described(entry, self._state.classes, self.frames))

    def redo(self, client: Unchecked, sequence: Unchecked) -> int:
        """Repeat the action that this client took back last; returns the revision that this makes.

        Raises:
            SceneError: if there is none, a new action came after it, it marks with a class that is gone, or two classes
                would have one name.
        """
        return self._act("redo", client, sequence, lambda: {"target": self._state.redo_target(client)})
