"""What the address of the classes takes, and how the page gets to know them; no sockets."""

from collections.abc import Callable
from typing import Any

from semantic_ns.labelling.answers import hex_color
from semantic_ns.labelling.interface import SessionLike
from semantic_ns.labelling.requests import Body, RequestError

_CHANGES = ("add", "rename", "recolor", "merge", "split", "lock", "void", "delete")
_SWITCHES = {"lock": "is_locked", "void": "is_void"}
"""What is said by true or false, by the action."""


def listed_classes(session: SessionLike) -> list[dict[str, Any]]:
    """The classes, merged ones among them, with how many marks each has, and whether imported labels have it."""
    classes, evidence = session.classes, session.class_evidence()
    listed = []
    for one in classes:
        num_marks, is_imported = evidence.get(one.id, (0, False))
        listed.append(
            {
                "id": one.id,
                "name": one.name,
                "color": hex_color(one.color),
                "is_locked": one.is_locked,
                "is_void": one.is_void,
                "merged_into": one.merged_into,
                "num_marks": num_marks,
                "is_imported": is_imported,
            }
        )
    return listed


def class_change(body: Body, session: SessionLike) -> tuple[Callable[[str, int], int], bool]:
    """What a request does to the classes, as a function of a client and a sequence, and whether that adds one.

    Raises:
        RequestError: a part of the request is missing, or is none.
    """
    action = body.choice("action", _CHANGES)
    if action == "add":
        name, color = body.class_name("name"), body.color("color")
        return lambda *who: session.add_class(name, color, *who), True
    number = body.integer("id")
    if action == "delete":
        with_marks, most_marks = body.truth("with_marks"), body.optional_integer("num_marks")
        return lambda *who: session.delete_class(number, with_marks, *who, most_marks=most_marks), False
    return _change_of(action, number, body, session), False


def _change_of(action: str, number: int, body: Body, session: SessionLike) -> Callable[[str, int], int]:
    parts: tuple[Any, ...] = ()
    if action == "rename":
        parts = (body.class_name("name"),)
    elif action == "recolor":
        parts = (body.color("color"),)
        if parts == (None,):
            raise RequestError("Expected a colour like #ff8000 as 'color', found none.")
    elif action == "merge":
        parts = (body.integer("into"),)
    elif action in _SWITCHES:
        parts = (body.truth(_SWITCHES[action]),)
    changes: dict[str, Callable[..., int]] = {
        "rename": session.rename_class,
        "recolor": session.recolor_class,
        "merge": session.merge_class,
        "split": session.split_class,
        "lock": session.lock_class,
        "void": session.void_class,
    }
    return lambda *who: changes[action](number, *parts, *who)
