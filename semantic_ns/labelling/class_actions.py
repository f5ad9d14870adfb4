"""What people do with the classes of a session: add, rename, recolor, merge, lock and delete them."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

from semantic_ns.errors import SceneError
from semantic_ns.labelling.classes import MAX_CLASS_ID, check_color
from semantic_ns.labelling.state import COMMAND_LINE, SessionState, Unchecked
from semantic_ns.labels.class_table import ClassEntry, ClassTable


class ClassActions:
    """The part of a session that changes its classes; `LabelSession` gives it its state, and says how to act."""

    _state: SessionState
    _lock: threading.RLock
    _act: Callable[[str, Unchecked, Unchecked, Callable[[], dict[str, Any]]], int]

    def add_class(self, name: Unchecked, color: Unchecked, client: Unchecked, sequence: Unchecked) -> int:
        """Add a class, with an id that none ever had; without a colour it gets a free one. Returns the revision."""

        def describe() -> dict[str, Any]:
            number = self._state.free_id()
            chosen = self._state.classes.free_color(number) if color is None else check_color(color)
            return {"id": number, "name": self._state.classes.check_name(name), "color": list(chosen)}

        return self._act("add_class", client, sequence, describe)

    def class_added_by(self, client: Unchecked, sequence: Unchecked) -> int:
        """The id of the class that an action of a client added, by the number of the action.

        Raises:
            SceneError: if it added none.
        """
        revision = self._state.log.answer(client, sequence)
        entry = None if revision is None else self._state.log.entries[revision - 1]
        if entry is None or entry.kind != "add_class":
            raise SceneError(
                "Expected a class that was added before the mark, found that it was not; choose a class and mark again."
            )
        return entry.values["id"]

    def rename_class(self, number: Unchecked, name: Unchecked, client: Unchecked, sequence: Unchecked) -> int:
        """Give a class another name; returns the revision."""
        return self._act(
            "rename_class", client, sequence,
            lambda: {"id": self._state.find_class(number).id, "name": self._state.classes.check_name(name, number)},
        )  # fmt: skip

    def recolor_class(self, number: Unchecked, color: Unchecked, client: Unchecked, sequence: Unchecked) -> int:
        """Give a class another colour; returns the revision."""
        return self._act(
            "recolor_class", client, sequence,
            lambda: {"id": self._state.find_class(number).id, "color": list(check_color(color))},
        )  # fmt: skip

    def merge_class(self, number: Unchecked, into: Unchecked, client: Unchecked, sequence: Unchecked) -> int:
        """Let all marks of a class, those to come among them, count for another one; returns the revision.

        Raises:
            SceneError: if one of them is unknown, or the other one counts for this one.
        """

        def describe() -> dict[str, Any]:
            for one in (number, into):
                self._state.find_class(one)
            if self._state.classes.final_id(number) == self._state.classes.final_id(into):
                raise SceneError(f"Expected two classes to merge, found {number} and {into}, which are one already.")
            return {"id": number, "into": into}

        return self._act("merge_class", client, sequence, describe)

    def split_class(self, number: Unchecked, client: Unchecked, sequence: Unchecked) -> int:
        """Let the marks of a class that was merged count for itself again; returns the revision.

        Raises:
            SceneError: if it is unknown or was not merged, or another class has its name by now.
        """

        def describe() -> dict[str, Any]:
            entry = self._state.find_class(number)
            if entry.merged_into is None:
                raise SceneError(
                    f"Expected a class that was merged to split it off, found {entry.name!r}, which is not."
                )
            if any(one.name.casefold() == entry.name.casefold() for one in self._state.classes.in_use()):
                raise SceneError(
                    f"Expected one class of each name, found that two would be called {entry.name!r}; rename the other "
                    "one first."
                )
            return {"id": entry.id, "into": None}

        return self._act("merge_class", client, sequence, describe)

    def lock_class(self, number: Unchecked, is_locked: Unchecked, client: Unchecked, sequence: Unchecked) -> int:
        """Lock a class, so that marks of others leave it alone, or unlock it; returns the revision."""

        def describe() -> dict[str, Any]:
            if not isinstance(is_locked, bool):
                raise SceneError(f"Expected true or false for is_locked, found {is_locked!r:.60}.")
            return {"id": self._state.find_class(number).id, "is_locked": is_locked}

        return self._act("lock_class", client, sequence, describe)

    def void_class(self, number: Unchecked, is_void: Unchecked, client: Unchecked, sequence: Unchecked) -> int:
        """Let a class be void for all who read the labels, or a class like the others; returns the revision."""

        def describe() -> dict[str, Any]:
            if not isinstance(is_void, bool):
                raise SceneError(f"Expected true or false for is_void, found {is_void!r:.60}.")
            return {"id": self._state.find_class(number).id, "is_void": is_void}

        return self._act("void_class", client, sequence, describe)

    def delete_class(
        self,
        number: Unchecked,
        with_marks: Unchecked,
        client: Unchecked,
        sequence: Unchecked,
        most_marks: int | None = None,
    ) -> int:
        """Delete a class, with what was merged into it; returns the revision.

        Args:
            number: Its id, which no other class ever has.
            with_marks: Whether its marks may go with it, as if they had never been; undo brings them back with it.
            client: Who deletes it.
            sequence: See `add_mark`.
            most_marks: How many marks may go at most: those that the person was told of. None for all.

        Raises:
            SceneError: if it is unknown, merged into another, locked, or has marks or imported labels that may not go.
        """

        def describe() -> dict[str, Any]:
            if not isinstance(with_marks, bool):
                raise SceneError(f"Expected true or false for with_marks, found {with_marks!r:.60}.")
            found = self._state.check_deletion(number, with_marks)
            num_marks = self._state.num_marks_of(self._state.classes.parts_of(found.id))
            if most_marks is not None and num_marks > most_marks:
                raise SceneError(
                    f"Expected no marks of the class {found.name!r} beyond the {most_marks} that the page showed, "
                    f"found {num_marks} in all, since others have marked meanwhile; look at them, and delete it again."
                )
            return {"id": found.id, "name": found.name, "with_marks": with_marks}

        return self._act("delete_class", client, sequence, describe)

    def class_evidence(self) -> dict[int, tuple[int, bool]]:
        """Of each class that was not merged, how many marks it has, and whether imported labels have it."""
        with self._lock:
            state = self._state
            counts, imported = state.marks_by_class(), state.imported_classes()
            return {
                number: (sum(counts[one] for one in of_class), bool(of_class & imported))
                for number, of_class in state.classes.parts().items()
            }

    def _add_missing(self, classes: Sequence[str] | ClassTable) -> None:
        """Add the classes that there never were by these names; those of a table have its ids and colours."""
        given: dict[str, ClassEntry] = {}
        if isinstance(classes, ClassTable):
            if classes.has_given_ids:
                refuse_unfit_ids(classes, self._state)
                given = {entry.name.strip(): entry for entry in classes.entries}
            classes = [entry.name for entry in classes.entries]
        known = {entry.name.casefold() for entry in self._state.classes.in_use()} | set(self._state.given_ids())
        for name in (text.strip() for text in classes):
            if name.casefold() in known:
                continue
            known.add(name.casefold())
            sequence = self._state.log.revision
            if name in given:
                self._act("add_class", COMMAND_LINE, sequence, lambda entry=given[name]: self._given(entry))
            else:
                self.add_class(name, None, COMMAND_LINE, sequence)

    def _given(self, entry: ClassEntry) -> dict[str, Any]:
        name = self._state.classes.check_name(entry.name)
        return {"id": entry.id, "name": name, "color": list(entry.color), "is_thing": entry.is_thing}


def refuse_unfit_ids(table: ClassTable, state: SessionState) -> None:
    """Check that a session can have the ids of a table.

    Raises:
        SceneError: if a class has another id already, or an id is that of another class, of void, or too large.
    """
    names = {entry.id: entry.name for entry in state.classes}
    ids = state.given_ids() | {entry.name.casefold(): entry.id for entry in state.classes.in_use()}
    used = state.used_ids()
    for entry in table.entries:
        name = entry.name.strip()
        known = ids.get(name.casefold())
        if known == entry.id:
            continue
        if known is not None:
            found = f"that it has the id {known}"
        elif entry.id in used:
            found = f"that {names.get(entry.id, 'a class that was taken back')!r} has it"
        elif entry.id == state.void_id:
            found = "that it means void in this session"
        elif entry.id > MAX_CLASS_ID:
            found = f"that ids end at {MAX_CLASS_ID}"
        else:
            continue
        raise SceneError(
            f"Expected that the class {name!r} can have the id {entry.id} of {table.name}, found {found}; renumber the "
            "table, or give names alone to --classes."
        )
