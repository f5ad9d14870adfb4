"""What the value 255 means in masks, and whether ids start at 1: told by all values of a scene together.

Most tools write a mask of one class as 0 and 255, while many data sets write 255 for unlabelled pixels. No image tells
the two apart, but the class table and the values of all images together do.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from semantic_ns.errors import SceneError
from semantic_ns.labels.class_table import ClassTable
from semantic_ns.labels.label_map import LabelMap

FULL = 255
_BINARY = frozenset({0, FULL})


@dataclass(frozen=True)
class MaskRule:
    """How values are read that are no ids of the table, 255 above all.

    Attributes:
        label_map: map from the values in the images to the ids of the table; None where they are the same.
        sentence: the rule that was taken, for the user; None where none was needed or the table says what is meant.
    """

    label_map: LabelMap | None
    sentence: str | None


def rule_of_masks(table: ClassTable, present: Iterable[int], is_partial: bool = False) -> MaskRule:
    """Decide what 255 means in label images.

    - A class of the table has the id 255, or the table declares it void: it means that.
    - The values are 0 and 255 alone, and there are two classes, or one class beside the void id 0: 255 is the last
      class, and 0 is the first class, or void.
    - Otherwise 255 is void, if the table declares no other void or if every class occurs among the other values.

    A list of C names without ids begins at 0. Where 0 never occurs and C does, the values are 1..C and begin at 1.

    Args:
        table: what the ids mean.
        present: every value in every label image of the scene.
        is_partial: whether the scene is still to be labelled, so that few classes may occur yet.

    Raises:
        SceneError: if the values are 0 and 255 alone, and the table has one class with the id 0 or more than two
            classes, so that only a person can tell.
    """
    values = frozenset(present)
    ids = sorted(entry.id for entry in table.entries)
    is_declared = table.has_declared_void and FULL in table.void_ids
    if not is_partial and _begin_at_one(table, ids, values):
        sentence = f"ids 1..{len(ids)} are read as the {len(ids)} names of {table.name} in order, since 0 never occurs"
        void = {FULL: min(table.void_ids)} if table.void_ids else {}
        return MaskRule(LabelMap(sentence, table, {**void, **{number + 1: number for number in ids}}), sentence)
    if FULL not in values or FULL in ids or is_declared or not ids:
        return MaskRule(None, None)
    if values <= _BINARY and 0 in values:
        return _binary_rule(table, ids, is_partial)
    if not table.has_declared_void:
        return MaskRule(None, f"{FULL} is read as void, since {table.name} gives it no class")
    if table.void_ids and set(ids) <= values:
        void = min(table.void_ids)
        sentence = f"{FULL} is read as void, since all classes of {table.name} occur among the other ids"
        identity = {number: number for number in (*ids, *table.void_ids)}
        return MaskRule(LabelMap(sentence, table, {**identity, FULL: void}), sentence)
    return MaskRule(None, None)


def _begin_at_one(table: ClassTable, ids: list[int], values: frozenset[int]) -> bool:
    """Whether a list of C names without ids can only mean the values 1..C: C occurs and 0 does not."""
    from_one = set(range(1, len(ids) + 1))
    is_numbered = not table.has_given_ids and ids == list(range(len(ids))) and not table.void_ids & from_one
    return is_numbered and len(ids) in values and values - {FULL} <= from_one and len(ids) < FULL


def _binary_rule(table: ClassTable, ids: list[int], is_partial: bool) -> MaskRule:
    name_of_id = {entry.id: entry.name for entry in table.entries}
    has_zero_for_void = 0 in table.void_ids
    if len(ids) == 2:
        first = ids[0]
        sentence = f"masks of 0 and {FULL} are read as {name_of_id[first]} and {name_of_id[ids[1]]}"
    elif len(ids) == 1 and has_zero_for_void:
        first = 0
        sentence = f"masks of 0 and {FULL} are read as void and {name_of_id[ids[0]]}"
    elif is_partial or table.has_declared_void or has_zero_for_void:
        return MaskRule(None, None)
    else:
        raise SceneError(
            f"Expected two classes in {table.name} for masks that hold 0 and {FULL} alone, found {len(ids)}; name the "
            f"class of 0 and that of {FULL}, or, if {FULL} is unlabelled, say so by a semantic_void_id of {FULL}."
        )
    others = {number: number for number in ids if number not in _BINARY}
    return MaskRule(LabelMap(sentence, table, {**others, 0: first, FULL: ids[-1]}), sentence)


def doubt_about_first_id(table: ClassTable, present: Iterable[int]) -> str | None:
    """A sentence where the ids may start at 1 for a table that starts at 0, so that each class is one off; else None.

    Args:
        table: what the ids mean.
        present: every value in every label image of the scene.
    """
    name_of_id = {entry.id: entry.name for entry in table.entries}
    if not may_start_at_one(name_of_id, present):
        return None
    return (
        f"id 0 ({name_of_id[0]}) occurs in no label image; if the ids start at 1, every class is one off, which "
        "sns-doctor looks into"
    )


def may_start_at_one(class_ids: Iterable[int], present: Iterable[int]) -> bool:
    """Whether a table has a class 0 that never occurs while 1 does, and the ids less 1 are classes, too."""
    known, values = set(class_ids), set(present) - {FULL}
    return 0 in known and 0 not in values and 1 in values and {number - 1 for number in values} <= known


def reason_for_unknown(class_ids: Iterable[int], present: Iterable[int]) -> str:
    """Why ids are unknown to a table, as a clause that ends a sentence; empty where nothing speaks for a reason.

    Args:
        class_ids: ids of the classes.
        present: every value in every label image of the scene.
    """
    known, values = set(class_ids), set(present)
    if may_start_at_one(known, values):
        return "; the ids seem to start at 1 where the table starts at 0, so subtract 1 or give each class its id"
    if FULL in values and len(values - known) > len(known) and not values <= known | _BINARY:
        return "; values between those of the classes come from smoothing, JPEG or resizing without nearest neighbours"
    return ""
