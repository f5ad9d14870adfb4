"""What was in force at an action, beside the classes: imported labels, and the marks when a class was locked."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from semantic_ns.labelling.actions import Entry
from semantic_ns.labelling.painting import PaintedMark


@dataclass(frozen=True)
class ImportInForce:
    """Labels that were imported.

    Attributes:
        name: Where they are from.
        checksum: What tells them from others.
        weight: Weight of one of their voxels beside one with a mark.
        ids: Each of their ids with the id of the class in the session.
        is_on: Whether they count.
    """

    name: str
    checksum: str
    weight: float
    ids: tuple[tuple[int, int], ...]
    is_on: bool

    @property
    def evidence(self) -> tuple[Any, ...] | None:
        """What voxels follow from beside the marks; None where they are switched off."""
        return (self.checksum, self.weight, self.ids) if self.is_on else None


@dataclass(frozen=True, eq=False)
class AtLock:
    """What was in force when a class was locked.

    Attributes:
        class_id: The class.
        imported: The labels that were imported last before, if any were.
        marks: The marks.
    """

    class_id: int
    imported: ImportInForce | None
    marks: list[PaintedMark]


def imported_by(entries: Iterable[Entry]) -> ImportInForce | None:
    """The labels that were imported last by some actions, if any were."""
    found = None
    for entry in entries:
        if entry.kind == "import":
            ids = tuple((int(own), int(of_session)) for own, of_session in entry.values["ids"])
            found = ImportInForce(
                entry.values["name"], entry.values["checksum"], entry.values["weight"], ids, is_on=True
            )
        elif entry.kind == "switch_import" and found is not None:
            found = replace(found, is_on=entry.values["is_on"])
    return found


def evidence_of(imported: ImportInForce | None) -> tuple[Any, ...] | None:
    """What voxels follow from beside the marks, if anything."""
    return None if imported is None else imported.evidence
