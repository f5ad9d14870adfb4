"""Shapes of annotations: regions with a class name, drawn over one another into a class for every pixel."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numpy import ndarray

from semantic_ns.annotations.regions import circle_mask, ellipse_mask, polygon_mask, resize_nearest
from semantic_ns.annotations.types import (
    UNLABELLED,
    AnnotatedImage,
    Annotations,
    ClassNames,
    Notes,
    table_from_annotations,
)
from semantic_ns.dataparsers.scene import ImageSize
from semantic_ns.errors import SceneError
from semantic_ns.labels.class_table import ClassTable

WITHOUT_AREA = "shapes without an area (points, lines) label nothing"
DEGENERATE = "polygons of fewer than 3 points or without an area label nothing"
UNNAMED = "regions without a class label nothing"
WITHOUT_REGION = "annotations without a region label nothing"
NAMELESS = "images without a name and without annotations are left out"
NOT_FINITE = "shapes with a coordinate that is no finite number label nothing"


@dataclass(frozen=True)
class Canvas:
    """What shapes are drawn on.

    Attributes:
        size: width and height of the drawing in pixels.
        scale: pixels of the drawing per unit of the annotation, along x and y.
    """

    size: ImageSize
    scale: Float64[ndarray, "2"]


Draw = Callable[[Canvas], Bool[ndarray, "height width"]]
"""Draws a region on a canvas."""


@dataclass(frozen=True)
class Shape:
    """One region: the name of its class, what draws its mask, and its place in the annotations for errors."""

    name: str
    draw: Draw
    where: str


@dataclass(frozen=True)
class ShapeImage:
    """The shapes of one image, in the order in which they are drawn.

    Attributes:
        name: file name of the image, as the annotations give it.
        where: file of the annotations, for errors.
        size: width and height for which the shapes were made; None if the annotations do not say.
        shapes: regions of the image.
        frame: number of the image in its video and the number of images of the video, for annotations without names.
        is_relative: whether points are fractions of width and height.
    """

    name: str
    where: str
    size: ImageSize | None
    shapes: Sequence[Shape]
    frame: tuple[int, int] | None = None
    is_relative: bool = False


def polygon(points: Float64[ndarray, "points 2"]) -> Draw:
    """What draws a closed polygon."""
    return lambda canvas: polygon_mask(points * canvas.scale, canvas.size)


def polygons(parts: Sequence[Float64[ndarray, "_points 2"]], holes: Sequence[Float64[ndarray, "_points 2"]]) -> Draw:
    """What draws the union of polygons, of which there is at least one, without the holes."""

    def draw(canvas: Canvas) -> Bool[ndarray, "height width"]:
        mask = polygon_mask(parts[0] * canvas.scale, canvas.size)
        for part in parts[1:]:
            mask |= polygon_mask(part * canvas.scale, canvas.size)
        for hole in holes:
            mask &= ~polygon_mask(hole * canvas.scale, canvas.size)
        return mask

    return draw


def circle(points: Float64[ndarray, "2 2"]) -> Draw:
    """What draws a circle around the first point through the second."""
    return lambda canvas: circle_mask(points * canvas.scale, canvas.size)


def ellipse(centre: Float64[ndarray, "2"], radii: Float64[ndarray, "2"], angle_rad: float) -> Draw:
    """What draws an ellipse, see `ellipse_mask`."""
    return lambda canvas: ellipse_mask(centre * canvas.scale, radii * canvas.scale, angle_rad, canvas.size)


def pixels(read: Callable[[], Bool[ndarray, "height width"]]) -> Draw:
    """What draws a mask of the size of the annotated image, read when it is drawn."""
    return lambda canvas: resize_nearest(read(), canvas.size)


def has_area(points: Float64[ndarray, "points 2"]) -> bool:
    """Whether a polygon has at least 3 points that are not all on one line."""
    return len(points) >= 3 and bool(np.linalg.matrix_rank(points[1:] - points[0]) == 2)


def are_finite(points: Float64[ndarray, "points 2"], notes: Notes) -> bool:
    """Whether all coordinates are finite; otherwise the shape is counted as one that labels nothing."""
    is_finite = bool(np.isfinite(points).all())
    notes.count(NOT_FINITE, int(not is_finite))
    return is_finite


def is_region(points: Float64[ndarray, "points 2"], notes: Notes) -> bool:
    """Whether a polygon labels pixels: it has finite corners and an area. Others are counted."""
    if not are_finite(points, notes):
        return False
    notes.count(DEGENERATE, int(not has_area(points)))
    return has_area(points)


def annotations_of(
    images: Iterable[ShapeImage],
    classes: Sequence[Mapping[str, Any]] | None,
    table: ClassTable | None,
    source: str,
    notes: Notes,
    smallest_wins: bool = False,
) -> Annotations:
    """Annotations from shapes.

    Args:
        images: annotated images with their shapes.
        classes: classes that the annotations list, as for `table_from_annotations`; None takes the names that occur,
            in alphabetical order.
        table: class table that the user gave, if any.
        source: name of the annotations, for errors.
        notes: notes of the reader, to which those of the drawing are added.
        smallest_wins: whether the shape of fewer pixels wins where shapes overlap, and the later one among equals;
            otherwise always the later one.

    Raises:
        SceneError: if there is no class, or a shape's class is not in the table.
    """
    images = list(images)
    if table is None:
        listed = list(classes) if classes is not None else _names_that_occur(images, notes)
        if classes is None and not listed:
            raise SceneError(
                f"Expected regions of some class for the {source}, found none in {len(images)} images; check that the "
                "annotations were exported and are finished."
            )
        used = table_from_annotations([dict(entry) for entry in listed], source, notes)
    else:
        used = table
    names = ClassNames(used, notes)
    read = []
    for image in images:
        labels = [names.index(shape.name, shape.where) for shape in image.shapes]
        draw = partial(paint, image, labels, smallest_wins)
        read.append(AnnotatedImage(image.name, image.where, draw, lambda size=image.size: size, image.frame))
    return Annotations(used, tuple(read), table is not None, notes)


def _names_that_occur(images: Iterable[ShapeImage], notes: Notes) -> list[dict[str, Any]]:
    """The names of shapes; of those that differ in case alone the first stands for all, which is said."""
    spellings: dict[str, dict[str, None]] = {}
    for image in images:
        for shape in image.shapes:
            spellings.setdefault(shape.name.casefold(), {})[shape.name] = None
    for names in spellings.values():
        if len(names) > 1:
            notes.say(f"the names {', '.join(names)} differ in case alone and are one class")
    return [{"name": next(iter(spellings[key]))} for key in sorted(spellings)]


def paint(
    image: ShapeImage, labels: Sequence[int], smallest_wins: bool, size: ImageSize
) -> Int64[ndarray, "height width"]:
    """The label of the shape that each pixel of an image of this size shows, see `annotations_of`."""
    unit = (1, 1) if image.is_relative else image.size or size
    canvas = Canvas(size, np.array(size) / unit)
    width, height = size
    drawn = np.full((height, width), UNLABELLED)
    smallest = np.full((height, width), width * height)
    for shape, label in zip(image.shapes, labels, strict=True):
        mask = shape.draw(canvas)
        rows = np.flatnonzero(mask.any(1))
        if not len(rows):
            continue
        # Large images hold many small shapes, each of which touches few rows.
        touched = slice(rows[0], rows[-1] + 1)
        part = mask[touched]
        if smallest_wins:
            area = part.sum()
            part = part & (area <= smallest[touched])
            smallest[touched][part] = area
        drawn[touched][part] = label
    return drawn
