"""What has a class, and whether it may go: checks that actions on classes make before they are taken."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from typing import Any

from semantic_ns.errors import SceneError
from semantic_ns.labelling.actions import MARK_ELSEWHERE, ActionLog, Entry
from semantic_ns.labelling.classes import ClassList, LabelClass
from semantic_ns.labelling.in_force import ImportInForce


class ClassChecks:
    """The part of the state of a session that knows what has a class; `SessionState` gives it all of its attributes."""

    log: ActionLog
    classes: ClassList
    imported: ImportInForce | None
    deleted: set[int]
    classes_after: Callable[[Iterable[Entry]], ClassList]

    def refuse_used_class(self, number: int) -> None:
        """Check that neither marks nor imported labels have a class before it is taken back.

        Raises:
            SceneError: if some have.
        """
        if self.imported is not None and number in self.imported_classes():
            raise SceneError(
                f"Expected no imported labels of the class {self.name_of(number)!r} before it is taken back, "
                f"found that {self.imported.name} has it; merge it into another class instead."
            )
        num_marks = self.num_marks_of({number})
        if num_marks:
            raise SceneError(
                f"Expected no marks of the class {self.name_of(number)!r} before it is taken back, found {num_marks} "
                "of other people; merge it into another class instead."
            )

    def num_marks_of(self, numbers: Collection[int]) -> int:
        """How many marks in force some classes have, with those on frames that are gone, which may come back."""
        counts = self.marks_by_class()
        return sum(counts[number] for number in numbers)

    def name_of(self, number: int) -> str:
        """The name of a class; of one that is deleted, the last one that it had."""
        entries = [entry for entry in self.log.in_force() if entry.kind != "delete_class"]
        return self.classes_after(entries).find(number).name

    def find_class(self, number: Any) -> LabelClass:
        """The class of an id.

        Raises:
            SceneError: if there is none, or it is deleted.
        """
        if isinstance(number, int) and number in self.deleted:
            raise SceneError(
                f"Expected a class of this session, found {self.name_of(number)!r}, which was deleted; choose another "
                "class, or take that back."
            )
        return self.classes.find(number)

    def check_deletion(self, number: Any, with_marks: bool) -> LabelClass:
        """The class of an id, if it may be deleted.

        Args:
            number: The id.
            with_marks: Whether its marks, and what imported labels say of it, may go with it.

        Raises:
            SceneError: if there is none, it is merged into another, locked, or has marks or imported labels that may
                not go.
        """
        found = self.find_class(number)
        if found.merged_into is not None:
            into = self.classes.find(self.classes.final_id(found.id)).name
            raise SceneError(
                f"Expected a class of its own to delete, found {found.name!r}, which was merged into {into!r}; split "
                "it off first, or delete that one."
            )
        if found.is_locked:
            raise SceneError(f"Expected a class that is not locked to delete, found {found.name!r}; unlock it first.")
        parts = self.classes.parts_of(found.id)
        num_marks = self.num_marks_of(parts)
        if num_marks and not with_marks:
            raise SceneError(
                f"Expected no marks of the class {found.name!r} to delete it alone, found {num_marks}; merge it into "
                "another class, or delete its marks with it."
            )
        if self.imported_classes() & parts and not with_marks:
            raise SceneError(
                f"Expected no imported labels of the class {found.name!r} to delete it alone, found that they have it; "
                "merge it into another class, or let them say nothing there."
            )
        return found

    def marks_by_class(self) -> Counter[int | None]:
        """How many marks in force each class has, by its id, with those on frames that are gone."""
        entries = (entry for entry in self.log.in_force() if entry.kind in {"mark", MARK_ELSEWHERE})
        return Counter(entry.values["mark"]["class_id"] for entry in entries)

    def imported_classes(self) -> set[int]:
        """The classes of the labels that were imported last."""
        return set() if self.imported is None else {of_session for _, of_session in self.imported.ids}
