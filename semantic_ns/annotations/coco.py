"""COCO annotations: one JSON file with `images`, `categories` and `annotations`.

- A `segmentation` is a list of polygons `[x1, y1, x2, y2, ...]` (their union), or a run-length code `{size, counts}`
  (plain or compressed), which `pycocotools` decodes. Crowd regions (`iscrowd`) are regions of their category.
- Where annotations overlap, the one that covers fewer pixels wins; among equals the later one.
- The ids of the label images are those of the categories, unless a class table is given, which is matched by name.
- An annotation without a region (a bounding box or key points alone) labels nothing and is counted.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int64
from numpy import ndarray

from semantic_ns.annotations.records import entry_of, in_short, points_of
from semantic_ns.annotations.regions import Region, polygon_mask
from semantic_ns.annotations.types import UNLABELLED, AnnotatedImage, Annotations, ClassNames, table_from_annotations
from semantic_ns.dataparsers.scene import ImageSize
from semantic_ns.errors import SceneError
from semantic_ns.io.text import read_json
from semantic_ns.labels.class_table import ClassTable

_MAX_RUN = 2**32 - 1


def read_coco(path: Path, table: ClassTable | None) -> Annotations:
    """Read a COCO file.

    Args:
        path: the JSON file.
        table: the classes, found by the categories' names; None takes the categories as they are.

    Raises:
        SceneError: if the file cannot be understood: no JSON, a category, image or point list that is missing or
            wrong. The sentence names the annotation.
    """
    content = read_json(path)
    names = _category_names(content, path)
    used = table or table_from_annotations(_classes(content["categories"]), f"categories of {path}")
    indices = ClassNames(used)
    sizes = _image_sizes(content, path)
    regions: dict[int, list[Region]] = {number: [] for number in sizes}
    num_without_region = 0
    for position, annotation in enumerate(entry_of(content, "annotations", list, str(path))):
        where = f"annotation {annotation.get('id', position) if isinstance(annotation, dict) else position} of {path}"
        image_id = entry_of(annotation, "image_id", int, where)
        if image_id not in sizes:
            raise SceneError(f"Expected an image of the list images in {where}, found image_id {image_id}; add it.")
        category = entry_of(annotation, "category_id", int, where)
        if category not in names:
            raise SceneError(
                f"Expected a category of the list categories in {where}, found category_id {category}; add it there."
            )
        draw = _region(annotation.get("segmentation"), sizes[image_id], where)
        if draw is None:
            num_without_region += 1
        else:
            regions[image_id].append(Region(indices.index(names[category], where), draw))
    images = (
        AnnotatedImage(image["file_name"], str(path), partial(_paint, regions[image["id"]], sizes[image["id"]]))
        for image in content["images"]
    )
    remarks = [f"{num_without_region} annotations without a region label nothing"] if num_without_region else []
    return Annotations(used, tuple(images), table is not None, tuple(remarks))


def _category_names(content: Any, path: Path) -> dict[int, str]:
    names: dict[int, str] = {}
    for position, category in enumerate(entry_of(content, "categories", list, str(path))):
        where = f"category number {position} of {path}"
        names[entry_of(category, "id", int, where)] = entry_of(category, "name", str, where)
    return names


def _classes(categories: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    # "isthing" is that of COCO's panoptic task; elsewhere it is missing.
    return [
        {"id": item["id"], "name": item["name"], **({"is_thing": item["isthing"]} if "isthing" in item else {})}
        for item in categories
    ]


def _image_sizes(content: Any, path: Path) -> dict[int, ImageSize]:
    sizes: dict[int, ImageSize] = {}
    for position, image in enumerate(entry_of(content, "images", list, str(path))):
        where = f"image number {position} of {path}"
        entry_of(image, "file_name", str, where)
        number = entry_of(image, "id", int, where)
        if number in sizes:
            raise SceneError(f"Expected each image id once in {path}, found {number} twice; renumber {where}.")
        sizes[number] = (entry_of(image, "width", int, where), entry_of(image, "height", int, where))
        if min(sizes[number]) < 1:
            raise SceneError(f"Expected a width and height above 0 of {where}, found {sizes[number]}; correct them.")
    return sizes


def _region(segmentation: Any, size: ImageSize, where: str) -> Callable[[], Bool[ndarray, "height width"]] | None:
    if segmentation in (None, []):
        return None
    if isinstance(segmentation, Mapping):
        return partial(_decode_runs, _checked_runs(segmentation, size, where), size, where)
    if not isinstance(segmentation, list) or not all(isinstance(item, list) for item in segmentation):
        raise SceneError(
            f"Expected a list of polygons or a run-length code as segmentation of {where}, found "
            f"{in_short(segmentation)}; correct it."
        )
    polygons = [_corners(values, where) for values in segmentation]
    return lambda: np.logical_or.reduce([polygon_mask(polygon, size) for polygon in polygons])


def _corners(values: list[Any], where: str) -> ndarray:
    if len(values) % 2:
        raise SceneError(f"Expected x and y of each corner in {where}, found {len(values)} numbers; correct it.")
    return points_of([values[i : i + 2] for i in range(0, len(values), 2)], 3, f"a polygon of {where}")


def _checked_runs(code: Mapping[str, Any], size: ImageSize, where: str) -> dict[str, Any]:
    """The run-length code in the compressed form."""
    width, height = size
    if code.get("size") != [height, width]:
        raise SceneError(
            f"Expected the run-length code of {where} to have size [height, width] = [{height}, {width}] as its image, "
            f"found {in_short(code.get('size'))}; correct the one or the other."
        )
    counts = code.get("counts")
    if isinstance(counts, str) and counts.isascii():
        return {"size": [height, width], "counts": counts.encode("ascii")}
    if not isinstance(counts, list) or not all(type(run) is int and 0 <= run <= _MAX_RUN for run in counts):
        raise SceneError(
            f"Expected whole numbers, or their compressed form, as counts of {where}, found {in_short(counts)}; "
            "correct them."
        )
    return _mask_functions().frPyObjects({"size": [height, width], "counts": counts}, height, width)


def _decode_runs(code: dict[str, Any], size: ImageSize, where: str) -> Bool[ndarray, "height width"]:
    # The decoder refuses runs that are longer in all than the image, and leaves the rest as it was in memory where
    # they are shorter. So they have the right length if they fit the image and do not fit one pixel less.
    num_pixels = size[0] * size[1]
    mask = _decoded(code)
    if mask is None or _decoded({"size": [num_pixels - 1, 1], "counts": code["counts"]}) is not None:
        raise SceneError(
            f"Expected a run-length code for {num_pixels} pixels ({size[0]}x{size[1]}) in {where}, found one for "
            f"{'more' if mask is None else 'fewer'}, or damaged text; write it again."
        )
    return mask


def _decoded(code: dict[str, Any]) -> Bool[ndarray, "height width"] | None:
    try:
        return _mask_functions().decode(code).astype(bool)
    except ValueError:
        return None


def _mask_functions() -> Any:
    try:
        from pycocotools import mask
    except ImportError as error:
        raise SceneError(
            "Expected the package pycocotools, which decodes COCO's run-length codes, found none; install it with "
            "`pip install pycocotools`."
        ) from error
    return mask


def _paint(regions: Sequence[Region], size: ImageSize) -> Int64[ndarray, "height width"]:
    width, height = size
    labels = np.full((height, width), UNLABELLED)
    smallest = np.full((height, width), width * height)
    for region in regions:
        mask = region.draw()
        area = mask.sum()
        wins = mask & (area <= smallest)
        labels[wins] = region.label
        smallest[wins] = area
    return labels
