"""COCO annotations: JSON files with `images`, `categories` and `annotations`.

- A `segmentation` is a list of polygons `[x1, y1, x2, y2, ...]` (their union), one such polygon, or a run-length code
  `{size, counts}` (plain or compressed). Crowd regions (`iscrowd`) are regions of their category.
- Where annotations overlap, the one that covers fewer pixels wins; among equals the later one.
- The ids of the label images are those of the categories, unless a class table is given, which is matched by name.
- An annotation without a region (a bounding box or key points alone) labels nothing and is counted.
- Several files of one folder are read as one. Categories are the same if their names are, and annotations of the same
  image in two files belong together.
- Ids may be numbers or texts. An image without a size belongs to a frame of any size.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from jaxtyping import Bool
from numpy import ndarray

from semantic_ns.annotations import shapes as drawing
from semantic_ns.annotations.categories import classes_of, read_categories
from semantic_ns.annotations.panoptic import PanopticFolder, read_panoptic
from semantic_ns.annotations.records import MAX_PIXELS, entry_of, id_of, in_short, points_of, size_of, value_of
from semantic_ns.annotations.shapes import NAMELESS, WITHOUT_REGION, Draw, Shape, ShapeImage, annotations_of, is_region
from semantic_ns.annotations.types import Annotations, Notes
from semantic_ns.dataparsers.scene import ImageSize
from semantic_ns.errors import SceneError
from semantic_ns.io.run_lengths import decode_coco
from semantic_ns.io.text import read_json
from semantic_ns.labels.class_table import ClassTable


def read_coco(paths: Sequence[Path], root: Path, table: ClassTable | None, notes: Notes) -> Annotations:
    """Read COCO files, of instances or of the panoptic task.

    Args:
        paths: the JSON files.
        root: folder in which the label images of the panoptic task are looked for.
        table: the classes, found by the categories' names; None takes the categories as they are.
        notes: notes, to which what was left out is added.

    Raises:
        SceneError: if a file cannot be understood: no JSON, a category, image or point list that is missing or wrong.
            The sentence names the annotation.
    """
    contents = [(path, read_json(path)) for path in paths]
    categories = [read_categories(content, path) for path, content in contents]
    classes = classes_of(categories, notes)
    source = f"categories of {paths[0] if len(paths) == 1 else root}"
    names = [{category.id: category.name for category in file} for file in categories]
    is_panoptic = [_is_panoptic(content) for _, content in contents]
    if all(is_panoptic):
        folder = PanopticFolder(root)
        return read_panoptic(
            [(path, content, known) for (path, content), known in zip(contents, names, strict=True)],
            folder,
            classes,
            table,
            source,
            notes,
        )
    images: dict[str, ShapeImage] = {}
    for (path, content), known, is_other in zip(contents, names, is_panoptic, strict=True):
        if is_other:
            notes.say(f"{path.name} holds panoptic annotations, which were left out beside those of instances")
            continue
        for key, image in shape_images(content, path, known, notes).items():
            images[key] = image if key not in images else _joined(images[key], image)
    return annotations_of(images.values(), classes, table, source, notes, smallest_wins=True)


def _is_panoptic(content: Any) -> bool:
    annotations = value_of(content, "annotations")
    return isinstance(annotations, list) and any(value_of(item, "segments_info") is not None for item in annotations)


def _joined(first: ShapeImage, second: ShapeImage) -> ShapeImage:
    """The image with the shapes of both files."""
    if first.size != second.size:
        raise SceneError(
            f"Expected one size of {first.name!r} in all files, found {first.size} in {first.where} and {second.size} "
            f"in {second.where}; leave one of them out."
        )
    return ShapeImage(first.name, first.where, first.size, [*first.shapes, *second.shapes])


def shape_images(content: Any, path: Path, names: Mapping[str, str], notes: Notes) -> dict[str, ShapeImage]:
    """The images of a file by name; a name that occurs again in the same file gets its number as an addition.

    Args:
        content: what the file holds.
        path: the file, for errors.
        names: names of the categories by their ids.
        notes: notes, to which what was left out is added.

    Raises:
        SceneError: if an annotation cannot be understood, or its image or category is missing.
    """
    found: dict[str, ShapeImage] = {}
    shapes: dict[str, list[Shape]] = {}
    sizes: dict[str, ImageSize | None] = {}
    nameless: dict[str, tuple[Any, str]] = {}
    for position, image in enumerate(entry_of(content, "images", list, str(path))):
        where = f"image number {position} of {path}"
        number = id_of(image, "id", where)
        if value_of(image, "file_name") is None:
            nameless[number] = image, where
            continue
        name = entry_of(image, "file_name", str, where)
        if number in shapes:
            raise SceneError(f"Expected each image id once in {path}, found {number} twice; renumber {where}.")
        shapes[number], sizes[number] = [], size_of(image, ("width", "height"), where)
        key = name if name not in found else f"{name}\n{path}\n{position}"
        found[key] = ShapeImage(name, str(path), sizes[number], shapes[number])
    for position, annotation in enumerate(entry_of(content, "annotations", list, str(path))):
        label = value_of(annotation, "id")
        where = f"annotation {position if label is None else in_short(label)} of {path}"
        image_id = id_of(annotation, "image_id", where)
        if image_id in nameless:
            image, place = nameless[image_id]
            entry_of(image, "file_name", str, place)
        if image_id not in shapes:
            found_id = in_short(annotation["image_id"])
            raise SceneError(f"Expected an image of the list images in {where}, found image_id {found_id}; add it.")
        name = category_name(annotation, names, where)
        draw = _region(annotation.get("segmentation"), sizes[image_id], where, notes)
        if draw is not None:
            shapes[image_id].append(Shape(name, draw, where))
    notes.count(NAMELESS, len(nameless))
    return found


def category_name(record: Any, names: Mapping[str, str], where: str) -> str:
    """The name of a record's category.

    Raises:
        SceneError: if `names` of the file's categories has no such id.
    """
    category = id_of(record, "category_id", where)
    if category not in names:
        found = in_short(record["category_id"])
        raise SceneError(
            f"Expected a category of the list categories in {where}, found category_id {found}; add it there."
        )
    return names[category]


def _region(segmentation: Any, size: ImageSize | None, where: str, notes: Notes) -> Draw | None:
    if segmentation in (None, [], {}, ""):
        notes.count(WITHOUT_REGION)
        return None
    if isinstance(segmentation, Mapping):
        return _runs(segmentation, size, where)
    if isinstance(segmentation, list) and all(isinstance(item, int | float | None) for item in segmentation):
        segmentation = [segmentation]
    if not isinstance(segmentation, list) or not all(isinstance(item, list) for item in segmentation):
        raise SceneError(
            f"Expected a list of polygons or a run-length code as segmentation of {where}, found "
            f"{in_short(segmentation)}; correct it."
        )
    corners = [_corners(values, where) for values in segmentation]
    parts = [points for points in corners if is_region(points, notes)]
    return drawing.polygons(parts, []) if parts else None


def _corners(values: list[Any], where: str) -> ndarray:
    if values and all(isinstance(value, list) for value in values):
        return points_of(values, f"a polygon of {where}")
    if len(values) % 2:
        raise SceneError(f"Expected x and y of each corner in {where}, found {len(values)} numbers; correct it.")
    return points_of([values[i : i + 2] for i in range(0, len(values), 2)], f"a polygon of {where}")


def _runs(code: Mapping[str, Any], size: ImageSize | None, where: str) -> Draw:
    recorded = code.get("size")
    own = None
    if isinstance(recorded, list) and len(recorded) == 2:
        own = size_of({"height": recorded[0], "width": recorded[1]}, ("width", "height"), f"the code of {where}")
    if own is None or own != (size or own):
        expected = f"[{size[1]}, {size[0]}] as its image" if size else "two whole numbers"
        raise SceneError(
            f"Expected the run-length code of {where} to have size [height, width] = {expected}, found "
            f"{in_short(recorded)}; correct the one or the other."
        )
    counts = code.get("counts")
    if not isinstance(counts, str) and not (isinstance(counts, list) and all(map(_is_run, counts))):
        raise SceneError(
            f"Expected whole numbers, or their compressed form, as counts of {where}, found {in_short(counts)}; "
            "correct them."
        )
    runs = counts if isinstance(counts, str) else [int(run) for run in counts]
    return drawing.pixels(partial(_decode, runs, own, where))


def _is_run(value: Any) -> bool:
    return isinstance(value, int | float) and 0 <= value <= MAX_PIXELS and value == int(value)


def _decode(counts: list[int] | str, size: ImageSize, where: str) -> Bool[ndarray, "height width"]:
    try:
        return decode_coco(counts, *size)
    except ValueError as error:
        raise SceneError(
            f"Expected a run-length code for {size[0] * size[1]} pixels ({size[0]}x{size[1]}) in {where}, found "
            f"{error}; write it again."
        ) from error
