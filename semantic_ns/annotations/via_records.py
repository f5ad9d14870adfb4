"""The images and regions in files of the VGG Image Annotator, whose versions differ, as those of its version 2.

Version 3 keeps views of files, and in `metadata` the regions as lists of numbers (`[2, x, y, width, height]` is a
rectangle) with their attributes by number. The CSV file of version 2 has a line per region, as has that of version 3,
which begins with comments.
"""

import csv
import io
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from semantic_ns.annotations.records import entry_of, in_short, value_of
from semantic_ns.errors import SceneError
from semantic_ns.io.text import read_json, read_text

Image = Mapping[str, Any]
"""An image of version 2: `filename` and `regions`, each with `shape_attributes` and `region_attributes`."""

_IMAGES_OF_PROJECT = "_via_img_metadata"
_OUTLINE = "region_shape_attributes"
_FIRST_COMMENT = "# Exported using VGG Image Annotator"
_COLUMNS_OF_VERSION_3 = ("metadata_id", "file_list", "flags", "temporal_coordinates", "spatial_coordinates", "metadata")
_SHAPES_OF_VERSION_3 = {
    1: ("point", ("cx", "cy")),
    2: ("rect", ("x", "y", "width", "height")),
    3: ("circle", ("cx", "cy", "r")),
    4: ("ellipse", ("cx", "cy", "rx", "ry")),
    5: ("polyline", ()),
    6: ("polyline", ()),
    7: ("polygon", ()),
    8: ("extreme rect", ()),
    9: ("extreme circle", ("x1", "y1", "x2", "y2", "x3", "y3")),
}


def is_via(content: Mapping[str, Any]) -> bool:
    """Whether JSON is a project of the VGG Image Annotator, or an object of images with regions."""
    if isinstance(content.get(_IMAGES_OF_PROJECT), Mapping) or _is_version_3(content):
        return True
    images = list(content.values())
    return bool(images) and all(
        isinstance(value_of(image, "filename"), str) and value_of(image, "regions") is not None for image in images
    )


def is_via_csv(path: Path) -> bool:
    """Whether a CSV file is one of the VGG Image Annotator, by its header."""
    with path.open("rb") as file:
        start = file.read(1000)
    return _OUTLINE.encode() in start.partition(b"\n")[0] or _is_csv_of_version_3(start)


def _is_csv_of_version_3(start: bytes) -> bool:
    return start.removeprefix(b"\xef\xbb\xbf").startswith(_FIRST_COMMENT.encode())


def _is_version_3(content: Mapping[str, Any]) -> bool:
    return {"attribute", "file", "metadata", "view"} <= content.keys()


def read_images(path: Path) -> list[Image]:
    """The images of a file.

    Raises:
        SceneError: if it is neither JSON nor CSV of the tool, or a record refers to what is not there.
    """
    if path.suffix.lower() == ".csv":
        text = read_text(path)
        return _of_csv_of_version_3(text, path) if _is_csv_of_version_3(text[:1000].encode()) else _of_csv(text, path)
    content = read_json(path)
    if isinstance(content, Mapping) and _is_version_3(content):
        return _of_version_3(content, path)
    images = content.get(_IMAGES_OF_PROJECT, content) if isinstance(content, Mapping) else None
    if not isinstance(images, Mapping):
        raise SceneError(f"Expected an object of images in {path}, found {in_short(images)}; export it again.")
    return list(images.values())


def _of_csv(text: str, path: Path) -> list[Image]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    regions_of: dict[str, list[Any]] = {}
    try:
        for row in reader:
            where = f"line {reader.line_num} of {path}"
            cells = {str(key).lstrip("#").strip(): value for key, value in row.items()}
            outline, attributes = (_cell(cells, key, where) for key in (_OUTLINE, "region_attributes"))
            name = entry_of(cells, "filename", str, where)
            regions = regions_of.setdefault(name, [])
            if outline:
                regions.append({"shape_attributes": outline, "region_attributes": attributes})
    except csv.Error as error:
        raise SceneError(
            f"Expected comma separated values in {path}, found a mistake at line {reader.line_num} ({error}); export "
            "it again."
        ) from error
    return [{"filename": name, "regions": regions} for name, regions in regions_of.items()]


