"""CVAT's own XML, "CVAT for images" and "CVAT for video": `annotations.xml`.

- Shapes: `polygon`, `box` (also turned, about its middle), `ellipse`, and `mask` (run lengths along the rows of a
  bounding box). Polylines, points, cuboids, skeletons and tags label nothing and are counted.
- Where shapes overlap, the one of the higher `z_order` wins; among equals the later one, as in CVAT.
- The classes are the labels of the task, in their order and with their colours, with ids from 1.
- A track has shapes at some frames of a video. Between two of them corners move evenly if there are as many, and
  otherwise the earlier shape stays; a shape that is `outside` ends the track.
- Frames of a video are called `frame_000000` and so on, as CVAT exports them. Where a scene has no images of such names
  but as many as the video has frames, they belong together in the order of the file names.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np
from jaxtyping import Bool, Float64
from numpy import ndarray

from semantic_ns.annotations import shapes as drawing
from semantic_ns.annotations.records import in_short, name_of, number_of, points_of, size_of, whole_number_of
from semantic_ns.annotations.regions import turned_rectangle
from semantic_ns.annotations.shapes import (
    NAMELESS,
    WITHOUT_AREA,
    Draw,
    Shape,
    ShapeImage,
    annotations_of,
    are_finite,
    has_area,
    is_region,
)
from semantic_ns.annotations.types import Annotations, Notes
from semantic_ns.annotations.xml_files import read_xml
from semantic_ns.dataparsers.scene import ImageSize
from semantic_ns.errors import SceneError
from semantic_ns.io.run_lengths import mask_of_runs
from semantic_ns.labels.class_table import ClassTable

_DRAWN = frozenset({"polygon", "box", "ellipse", "mask"})
_NOT_DRAWN = frozenset({"polyline", "points", "cuboid", "skeleton", "tag"})
_MAX_FRAMES = 100_000


def read_cvat(paths: Sequence[Path], table: ClassTable | None, notes: Notes) -> Annotations:
    """Read CVAT's XML files.

    Args:
        paths: the XML files.
        table: the classes, found by the labels' names; None takes the labels of the tasks.
        notes: notes, to which what was left out is added.

    Raises:
        SceneError: if a file cannot be understood or a shape is damaged. The sentence names the shape.
    """
    images: list[ShapeImage] = []
    classes: dict[str, dict[str, Any]] = {}
    for path in paths:
        root = read_xml(path)
        if root.tag != "annotations":
            raise SceneError(
                f"Expected CVAT's annotations in {path}, found <{in_short(root.tag)}>; export them as CVAT for images."
            )
        for entry in _listed_classes(root, path):
            classes.setdefault(entry["name"], entry)
        for position, element in _numbered(root, "image"):
            if len(element) or (element.get("name") or "").strip():
                images.append(_image(element, f"image number {position} of {path}", path, notes))
            else:
                notes.count(NAMELESS)
        if root.find("track") is not None:
            images += _video(root, path, notes)
    source = f"labels of {paths[0]}"
    return annotations_of(images, list(classes.values()) or None, table, source, notes)


def _numbered(parent: Element, tag: str) -> Iterator[tuple[int, Element]]:
    return enumerate(parent.iterfind(tag))


def _listed_classes(root: Element, path: Path) -> Iterator[dict[str, Any]]:
    """The labels of the task, the job or the project, without the parts of skeletons."""
    for position, label in enumerate(root.iterfind("meta/*/labels/label")):
        if label.findtext("parent"):
            continue
        entry: dict[str, Any] = {
            "name": name_of({"name": label.findtext("name")}, "name", f"label {position} of {path}")
        }
        color = (label.findtext("color") or "").strip().lstrip("#")
        if len(color) == 6 and not set(color.lower()) - set("0123456789abcdef"):
            entry["color"] = list(bytes.fromhex(color))
        yield entry


def _image(element: Element, where: str, path: Path, notes: Notes) -> ShapeImage:
    name = element.get("name") or ""
    if not name.strip():
        raise SceneError(f"Expected the name of {where}, found none; export the annotations again.")
    size = size_of(element.attrib, ("width", "height"), where)
    shapes = []
    for position, child in enumerate(element):
        place = f"{child.tag} number {position} of {where}"
        shape = _shape(child, child.attrib.get("label"), size, place, notes)
        if shape is not None:
            shapes.append((_z_order(child, place), shape))
    return ShapeImage(name, str(path), size, _in_order(shapes))


def _z_order(element: Element, where: str) -> int:
    return whole_number_of(element.attrib, "z_order", where) if element.get("z_order") else 0


def _in_order(shapes: Iterable[tuple[int, Shape]]) -> list[Shape]:
    return [shape for _, shape in sorted(shapes, key=lambda pair: pair[0])]


def _shape(element: Element, label: str | None, size: ImageSize | None, where: str, notes: Notes) -> Shape | None:
    if element.tag in _NOT_DRAWN:
        notes.count(WITHOUT_AREA)
        return None
    if element.tag not in _DRAWN:
        raise SceneError(f"Expected a shape of CVAT at {where}, found {in_short(element.tag)}; export it again.")
    name = name_of({"label": label}, "label", where)
    draw = _draw(element, size, where, notes)
    return None if draw is None else Shape(name, draw, where)


def _draw(element: Element, size: ImageSize | None, where: str, notes: Notes) -> Draw | None:
    if element.tag == "mask":
        return _mask(element.attrib, size, where)
    if element.tag == "ellipse":
        cx, cy, rx, ry = (number_of(element.attrib, key, where) for key in ("cx", "cy", "rx", "ry"))
        angle = np.deg2rad(_angle(element, where))
        if not are_finite(np.array([[cx, cy], [rx, ry], [angle, angle]]), notes):
            return None
        return drawing.ellipse(np.array([cx, cy]), np.array([rx, ry]), angle)
    points = _box(element, where) if element.tag == "box" else _points(element.get("points") or "", where)
    if not is_region(points, notes):
        return None
    return drawing.polygon(points)


def _angle(element: Element, where: str) -> float:
    return number_of(element.attrib, "rotation", where) if element.get("rotation") else 0.0


def _box(element: Element, where: str) -> Float64[ndarray, "4 2"]:
    left, top, right, bottom = (number_of(element.attrib, key, where) for key in ("xtl", "ytl", "xbr", "ybr"))
    middle = ((left + right) / 2, (top + bottom) / 2)
    return turned_rectangle((left, top), (right - left, bottom - top), middle, _angle(element, where))


def _points(text: str, where: str) -> Float64[ndarray, "points 2"]:
    return points_of([pair.split(",") for pair in text.split(";") if pair.strip()], where)


def _mask(attributes: Mapping[str, str], size: ImageSize | None, where: str) -> Draw:
    left, top, width, height = (whole_number_of(attributes, key, where) for key in ("left", "top", "width", "height"))
    if size is None:
        raise SceneError(f"Expected the width and height of the image for {where}, found none; export it again.")
    if min(left, top) < 0 or min(width, height) < 1 or left + width > size[0] or top + height > size[1]:
        raise SceneError(
            f"Expected a mask inside the image of {size[0]}x{size[1]} pixels at {where}, found {width}x{height} at "
            f"({in_short(left)}, {in_short(top)}); export it again."
        )
    text = attributes.get("rle", "")

    def read() -> Bool[ndarray, "height width"]:
        try:
            part = mask_of_runs([int(run) for run in text.split(",")], width * height)
        except ValueError as error:
            raise SceneError(
                f"Expected run lengths (rle) for {width}x{height} pixels at {where}, found {in_short(text)} ({error}); "
                "export it again."
            ) from error
        mask = np.zeros((size[1], size[0]), bool)
        mask[top : top + height, left : left + width] = part.reshape(height, width)
        return mask

    return drawing.pixels(read)


def _video(root: Element, path: Path, notes: Notes) -> list[ShapeImage]:
    """The frames of a video with the shapes of all tracks."""
    size = None
    original = root.find("meta/*/original_size")
    if original is not None:
        texts = {key: original.findtext(key) for key in ("width", "height")}
        size = size_of(texts, ("width", "height"), f"original_size of {path}")
    tracks = [_Track(track, size, f"track number {i} of {path}", notes) for i, track in _numbered(root, "track")]
    stated = root.findtext("meta/*/size")
    last = max((track.last for track in tracks), default=-1) + 1
    count = whole_number_of({"size": stated}, "size", str(path)) if stated else last
    if not last <= count <= _MAX_FRAMES:
        raise SceneError(
            f"Expected a video of {last}..{_MAX_FRAMES} frames, since the tracks have so many, found size {count} in "
            f"{path}; export it again."
        )
    images = []
    for frame in range(count):
        shapes = [pair for track in tracks for pair in track.at(frame)]
        images.append(ShapeImage(f"frame_{frame:06d}", str(path), size, _in_order(shapes), (frame, count)))
    return images


class _Track:
    """An object of a video: its shapes by the number of their frame."""

    def __init__(self, element: Element, size: ImageSize | None, where: str, notes: Notes) -> None:
        self._name = name_of(element.attrib, "label", where)
        self._size = size
        self._where = where
        self._notes = notes
        self._shapes: dict[int, Element] = {}
        for shape in element:
            self._shapes[whole_number_of(shape.attrib, "frame", f"a shape of {where}")] = shape
        if any(not 0 <= frame < _MAX_FRAMES for frame in self._shapes):
            raise SceneError(f"Expected frames 0..{_MAX_FRAMES - 1} in {where}, found others; export it again.")
        self._frames = np.array(sorted(self._shapes), int)

    @property
    def last(self) -> int:
        """Number of the last frame with a shape; -1 without shapes."""
        return int(self._frames[-1]) if len(self._frames) else -1

    def at(self, frame: int) -> list[tuple[int, Shape]]:
        """The shape at a frame and its place in depth, or none."""
        place = int(np.searchsorted(self._frames, frame, side="right")) - 1
        if place < 0:
            return []
        first = int(self._frames[place])
        start = self._shapes[first]
        if start.get("outside") == "1":
            return []
        where = f"frame {frame} of {self._where}"
        shape = None
        if first != frame and place + 1 < len(self._frames):
            shape = self._between(start, first, int(self._frames[place + 1]), frame, where)
        shape = shape or _shape(start, self._name, self._size, where, self._notes)
        return [] if shape is None else [(_z_order(start, where), shape)]

    def _between(self, start: Element, first: int, second: int, frame: int, where: str) -> Shape | None:
        """The shape between two frames, if both are polygons of as many corners and the second is inside."""
        end = self._shapes[second]
        if start.tag != end.tag or start.tag not in {"polygon", "box"} or end.get("outside") == "1":
            return None
        corners = [
            _box(shape, where) if shape.tag == "box" else _points(shape.get("points") or "", where)
            for shape in (start, end)
        ]
        # Where a corner is no finite number the earlier shape stays.
        is_known = all(np.isfinite(points).all() for points in corners)
        if not is_known or len(corners[0]) != len(corners[1]) or not has_area(corners[0]):
            return None
        weight = (frame - first) / (second - first)
        return Shape(self._name, drawing.polygon(corners[0] * (1 - weight) + corners[1] * weight), where)
