"""The files of a folder of annotations: which there are, and of which tool each JSON or XML file is."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from semantic_ns.annotations.records import value_of
from semantic_ns.annotations.via_records import is_via
from semantic_ns.io.text import read_json

JSON_LINES_SUFFIXES = (".ndjson", ".jsonl")
_HIDDEN = "."
_OF_MAC = "__MACOSX"


def files_in(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """The files of a folder and its subfolders with one of the endings, in order of their paths.

    Hidden files are left out, and so are those that macOS adds to archives.
    """
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in suffixes and path.is_file() and not _is_hidden(path.relative_to(folder))
    )


def _is_hidden(relative: Path) -> bool:
    return any(part.startswith(_HIDDEN) or part == _OF_MAC for part in relative.parts)


def tool_of_json(path: Path) -> str | None:
    """The format of a JSON file by its content, as `read_annotations` calls it, or None for another file.

    Raises:
        SceneError: if the file is no JSON.
    """
    if path.suffix.lower() in JSON_LINES_SUFFIXES:
        return "labelbox"
    content = read_json(path)
    if isinstance(content, list) and content and all(map(_is_labelbox, content)):
        return "labelbox"
    if isinstance(content, list):
        return "label-studio" if content and all(_is_task(item) for item in content) else None
    if not isinstance(content, Mapping):
        return None
    is_of = {
        "labelme": "shapes" in content,
        "cityscapes": {"objects", "imgHeight"} <= content.keys(),
        "supervisely": {"objects", "size"} <= content.keys(),
        "label-studio": _is_task(content),
        "via": is_via(content),
        "coco": "annotations" in content,
    }
    return next((name for name, is_it in is_of.items() if is_it), None)


def _is_task(item: Any) -> bool:
    """Whether this is a task of Label Studio, or an image of its short form."""
    if not isinstance(item, Mapping):
        return False
    if isinstance(item.get("data"), Mapping):
        return True
    return isinstance(item.get("image"), str) and bool({"annotation_id", "annotator", "label"} & item.keys())


def _is_labelbox(row: Any) -> bool:
    """Whether this is a data row of Labelbox, or a row of its former export."""
    is_former = value_of(row, "Label") is not None and any(
        value_of(row, key) for key in ("External ID", "Labeled Data")
    )
    return isinstance(value_of(row, "data_row"), Mapping) or is_former
