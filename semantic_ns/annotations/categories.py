"""The categories of COCO files: one list of classes for all files, whatever their ids are."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semantic_ns.annotations.records import entry_of, id_of, name_of, value_of
from semantic_ns.annotations.types import Notes
from semantic_ns.errors import SceneError
from semantic_ns.labels.class_table import MAX_ID


@dataclass(frozen=True)
class Category:
    """One category of one file: its id as text, its name, that of its parent, and whether an annotation has it."""

    id: str
    name: str
    parent: str
    is_used: bool
    record: Mapping[str, Any]


def read_categories(content: Any, path: Path) -> list[Category]:
    """The categories of a COCO file.

    Raises:
        SceneError: if the list is missing, a category has no id or name, or two have the same id.
    """
    used = {_category_id(record) for record in _records_with_category(content)}
    found: dict[str, Category] = {}
    for position, record in enumerate(entry_of(content, "categories", list, str(path))):
        where = f"category number {position} of {path}"
        number = id_of(record, "id", where)
        if number in found:
            raise SceneError(f"Expected each id of the categories once in {path}, found {number} twice; renumber one.")
        parent = value_of(record, "supercategory")
        name = name_of(record, "name", where)
        found[number] = Category(number, name, parent if isinstance(parent, str) else "", number in used, record)
    return list(found.values())


def _records_with_category(content: Any) -> Iterable[Any]:
    annotations = value_of(content, "annotations")
    for annotation in annotations if isinstance(annotations, list) else ():
        segments = value_of(annotation, "segments_info")
        yield from segments if isinstance(segments, list) else [annotation]


def _category_id(record: Any) -> str:
    try:
        return id_of(record, "category_id", "")
    except SceneError:
        return ""  # told where the annotation is read


def classes_of(files: Sequence[Sequence[Category]], notes: Notes) -> list[dict[str, Any]]:
    """The classes of all files as `{id, name, color?, is_thing?}`, each name once.

    Left out are parents of other categories that no annotation has (Roboflow lists the project as such), and
    categories without annotations whose name is another's. A class keeps the id of its first category if this is a
    whole number that is free.
    """
    by_name: dict[str, Category] = {}
    for category in _kept([category for file in files for category in file], notes):
        by_name.setdefault(category.name, category)
    taken: set[int] = set()
    late = []
    classes = {}
    for name, category in by_name.items():
        number = int(category.id) if category.id.isascii() and category.id.isdigit() and len(category.id) < 6 else -1
        if number in taken or not 0 <= number <= MAX_ID:
            late.append(name)
        else:
            taken.add(number)
            classes[name] = number
    for name in late:
        classes[name] = next(number for number in range(1, len(by_name) + len(taken) + 2) if number not in taken)
        taken.add(classes[name])
    if late:
        told = ", ".join(f"{name} {classes[name]}" for name in late[:5])
        notes.say(f"categories whose id is taken, above {MAX_ID} or no number have another ({told})")
    return [{"id": classes[name], "name": name, **_details(category.record)} for name, category in by_name.items()]


def _kept(categories: Sequence[Category], notes: Notes) -> list[Category]:
    used = {category.name.casefold(): category for category in categories if category.is_used}
    parents = {category.parent for category in categories}
    kept = []
    for category in categories:
        namesake = used.get(category.name.casefold())
        is_root = category.parent in {"none", ""} and category.name in parents and len(categories) > 1
        if category.is_used or (not is_root and (namesake is None or namesake.name == category.name)):
            kept.append(category)
        else:
            notes.say(f"the category '{category.name}' (id {category.id}) has no annotation and is left out")
    return kept or list(categories)


def _details(record: Mapping[str, Any]) -> dict[str, Any]:
    details: dict[str, Any] = {}
    color = record.get("color")
    if isinstance(color, list) and len(color) == 3 and all(type(value) is int and 0 <= value <= 255 for value in color):
        details["color"] = color
    if str(record.get("isthing")).lower() in {"0", "1", "true", "false"}:
        details["is_thing"] = str(record["isthing"])
    return details
