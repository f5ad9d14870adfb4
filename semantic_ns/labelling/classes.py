"""The classes of a labelling session: added, renamed, recolored, merged, locked and deleted while people label."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Int16
from numpy import ndarray

from semantic_ns.errors import SceneError
from semantic_ns.labels.class_table import VOID_NAMES, voc_color

MAX_CLASS_ID = 32_000
"""Labels are kept in 16 bits with sign."""
_MAX_LETTERS = 100
_NOT_PRINTED = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Categories of letters that would break a line or a file."""


@dataclass(frozen=True)
class LabelClass:
    """A class.

    Attributes:
        id: Its id in label images, never used for another class.
        name: Its name.
        color: Its display colour (r, g, b), 0..255.
        is_locked: Whether marks of other classes leave it alone.
        merged_into: Id of the class that its marks count for; None for itself.
        is_thing: Whether its objects can be counted, where a table says so; None where nothing does.
        is_void: Whether it says that something is no class at all, as of a mirror: it is marked, spreads and shows like
            the others, and is void for all who read the labels.
    """

    id: int
    name: str
    color: tuple[int, int, int]
    is_locked: bool = False
    merged_into: int | None = None
    is_thing: bool | None = None
    is_void: bool = False


def as_final(labels: Int16[ndarray, "*shape"], classes: Iterable[LabelClass]) -> Int16[ndarray, "*shape"]:
    """The same labels, with those of classes that were merged as what they were merged into, and -1 for unknown ones.

    Args:
        labels: Class ids, -1 for none.
        classes: The classes.
    """
    merged_into = {entry.id: entry.merged_into for entry in classes}
    for number in np.unique(labels[labels >= 0]).tolist():
        final = number
        while (into := merged_into.get(final)) is not None:
            final = into
        final = final if final in merged_into else -1
        if final != number:
            labels = np.where(labels == number, np.int16(final), labels)
    return labels


class ClassList(tuple[LabelClass, ...]):
    """The classes in the order in which they came.

    What changes them gives a new list. An action is a dictionary as the journal keeps it, see `after`.
    """

    __slots__ = ()

    def find(self, number: Any) -> LabelClass:
        """The class of an id.

        Raises:
            SceneError: if there is none.
        """
        if isinstance(number, int) and not isinstance(number, bool):
            for entry in self:
                if entry.id == number:
                    return entry
        raise SceneError(f"Expected the id of a class of this session, found {number!r:.60}; reload the classes.")

    def final_id(self, number: Any) -> int:
        """The id that marks of a class count for, after all mergers."""
        entry = self.find(number)
        while entry.merged_into is not None:
            entry = self.find(entry.merged_into)
        return entry.id

    def parts_of(self, number: int) -> set[int]:
        """The ids of a class and of all that were merged into it."""
        return self.parts().get(self.find(number).id, {number})

    def parts(self) -> dict[int, set[int]]:
        """By the id of each class that was not merged, that id and those of all that were merged into it."""
        into = {entry.id: entry.merged_into for entry in self}  # one pass: every answer to a page asks for it
        found: dict[int, set[int]] = {}
        for number in into:
            final = number
            while (next_one := into[final]) is not None:
                final = next_one
            found.setdefault(final, set()).add(number)
        return found

    def in_use(self) -> list[LabelClass]:
        """The classes that were not merged into another."""
        return [entry for entry in self if entry.merged_into is None]

    def shared_names(self) -> set[str]:
        """Names, without case, that several of the classes in use have."""
        counts = Counter(entry.name.casefold() for entry in self.in_use())
        return {name for name, count in counts.items() if count > 1}

    def check_name(self, name: Any, number: int | None = None) -> str:
        """A name without outer blanks, which no other class has.

        Args:
            name: The name.
            number: Id of the class that is to have it; None for a new one.

        Raises:
            SceneError: if it is none.
        """
        text = name.strip() if isinstance(name, str) else ""
        if not 1 <= len(text) <= _MAX_LETTERS or any(unicodedata.category(sign) in _NOT_PRINTED for sign in text):
            raise SceneError(
                f"Expected a class name of 1 to {_MAX_LETTERS} printed letters, found {name!r:.60}; choose another."
            )
        if text.casefold() in VOID_NAMES:
            raise SceneError(
                f"Expected the name of a class, found {text!r}, which means pixels without one; mark those as void."
            )
        for entry in self.in_use():
            if entry.id != number and entry.name.casefold() == text.casefold():
                raise SceneError(f"Expected one class of each name, found {entry.name!r} already; choose another name.")
        return text

    def free_color(self, number: int) -> tuple[int, int, int]:
        """A colour that no class has yet."""
        taken = {entry.color for entry in self}
        candidates = (voc_color((number + step) % 255 + 1) for step in range(255))
        return next((color for color in candidates if color not in taken), voc_color(number % 255 + 1))

    def after(self, action: dict[str, Any]) -> "ClassList":
        """The classes after an action of a journal; one of a class that is not there (any more) changes nothing.

        Args:
            action: `{"kind": "add_class", "id", "name", "color"}`, or `"rename_class"` with `id` and `name`,
                `"recolor_class"` with `id` and `color`, `"merge_class"` with `id` and `into` (None to split it off
                again), `"lock_class"` with `id` and `is_locked`, `"void_class"` with `id` and `is_void`, or
                `"delete_class"` with `id`, which takes what was merged into the class along.
        """
        number, kind = action["id"], action["kind"]
        known = {entry.id for entry in self}
        if kind == "add_class":
            added = LabelClass(number, action["name"], _as_color(action["color"]), is_thing=action.get("is_thing"))
            return ClassList((*self, added))
        if number not in known:
            return self
        if kind == "delete_class":
            parts = self.parts_of(number)
            return ClassList(entry for entry in self if entry.id not in parts)
        into = action.get("into")
        if kind == "merge_class" and into is not None and (into not in known or self.final_id(into) == number):
            return self  # the last is a circle, which undo and redo of two people can make
        changes: dict[str, dict[str, Any]] = {
            "rename_class": {"name": action.get("name")},
            "recolor_class": {"color": _as_color(action.get("color", (0, 0, 0)))},
            "merge_class": {"merged_into": into},
            "lock_class": {"is_locked": action.get("is_locked")},
            "void_class": {"is_void": action.get("is_void")},
        }
        return ClassList(replace(entry, **changes[kind]) if entry.id == number else entry for entry in self)


def check_color(color: Any) -> tuple[int, int, int]:
    """A colour (r, g, b), 0..255.

    Raises:
        SceneError: if it is none.
    """
    is_triple = isinstance(color, list | tuple) and len(color) == 3
    if not is_triple or not all(isinstance(c, int) and not isinstance(c, bool) and 0 <= c <= 255 for c in color):
        raise SceneError(f"Expected a colour of three whole numbers 0..255, found {color!r:.60}; choose another.")
    return _as_color(color)


def next_id(used: Iterable[int], void_id: int) -> int:
    """An id above all that were ever used, which is not that of void.

    Raises:
        SceneError: if there is none left.
    """
    number = max(used, default=0) + 1
    number += number == void_id
    if number > MAX_CLASS_ID:
        raise SceneError(
            f"Expected class ids up to {MAX_CLASS_ID}, found that all are used; use a class that there is already."
        )
    return number


def _as_color(color: Sequence[int]) -> tuple[int, int, int]:
    red, green, blue = color
    return red, green, blue
