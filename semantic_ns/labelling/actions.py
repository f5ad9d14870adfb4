"""What people did, in order, and which of it is in force.

Each person takes back and repeats what is their own, and what is of others only where they name it.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from semantic_ns.errors import SceneError

MARK_ELSEWHERE = "mark_elsewhere"
"""The kind of a mark on frames that the session does not have (any more), which says nothing."""
_LONGEST_GAP_S = 60.0
"""Longest time between two actions that still counts as work."""


@dataclass(frozen=True)
class Entry:
    """An action as the journal holds it.

    Attributes:
        revision: Its number, from 1 on.
        kind: What it is: `mark`, `undo`, `redo`, or one of `ClassList.after`.
        values: The whole action, by name.
    """

    revision: int
    kind: str
    values: Mapping[str, Any]


class ActionLog:
    """All actions of a session."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self._undone: set[int] = set()
        self._done_by: dict[str, list[int]] = defaultdict(list)
        self._taken_back_by: dict[str, list[int]] = defaultdict(list)
        self._answers: dict[tuple[str, int], int] = {}
        self.active_seconds = 0.0
        self._last_time: float | None = None

    @property
    def revision(self) -> int:
        """Number of actions so far."""
        return len(self.entries)

    def answer(self, client: str, sequence: int) -> int | None:
        """The revision that an action of this client and number made; None if there was none."""
        return self._answers.get((client, sequence))

    def add(self, values: Mapping[str, Any]) -> Entry:
        """Take an action, which may undo or redo another one, named by `target`."""
        entry = Entry(self.revision + 1, values["kind"], values)
        client = values["client"]
        self.entries.append(entry)
        self._answers[client, values["sequence"]] = entry.revision
        self._count_time(values["time"])
        if entry.kind == "undo":
            self._done_by[self._owner(values["target"])].remove(values["target"])
            self._taken_back_by[client].append(values["target"])
            self._undone.add(values["target"])
        elif entry.kind == "redo":
            self._taken_back_by[client].remove(values["target"])
            self._done_by[client].append(values["target"])
            self._undone.discard(values["target"])
        else:
            self._done_by[client].append(entry.revision)
            self._taken_back_by[client].clear()
        return entry

    def _count_time(self, now: float) -> None:
        if self._last_time is not None:
            gap = now - self._last_time
            # A clock that was set back tells nothing.
            self.active_seconds += gap if 0 <= gap <= _LONGEST_GAP_S else 0.0
        self._last_time = now

    def _owner(self, revision: int) -> str:
        """Who did an action in force, or repeated it last."""
        return next(client for client, done in self._done_by.items() if revision in done)

    def last_of_others(self, clients: Collection[str]) -> Entry | None:
        """The last action in force of anybody but some clients; None if there is none."""
        found = [done[-1] for client, done in self._done_by.items() if done and client not in clients]
        return self.entries[max(found) - 1] if found else None

    def has_action_of(self, client: str) -> bool:
        """Whether an action of this client is in force."""
        return bool(self._done_by.get(client))

    def in_force_at(self, revision: int) -> Entry:
        """The action of a revision.

        Raises:
            SceneError: if there is none, or it is not in force.
        """
        if not any(revision in done for done in self._done_by.values()):
            raise SceneError(
                f"Expected an action in force to take back, found none of the number {revision}; somebody has taken it "
                "back already."
            )
        return self.entries[revision - 1]

    def last_of(self, client: str) -> Entry:
        """This client's last action in force.

        Raises:
            SceneError: if there is none.
        """
        return self._entry(self._done_by.get(client), "undo")

    def last_taken_back_by(self, client: str) -> Entry:
        """The action that this client took back last, if nothing new came after it.

        Raises:
            SceneError: if there is none.
        """
        return self._entry(self._taken_back_by.get(client), "redo")

    def _entry(self, revisions: list[int] | None, what: str) -> Entry:
        if not revisions:
            raise SceneError(
                f"Expected an action of yours to {what}, found none; each tab of a browser takes back what was done in "
                "it, and the eraser takes away what others have painted."
            )
        return self.entries[revisions[-1] - 1]

    def in_force(self, before: int | None = None) -> Iterator[Entry]:
        """The actions in force in order, without undo and redo.

        Args:
            before: The revision before which they were made; all by default.
        """
        for entry in self.entries[: None if before is None else before - 1]:
            if entry.kind not in {"undo", "redo"} and entry.revision not in self._undone:
                yield entry
