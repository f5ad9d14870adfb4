"""The state of a labelling session: what follows from the actions in force, in a pure way."""

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Int, Int16, Int32
from numpy import ndarray

from semantic_ns.errors import SceneError
from semantic_ns.io.run_lengths import decode_coco
from semantic_ns.labelling.actions import MARK_ELSEWHERE, ActionLog, Entry
from semantic_ns.labelling.class_checks import ClassChecks
from semantic_ns.labelling.classes import MAX_CLASS_ID, ClassList, LabelClass, next_id
from semantic_ns.labelling.in_force import AtLock, ImportInForce, evidence_of, imported_by
from semantic_ns.labelling.marks import Mark
from semantic_ns.labelling.owner_map import OwnerMap
from semantic_ns.labelling.painting import PaintedMark, Painting
from semantic_ns.labelling.spreading import REACHED, Spreader, SpreadLabels
from semantic_ns.labelling.surface import FrameInfo, LabelSurface

NOTHING, DO_NOT_KNOW = -1, -2
"""In labels and painted pixels, beside ids of classes."""
COMMAND_LINE = "command line"
"""The client whose actions come from the options of the command."""
Unchecked = Any
"""A value out of a request, of whatever type; what is not as it must be is refused with a SceneError."""
_OF_NO_PIXEL = frozenset({"add_class", "rename_class", "recolor_class", "lock_class", "void_class", MARK_ELSEWHERE})
"""Actions that leave painted pixels as they are."""
_OF_NO_CLASS = frozenset({"mark", "import", "switch_import", MARK_ELSEWHERE})
"""Actions that leave the classes as they are."""
KINDS = (_OF_NO_PIXEL | _OF_NO_CLASS | {"merge_class", "delete_class", "undo", "redo"}) - {MARK_ELSEWHERE}
"""What actions of a journal can be."""
_DELETING = frozenset({"delete_class", "merge_class"})
"""Actions by which the marks of classes go and come: what was merged into a class is deleted with it."""
_MAX_CLIENT_LETTERS = 100
_MAX_SEQUENCE = 2**53


SpreaderWith = Callable[[LabelSurface, "ImportInForce | None"], Spreader]
"""Gives a spreader over a surface with other imported labels than those in force now."""


