"""Functions that write a sample file of a tool into a folder, and the classes that are read of it."""

from typing import Any

import numpy as np

import support.tool_files as files
from semantic_ns.annotations.types import UNLABELLED, Annotations
from semantic_ns.labels.taxonomy import VOID
from support.tool_files import HEIGHT, WIDTH, write


def names_of_pixels(annotations: Annotations) -> dict[str, np.ndarray]:
    """Class names of the pixels of each image; `-` where nothing is annotated, `void` for void."""
    table = [*annotations.taxonomy.names, "-", "void"]
    assert (UNLABELLED, VOID) == (-2, -1)
    return {image.name: np.array(table)[image.read((WIDTH, HEIGHT))] for image in annotations.images}


def cvat(shapes: str) -> files.Make:
    return lambda folder: write(folder / "annotations.xml", files.cvat(shapes))


def label_studio(*results: Any, **task: Any) -> files.Make:
    return lambda folder: write(folder / "export.json", files.label_studio(*results, **task))


def coco(segmentation: Any, **changes: Any) -> files.Make:
    return lambda folder: write(folder / "coco.json", files.coco(segmentation, **changes))


def via(region: dict[str, Any]) -> files.Make:
    return lambda folder: write(folder / "via.json", files.via(region))


def labelme(*shapes: dict[str, Any], **changes: Any) -> files.Make:
    return lambda folder: write(folder / "frame_00001.json", files.labelme(*shapes, **changes))


def supervisely(*objects: dict[str, Any]) -> files.Make:
    return lambda folder: files.write_supervisely(folder, *objects)


def voc(label_map: str, chair: tuple[int, int, int], rest: tuple[int, int, int]) -> files.Make:
    return lambda folder: files.write_voc(folder, label_map, {"chair": chair, "rest": rest})
