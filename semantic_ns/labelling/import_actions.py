"""What people do with the labels that a session begins with: import them, and switch them off and on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from semantic_ns.errors import SceneError
from semantic_ns.labelling.classes import MAX_CLASS_ID
from semantic_ns.labelling.imports import ImportedLabels
from semantic_ns.labelling.in_force import ImportInForce
from semantic_ns.labelling.state import COMMAND_LINE, SessionState, Unchecked
from semantic_ns.labels.class_table import ClassEntry


class ImportActions:
    """The part of a session that imports; `LabelSession` gives it its state, and says how to act."""

    _state: SessionState
    _folder: Path
    _act: Callable[[str, Unchecked, Unchecked, Callable[[], dict[str, Any]]], int]

    @property
    def imported(self) -> ImportInForce | None:
        """The labels that were imported last, if any were."""
        return self._state.imported

    def switch_import(self, is_on: Unchecked, client: Unchecked, sequence: Unchecked) -> int:
        """Let imported labels count, or not; returns the revision.

        Raises:
            SceneError: if there are none.
        """

        def describe() -> dict[str, Any]:
            if self._state.imported is None:
                raise SceneError("Expected imported labels to switch, found none; start with --import LABELS.")
            if not isinstance(is_on, bool):
                raise SceneError(f"Expected true or false for is_on, found {is_on!r:.60}.")
            return {"is_on": is_on}

        return self._act("switch_import", client, sequence, describe)

    def _add_import(self, imported: ImportedLabels, weight: float) -> None:
        """Import labels, unless the same ones with the same weight were imported last; adds classes that they need."""
        if not 0 < weight <= 1:
            raise SceneError(
                f"Expected a weight above 0, and at most 1, for --import-weight, found {weight}; change it."
            )
        imported.keep(self._folder)
        before = self._state.imported
        if before is not None and (before.checksum, before.weight) == (imported.checksum, weight):
            return
        ids = [[entry.id, self._class_for(entry)] for entry in imported.classes]
        self._act(
            "import", COMMAND_LINE, self._state.log.revision,
            lambda: {"name": imported.name, "checksum": imported.checksum, "weight": weight, "ids": ids},
        )  # fmt: skip

    def _class_for(self, entry: ClassEntry) -> int:
        """The class of the session that has a name, which is added if there is none, with its id if that is free.

        One that was merged into another has it as well, so that its labels count for that one, and so has one of the
        scene or of the command line that was renamed.
        """
        name = entry.name.strip().casefold()
        classes = self._state.classes
        for known in (*classes.in_use(), *classes):
            if known.name.casefold() == name:
                return known.id
        given = self._state.given_ids().get(name)
        if any(known.id == given for known in classes):
            return classes.find(given).id

        def describe() -> dict[str, Any]:
            is_free = entry.id not in self._state.used_ids() | {self._state.void_id} and entry.id <= MAX_CLASS_ID
            number = entry.id if is_free else self._state.free_id()
            checked = self._state.classes.check_name(entry.name)
            return {"id": number, "name": checked, "color": list(entry.color), "is_thing": entry.is_thing}

        self._act("add_class", COMMAND_LINE, self._state.log.revision, describe)
        return self._state.classes[-1].id
