"""VGG Image Annotator: the JSON of annotations or the project, of version 1, 2 or 3, or the CSV of version 2 or 3.

- Regions: `polygon`, `rect`, `circle`, `ellipse`. Points and polylines label nothing and are counted, as are regions
  without a class.
- Where regions overlap, the later one wins.
- A region's class is its attribute. If there are several attributes, it is the one called class, label, category,
  name, object or type.
- The classes are the values that occur, in alphabetical order from id 1. The files do not say the size of an image, so
  that the shapes belong to an image of any size.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from semantic_ns.annotations import shapes as drawing
from semantic_ns.annotations.records import entry_of, in_short, name_of, number_of, points_of, value_of
from semantic_ns.annotations.shapes import (
    NAMELESS,
    UNNAMED,
    WITHOUT_AREA,
    Draw,
    Shape,
    ShapeImage,
    annotations_of,
    are_finite,
    is_region,
)
from semantic_ns.annotations.types import Annotations, Notes
from semantic_ns.annotations.via_records import read_images
from semantic_ns.errors import SceneError
from semantic_ns.labels.class_table import ClassTable

_CLASS_ATTRIBUTES = ("class", "label", "category", "name", "object", "type")
_WITHOUT_AREA = ("point", "polyline")  # no set, which cannot look up a list

Record = tuple[Mapping[str, Any], str]
"""An image and its place in the file, for errors."""


def _keys(value: Any) -> set[Any]:
    return set(value) if isinstance(value, Mapping) else set()


def read_via(paths: Sequence[Path], table: ClassTable | None, notes: Notes) -> Annotations:
    """Read files of the VGG Image Annotator.

    Args:
        paths: the JSON or CSV files.
        table: the classes, found by the regions' attribute; None takes the values that occur.
        notes: notes, to which what was left out is added.

    Raises:
        SceneError: if a region cannot be understood, or it is not clear which attribute is the class. The sentence
            names the region.
    """
    records: list[Record] = []
    for path in paths:
        records += [(image, f"image number {i} of {path}") for i, image in enumerate(read_images(path))]
    regions = [_regions(image, where) for image, where in records]
    attribute = _class_attribute([region for of_image in regions for region in of_image], paths[0])
    found = []
    for (image, where), of_image in zip(records, regions, strict=True):
        if not of_image and value_of(image, "filename") is None and isinstance(image, Mapping):
            notes.count(NAMELESS)
            continue
        shapes = [_shape(region, attribute, f"region {i} of {where}", notes) for i, region in enumerate(of_image)]
        name = entry_of(image, "filename", str, where)
        found.append(ShapeImage(name, where, None, [shape for shape in shapes if shape is not None]))
    return annotations_of(found, None, table, f"regions of {paths[0]}", notes)


def _regions(image: Any, where: str) -> list[Any]:
    """The regions of an image: a list, or in version 1 an object of them by number."""
    regions = value_of(image, "regions")
    if isinstance(regions, Mapping):
        return list(regions.values())
    if regions is None:
        return []
    return entry_of(image, "regions", list, where)


def _class_attribute(regions: Sequence[Any], path: Path) -> str:
    """Name of the attribute that holds the class."""
    names = {key: None for region in regions for key in _keys(value_of(region, "region_attributes"))}
    by_small = {str(name).strip().lower(): name for name in names}
    if len(names) == 1:
        return next(iter(names))
    chosen = next((by_small[name] for name in _CLASS_ATTRIBUTES if name in by_small), None)
    if chosen is None and regions:
        raise SceneError(
            f"Expected a region attribute called class or label, or a single one, in {path}, found "
            f"{in_short(sorted(map(str, names)))}; rename the one that holds the class."
        )
    return chosen or ""


def _shape(region: Any, attribute: str, where: str, notes: Notes) -> Shape | None:
    outline = entry_of(region, "shape_attributes", Mapping, where)
    kind = outline.get("name")
    if kind in _WITHOUT_AREA:
        notes.count(WITHOUT_AREA)
        return None
    draw = _draw(kind, outline, where, notes)
    if draw is None:
        return None
    value = value_of(value_of(region, "region_attributes"), attribute)
    if isinstance(value, Mapping):
        # A checkbox: an object with the chosen options as keys.
        chosen = [key for key, is_chosen in value.items() if is_chosen]
        if len(chosen) > 1:
            raise SceneError(
                f"Expected one option of {in_short(attribute)} at {where}, found {in_short(chosen)}; choose one."
            )
        value = chosen[0] if chosen else None
    if value is None or value == "":
        notes.count(UNNAMED)
        return None
    return Shape(name_of({attribute: value}, attribute, where), draw, where)


def _draw(kind: Any, outline: Mapping[str, Any], where: str, notes: Notes) -> Draw | None:
    if kind == "circle":
        x, y, radius = (number_of(outline, key, where) for key in ("cx", "cy", "r"))
        points = np.array([[x, y], [x + radius, y]])
        return drawing.circle(points) if are_finite(points, notes) else None
    if kind == "extreme circle":
        on_it = [[number_of(outline, f"{axis}{i}", where) for axis in "xy"] for i in (1, 2, 3)]
        return _circle_through(np.array(on_it), notes)
    if kind == "ellipse":
        x, y, rx, ry = (number_of(outline, key, where) for key in ("cx", "cy", "rx", "ry"))
        angle = number_of(outline, "theta", where) if outline.get("theta") else 0.0
        if not are_finite(np.array([[x, y], [rx, ry], [angle, angle]]), notes):
            return None
        return drawing.ellipse(np.array([x, y]), np.array([rx, ry]), angle)
    if kind == "rect":
        x, y, width, height = (number_of(outline, key, where) for key in ("x", "y", "width", "height"))
        points = np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]])
    elif kind == "polygon":
        xs, ys = (entry_of(outline, f"all_points_{axis}", list, where) for axis in "xy")
        if len(xs) != len(ys):
            raise SceneError(
                f"Expected as many x as y of the corners at {where}, found {len(xs)} and {len(ys)}; redraw it."
            )
        points = points_of([list(pair) for pair in zip(xs, ys, strict=True)], where)
    else:
        raise SceneError(f"Expected a polygon, rect, circle or ellipse at {where}, found {in_short(kind)}; redraw it.")
    if not is_region(points, notes):
        return None
    return drawing.polygon(points)


def _circle_through(points: Float64[ndarray, "3 2"], notes: Notes) -> Draw | None:
    """What draws the circle through three points: its middle is as far from the first as from the others."""
    if not is_region(points, notes):
        return None
    sides = points[1:] - points[0]
    centre = points[0] + np.linalg.solve(2 * sides, (sides**2).sum(axis=1))
    return drawing.circle(np.stack([centre, points[0]]))