class SessionState(ClassChecks):
    """Actions, and the classes and marks that are in force by them.

    Args:
        frames: The frames.
        header: The first line of the journal: `classes` as lists of id, name and colour, and `void_id`.
        regions: A function that gives the super-pixels of a frame.

    Attributes:
        log: All actions.
        classes: The classes in force.
        painting: The marks in force.
        imported: The labels that were imported last, if any were.
        void_id: Id of void in label images.
        deleted: The classes that are deleted, whose marks are not in `painting`.
    """

    def __init__(
        self,
        frames: Sequence[FrameInfo],
        header: Mapping[str, Any],
        regions: Callable[[int], Int32[ndarray, "height width"]],
    ) -> None:
        self._frames, self._regions = frames, regions
        self.void_id: int = header["void_id"]
        self._first_classes = ClassList(
            LabelClass(number, name, tuple(color)) for number, name, color in header["classes"]
        )
        self.classes = self._first_classes
        self.log, self.painting = ActionLog(), Painting()
        self.imported: ImportInForce | None = None
        self._marks: dict[int, list[PaintedMark]] = {}
        self.deleted: set[int] = set()
        self._num_painted = 0
        self._labels_at_locks: dict[Any, Int16[ndarray, "voxels"]] = {}
        self._last_painted: tuple[OwnerMap, ndarray, ndarray] | None = None

    def take(self, values: Mapping[str, Any]) -> set[int]:
        """Let an action that is in the journal have its effect; returns the frames whose painted pixels may change."""
        entry = self.log.add(values)
        target = self.log.entries[values["target"] - 1] if entry.kind in {"undo", "redo"} else entry
        if target.kind in {"import", "switch_import"}:
            self.imported = imported_by(self.log.in_force())
            return set()
        if target.kind != "mark":
            before = {mark.frame for mark in self.painting.marks.values()}
            self.classes = self.classes_after(self.log.in_force())
            if target.kind in _DELETING:
                self._take_deleted()
            if target.kind in _OF_NO_PIXEL:
                return set()
            return before | {mark.frame for mark in self.painting.marks.values()}
        if target.values["mark"]["class_id"] in self.deleted:
            return set()  # it says nothing, whether it is in force or not
        for mark in self._painted(target):
            if entry.kind == "undo":
                self.painting.remove(mark.number)
            else:
                self.painting.add(mark)
        return {mark.frame for mark in self._painted(target)}

    def _take_deleted(self) -> None:
        """Take the marks of deleted classes out of the painting, as if they had never been, and put others back."""
        entries = list(self.log.in_force())
        before, self.deleted = self.deleted, self._deleted_by(entries)
        changed = before ^ self.deleted
        for entry in entries:
            if entry.kind == "mark" and entry.values["mark"]["class_id"] in changed:
                is_gone = entry.values["mark"]["class_id"] in self.deleted
                for mark in self._painted(entry):
                    if is_gone:
                        self.painting.remove(mark.number)
                    else:
                        self.painting.add(mark)

    def _deleted_by(self, entries: Iterable[Entry]) -> set[int]:
        """The classes that some actions delete: those that would be there without, with what was merged into them."""
        entries = list(entries)
        kept = [entry for entry in entries if entry.kind != "delete_class"]
        after = {one.id for one in self.classes_after(entries)}
        return {one.id for one in self.classes_after(kept)} - after

    def imported_after(self, values: Mapping[str, Any]) -> "ImportInForce | None":
        """The labels that will have been imported last once an action is taken."""
        entries = list(self.log.in_force())
        if values["kind"] == "undo":
            entries = [entry for entry in entries if entry.revision != values["target"]]
        elif values["kind"] == "redo":
            entries = sorted([*entries, self.log.entries[values["target"] - 1]], key=lambda entry: entry.revision)
        else:
            entries.append(Entry(self.log.revision + 1, values["kind"], values))
        return imported_by(entries)

    def classes_after(self, entries: Iterable[Entry]) -> ClassList:
        """The classes after some actions."""
        classes = self._first_classes
        for entry in entries:
            if entry.kind not in _OF_NO_CLASS:
                classes = classes.after(dict(entry.values))
        return classes

    def frozen(self) -> "SessionState":
        """The classes and marks in force now, which later actions do not change; the log is the same one."""
        frozen = copy.copy(self)
        frozen.painting = self.painting.copy()
        return frozen

    def _painted(self, entry: Entry) -> list[PaintedMark]:
        """What a mark covers in each of its frames; numbered in the order in which marks came."""
        if entry.revision not in self._marks:
            mark, pixels = Mark.from_json(entry.values["mark"]), entry.values.get("pixels")
            written: Mapping[str, Any] = pixels if isinstance(pixels, Mapping) else {str(mark.frame): pixels}
            painted = []
            for part in mark.parts:
                info, runs = self.info(part.frame), written.get(str(part.frame))
                if runs is not None:
                    mask = decode_coco(runs, info.width, info.height)
                elif pixels is None:
                    mask = part.mask(info.height, info.width, lambda frame=part.frame: self._regions(frame))
                else:
                    continue  # all of it was locked there
                self._num_painted += 1
                painted.append(
                    PaintedMark.of(
                        self._num_painted, part.frame, part.class_id, part.action, np.ascontiguousarray(mask),
                        entry.revision,
                    )
                )  # fmt: skip
            self._marks[entry.revision] = painted
        return self._marks[entry.revision]

    def info(self, frame: Unchecked) -> FrameInfo:
        """The frame of a number.

        Raises:
            SceneError: if there is none.
        """
        if isinstance(frame, bool) or not isinstance(frame, int) or not 0 <= frame < len(self._frames):
            raise SceneError(f"Expected a frame 0..{len(self._frames) - 1}, found {frame!r:.60}; reload the page.")
        return self._frames[frame]

    def undo_target(self, client: str, revision: int | None = None) -> int:
        """The revision of the last action in force of a client, or that of another one that is in force.

        Raises:
            SceneError: if there is none, it added a class that marks or imported labels have, or two classes would have
                one name without it.
        """
        target = self.log.last_of(client) if revision is None else self.log.in_force_at(revision)
        if target.kind == "add_class":
            self.refuse_used_class(target.values["id"])
        self._refuse_equal_names([entry for entry in self.log.in_force() if entry is not target])
        return target.revision

    def redo_target(self, client: str) -> int:
        """The revision of the action that a client took back last.

        Raises:
            SceneError: if there is none, a new one came after it, it marks with a class that is gone, deletes one that
                is locked or has marks by now, or two classes would have one name with it.
        """
        target = self.log.last_taken_back_by(client)
        if target.kind == "mark":
            class_id = Mark.from_json(target.values["mark"]).class_id
            if class_id is not None:
                self.find_class(class_id)
        elif target.kind == "delete_class":
            self.check_deletion(target.values["id"], target.values["with_marks"])
        self._refuse_equal_names(sorted([*self.log.in_force(), target], key=lambda entry: entry.revision))
        return target.revision

    def _refuse_equal_names(self, entries: Iterable[Entry]) -> None:
        """Check that actions do not give two classes one name, unless they have it already."""
        new = self.classes_after(entries).shared_names() - self.classes.shared_names()
        if new:
            raise SceneError(
                f"Expected one class of each name, found that two would be called {min(new)!r}; rename one of them "
                "first."
            )

    def given_ids(self) -> dict[str, int]:
        """The ids of the classes of the scene and of the command line, by the names, without case, that they had first.

        What was renamed, merged or taken back in the page is not missing at the next start.
        """
        given: dict[str, int] = {}
        for entry in self._first_classes:
            given.setdefault(entry.name.casefold(), entry.id)
        for action in self.log.entries:
            if action.kind == "add_class" and action.values["client"] == COMMAND_LINE:
                given.setdefault(action.values["name"].casefold(), action.values["id"])
        return given

    def free_id(self) -> int:
        """An id that no class ever had; SceneError if there is none left."""
        return next_id(self.used_ids(), self.void_id)

    def used_ids(self) -> set[int]:
        """The ids that a class has, or had."""
        used = {entry.values["id"] for entry in self.log.entries if entry.kind == "add_class"}
        return used | {entry.id for entry in self._first_classes}

    def painted(self, frame: int) -> Int16[ndarray, "height width"]:
        """Painted pixels alone: the class id, -2 where void is painted, -1 elsewhere."""
        owners = self.painting.owners(frame)
        if owners is None:
            return np.full((self._frames[frame].height, self._frames[frame].width), NOTHING, np.int16)
        # An answer asks for it several times. Neither array is ever changed.
        said, last = self._said_by(frame), self._last_painted
        if last is None or last[0] is not owners or not np.array_equal(last[1], said):
            painted = said[owners.all()]
            painted.flags.writeable = False
            self._last_painted = last = owners, said, painted
        return last[2]

    def painted_at(
        self, frame: int, rows: Int[ndarray, "*pixels"], columns: Int[ndarray, "*pixels"]
    ) -> Int16[ndarray, "*pixels"]:
        """The same of single pixels: what is painted elsewhere costs no time."""
        owners = self.painting.owners(frame)
        if owners is None:
            return np.full(np.shape(rows), NOTHING, np.int16)
        return self._said_by(frame)[owners.at(rows, columns)]

    def _said_by(self, frame: int) -> Int16[ndarray, "numbers"]:
        """What each mark on a frame paints, by its number; the other numbers paint nothing."""
        marks = {number: mark for number, mark in self.painting.marks.items() if mark.frame == frame}
        said, final_ids = np.full(max(marks, default=0) + 1, NOTHING, np.int16), self.final_ids()
        for number, mark in marks.items():
            said[number] = DO_NOT_KNOW if mark.class_id is None else final_ids.get(mark.class_id, NOTHING)
        return said

    def locked_for(self, class_id: int | None) -> set[int]:
        """The locked classes that marks of a class (None: erasing or void) must leave alone."""
        locked = {entry.id for entry in self.classes.in_use() if entry.is_locked}
        return locked if class_id is None else locked - {self.classes.final_id(class_id)}

    def spread_by(self, spreader: Spreader, spreader_with: SpreaderWith, is_final: bool = True) -> SpreadLabels:
        """The classes of the voxels of a surface; voxels near marks that showed a class when it was locked keep it.

        Args:
            spreader: The surface, with the imported labels in force.
            spreader_with: Is asked for one with those that were in force when a class was locked.
            is_final: Whether what looks alike is to be fitted to the marks in force, see `Spreader.spread`.
        """
        final_ids = self.final_ids()
        found = spreader.spread(self.painting, final_ids, is_final)
        frozen = self._frozen(spreader, spreader_with, final_ids)
        if frozen is None:
            return found
        return replace(found, labels=np.where(frozen != NOTHING, frozen, found.labels))

    def final_ids(self) -> dict[int, int]:
        """The class that marks of each class count for."""
        return {entry.id: self.classes.final_id(entry.id) for entry in self.classes}

    def _frozen(
        self, spreader: Spreader, spreader_with: SpreaderWith, final_ids: Mapping[int, int]
    ) -> Int16[ndarray, "voxels"] | None:
        """The locked class that each voxel near marks showed when that class was locked, -1 for none."""
        frozen = None
        for lock in self.locks():
            labels = self._labels_before(lock, spreader, spreader_with, final_ids)
            frozen = np.full(len(labels), NOTHING, np.int16) if frozen is None else frozen
            frozen[(labels == lock.class_id) & (frozen == NOTHING)] = lock.class_id
        return frozen

    def locks(self) -> list[AtLock]:
        """What was in force when each locked class was locked, in the order in which they were."""
        locked = self.locked_for(None)
        revisions = {
            entry.values["id"]: entry.revision
            for entry in self.log.in_force()
            if entry.kind == "lock_class" and entry.values["id"] in locked
        }
        found = []
        for number, revision in sorted(revisions.items(), key=lambda item: item[1]):
            entries = list(self.log.in_force(revision))
            own = [entry for entry in entries if entry.kind == "mark"]
            own = [entry for entry in own if entry.values["mark"]["class_id"] not in self.deleted]
            marks = [mark for entry in own for mark in self._painted(entry)]
            found.append(AtLock(number, imported_by(entries), marks))
        return found

    def _labels_before(
        self, lock: AtLock, spreader: Spreader, spreader_with: SpreaderWith, final_ids: Mapping[int, int]
    ) -> Int16[ndarray, "voxels"]:
        imported, marks, evidence = lock.imported, lock.marks, evidence_of(lock.imported)
        # By the surface, not the spreader: one that is gone leaves its number in memory to another.
        key = spreader.surface, evidence, tuple(mark.number for mark in marks), tuple(sorted(final_ids.items()))
        if key not in self._labels_at_locks:
            if len(self._labels_at_locks) > len(self.classes) + 8:
                self._labels_at_locks.clear()
            if evidence != evidence_of(self.imported):
                spreader = spreader_with(spreader.surface, imported)
            found = spreader.spread(Painting.of(marks), final_ids)
            self._labels_at_locks[key] = np.where(found.confidence >= REACHED, found.labels, np.int16(NOTHING))
        return self._labels_at_locks[key]


def refuse_large_ids(surface: LabelSurface) -> None:
    """Check that labels can hold the ids of the classes of a scene.

    Raises:
        SceneError: if one is too large.
    """
    largest = max((entry.id for entry in surface.classes), default=0)
    if largest > MAX_CLASS_ID:
        raise SceneError(
            f"Expected class ids up to {MAX_CLASS_ID} to label the scene, found {largest} in {surface.scene}; renumber "
            "its classes."
        )


def check_client(client: Unchecked, sequence: Unchecked) -> None:
    """Check who sends an action, and its number.

    Raises:
        SceneError: if it is no name of 1 to 100 letters, or no whole number 0 or more.
    """
    if not isinstance(client, str) or not 1 <= len(client) <= _MAX_CLIENT_LETTERS:
        raise SceneError(
            f"Expected a client's name of 1 to {_MAX_CLIENT_LETTERS} letters, found {client!r:.60}; reload the page."
        )
    if isinstance(sequence, bool) or not isinstance(sequence, int) or not 0 <= sequence <= _MAX_SEQUENCE:
        raise SceneError(f"Expected a whole number 0 or more as sequence, found {sequence!r:.60}; reload the page.")
