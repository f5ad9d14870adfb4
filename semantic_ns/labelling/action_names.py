"""What an action is, in words, for people who may take back one of somebody else."""

from collections.abc import Sequence
from typing import Any

from semantic_ns.errors import SceneError
from semantic_ns.labelling.actions import MARK_ELSEWHERE, Entry
from semantic_ns.labelling.classes import ClassList
from semantic_ns.labelling.surface import FrameInfo


def described(entry: Entry, classes: ClassList, frames: Sequence[FrameInfo]) -> str:
    """A part of a sentence that says what an action did.

    Args:
        entry: The action, which is no undo or redo.
        classes: The classes of now.
        frames: The frames.
    """
    values = entry.values
    if entry.kind == "mark":
        mark = values["mark"]
        said = "a mark of void" if mark["action"] == "void" else "what was erased"
        said = f"a mark of {_name(mark['class_id'], classes)}" if mark["action"] == "paint" else said
        return f"{said} on {frames[mark['frame']].name}"
    if entry.kind in {"import", "switch_import"}:
        return "imported labels" if entry.kind == "import" else "a switch of the imported labels"
    if entry.kind == MARK_ELSEWHERE:
        return "a mark on a frame that is gone"
    if entry.kind == "delete_class":
        return f"{values['name']!r} deleted"
    name = _name(values["id"], classes)
    if entry.kind == "merge_class":
        into = values["into"]
        return f"{name} split off" if into is None else f"{name} merged into {_name(into, classes)}"
    said = {"add_class": "added", "rename_class": "given its name", "recolor_class": "given its colour"}
    said["void_class"] = "made void" if values.get("is_void") else "made a class again"
    return f"{name} {said.get(entry.kind, 'locked or unlocked')}"


def _name(number: Any, classes: ClassList) -> str:
    try:
        return repr(classes.find(number).name)
    except SceneError:
        return "a class that is gone"