def _of_csv_of_version_3(text: str, path: Path) -> list[Image]:
    """Lines of files, shapes as lists of numbers and attributes by number, after comments that name the attributes."""
    comments, lines = [], []
    for line in text.split("\n"):
        # Only what stands before the first region is a comment.
        (comments if line.startswith("#") and not lines else lines).append(line)
    attributes: Any = {}
    for comment in comments:
        key, _, value = comment.lstrip("# ").partition("=")
        if key.strip() in ("ATTRIBUTE", "ATTRIBUTES"):
            attributes = _cell({"ATTRIBUTE": value}, "ATTRIBUTE", str(path))
    reader = csv.DictReader(io.StringIO("\n".join(lines), newline=""), _COLUMNS_OF_VERSION_3, strict=True)
    views: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    try:
        for number, row in enumerate(reader):
            cells = {str(key): value for key, value in row.items()}
            where = f"region number {number} of {path}"
            names = _cell(cells, "file_list", where)
            name = names[0] if isinstance(names, list) and len(names) == 1 else None
            view = entry_of({"file_list": name}, "file_list", str, where)
            views[view] = {"fid_list": [view]}
            shape, values = (_cell(cells, key, where) for key in ("spatial_coordinates", "metadata"))
            metadata[str(number)] = {"vid": view, "xy": shape, "av": values}
    except csv.Error as error:
        raise SceneError(
            f"Expected comma separated values in {path}, found a mistake in region number {len(metadata)} ({error}); "
            "export it again."
        ) from error
    files = {view: {"fname": view} for view in views}
    return _of_version_3({"attribute": attributes, "file": files, "metadata": metadata, "view": views}, path)


def _cell(cells: Mapping[str, Any], key: str, where: str) -> Any:
    text = entry_of(cells, key, str, where)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SceneError(
            f"Expected JSON as {key} of {where}, found {in_short(text)}; export it again, without a spreadsheet."
        ) from error


def _of_version_3(content: Mapping[str, Any], path: Path) -> list[Image]:
    parts = {key: entry_of(content, key, Mapping, str(path)) for key in ("attribute", "file", "metadata", "view")}
    regions_of: dict[str, list[Any]] = {str(key): [] for key in parts["view"]}
    for key, record in parts["metadata"].items():
        where = f"region {in_short(key)} of {path}"
        view = str(value_of(record, "vid"))
        if view not in regions_of:
            raise SceneError(f"Expected a view of {path} as vid of {where}, found {in_short(view)}; export it again.")
        outline = _outline(entry_of(record, "xy", list, where), where)
        attributes = value_of(record, "av")
        values = attributes.items() if isinstance(attributes, Mapping) else ()
        named = dict(_attribute(str(number), value, parts["attribute"]) for number, value in values)
        regions_of[view].append({"shape_attributes": outline, "region_attributes": named})
    return [
        {
            "filename": _file_name(view, parts["file"], f"view {in_short(key)} of {path}"),
            "regions": regions_of[str(key)],
        }
        for key, view in parts["view"].items()
    ]


def _outline(numbers: list[Any], where: str) -> dict[str, Any]:
    """The numbers of a region, the first of which is its kind, as the shape of version 2."""
    if not numbers:
        return {"name": "point"}  # a part of a video
    kind, values = numbers[0], numbers[1:]
    name, keys = _SHAPES_OF_VERSION_3.get(kind, ("", ())) if isinstance(kind, int) else ("", ())
    if not name or (keys and len(keys) != len(values)) or (not keys and len(values) % 2):
        raise SceneError(
            f"Expected the kind of a shape 1..9 and its numbers as xy of {where}, found {in_short(numbers)}; redraw it."
        )
    if keys:
        return {"name": name, **dict(zip(keys, values, strict=True))}
    if name != "extreme rect":
        return {"name": name, "all_points_x": values[::2], "all_points_y": values[1::2]}
    if any(value is None or (isinstance(value, float) and not math.isfinite(value)) for value in values):
        return {"name": "rect", **dict.fromkeys(("x", "y", "width", "height"))}
    if not values or not all(isinstance(value, int | float) for value in values):
        raise SceneError(f"Expected four points as xy of {where}, found {in_short(numbers)}; redraw it.")
    left, right, top, bottom = (choose(values[start::2]) for start in (0, 1) for choose in (min, max))
    return {"name": "rect", "x": left, "y": top, "width": right - left, "height": bottom - top}


def _attribute(number: str, value: Any, attributes: Mapping[str, Any]) -> tuple[str, Any]:
    """The name of an attribute and its value: the name of the option; of several options a dictionary of them."""
    attribute = value_of(attributes, number)
    options = value_of(attribute, "options")
    names = options if isinstance(options, Mapping) else {}
    chosen = [str(names.get(option, option)) for option in str(value).split(",")] if names else [value]
    name = str(value_of(attribute, "aname") or number)
    return name, chosen[0] if len(chosen) == 1 else dict.fromkeys(chosen, True)


def _file_name(view: Any, files: Mapping[str, Any], where: str) -> str:
    numbers = entry_of(view, "fid_list", list, where)
    if len(numbers) != 1:
        raise SceneError(f"Expected one file as fid_list of {where}, found {len(numbers)}; use views of one image.")
    return entry_of(value_of(files, str(numbers[0])), "fname", str, f"the file of {where}")
