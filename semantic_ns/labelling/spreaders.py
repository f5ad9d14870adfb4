"""The spreaders of a session: with the imported labels in force, and with those of when a class was locked."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from semantic_ns.labelling.imports import kept_import
from semantic_ns.labelling.in_force import AtLock, ImportInForce, evidence_of
from semantic_ns.labelling.painting import Painting
from semantic_ns.labelling.spreading import Beneath, Spreader
from semantic_ns.labelling.surface import LabelSurface

_MOST_ASIDE = 4
"""Spreaders with other imported labels than those in force that are kept: each holds a factored matrix."""


class Begun(NamedTuple):
    """What a session spreads with from some action on.

    Attributes:
        imported: The imported labels.
        spreader: The spreader with these, over the coarser surface until there is one over the finer.
    """

    imported: ImportInForce | None
    spreader: Spreader


class Spreaders:
    """Makes spreaders (slow: each factors a matrix), and keeps those with other imported labels than those in force.

    Args:
        folder: The folder of the session.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._aside: dict[tuple[LabelSurface, object], Spreader] = {}

    def begin(self, surface: LabelSurface, imported: ImportInForce | None) -> Begun:
        """Begin anew over a surface with imported labels.

        Raises:
            SceneError: if they are gone or damaged.
        """
        return Begun(imported, self.make(surface, imported))

    def make(self, surface: LabelSurface, imported: ImportInForce | None) -> Spreader:
        """A spreader over a surface with imported labels.

        Raises:
            SceneError: if they are gone or damaged.
        """
        beneath = None
        if imported is not None and imported.is_on:
            labels, ids = kept_import(self._folder, imported.checksum), dict(imported.ids)
            beneath = Beneath(labels, imported.weight, tuple(ids[entry.id] for entry in labels.classes))
        return Spreader(surface, beneath, self._folder)

    def aside(self, surface: LabelSurface, imported: ImportInForce | None) -> Spreader:
        """A spreader with imported labels that were in force when a class was locked, made unless it is kept."""
        key = surface, evidence_of(imported)
        found = self._aside.get(key)
        if found is None:
            found = self.make(surface, imported)
            while len(self._aside) >= _MOST_ASIDE:
                self._aside.pop(next(iter(self._aside)), None)
            found = self._aside.setdefault(key, found)
        return found

    def make_for_locks(self, surface: LabelSurface, imported: ImportInForce | None, locks: list[AtLock]) -> None:
        """Make the spreaders over a surface that locked classes need where some labels are in force."""
        for lock in locks:
            if evidence_of(lock.imported) != evidence_of(imported):
                self.aside(surface, lock.imported)

    def keep_columns(
        self, spreader: Spreader, imported: ImportInForce | None, painting: Painting, locks: list[AtLock]
    ) -> None:
        """Drop what is kept on the disk of marks that are not in force any more, but for the last few.

        Args:
            spreader: The spreader with the labels in force, over which nobody may spread meanwhile.
            imported: Those labels.
            painting: The marks in force.
            locks: What was in force when each class was locked.
        """
        evidence = evidence_of(imported)
        at_locks = [Painting.of(lock.marks) for lock in locks if evidence_of(lock.imported) == evidence]
        spreader.keep_columns([*at_locks, painting])

    def prepare_locks(
        self, spreader: Spreader, imported: ImportInForce | None, locks: list[AtLock], final_ids: Mapping[int, int]
    ) -> None:
        """Compute all columns that locked classes need over a surface, which nobody may spread over meanwhile.

        Args:
            spreader: The spreader over it with the labels in force.
            imported: Those labels.
            locks: What was in force when each class was locked.
            final_ids: The class that marks of each class count for.
        """
        for lock in locks:
            is_same = evidence_of(lock.imported) == evidence_of(imported)
            found = spreader if is_same else self.aside(spreader.surface, lock.imported)
            found.prepare(Painting.of(lock.marks), final_ids)
