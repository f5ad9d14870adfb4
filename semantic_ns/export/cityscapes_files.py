"""Labels and instances in the layout of Cityscapes: `gtFine/train/scene/NAME_gtFine_*` for each image.

- `_labelIds.png` has the id of the class of each pixel, `_color.png` its colour.
- `_instanceIds.png` has ids of instances, see `labels.instance_ids`, as 16 bits. The number of a thing among those of
  its class is the same in every image. There are none where an id of a class is 1000 or more, which would read as an
  instance.
- `_polygons.json` has polygons along the sides of pixels, which together cover the pixels of a class or an instance. A
  thing in several pieces is several polygons, so that the PNG alone says which of them are one.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, Integer
from numpy import ndarray

from semantic_ns.errors import SceneError
from semantic_ns.export.outlines import outlines_of
from semantic_ns.io.writing import write_json, write_png
from semantic_ns.labels.instance_ids import INSTANCE_IDS, INSTANCES_PER_CLASS, LABEL_IDS
from semantic_ns.labels.label_files import class_table, label_image
from semantic_ns.labels.taxonomy import VOID, Taxonomy

CLASSES_FILE = "classes.json"
_FOLDER = "gtFine/train/scene"
_BLACK = (0, 0, 0)
_LARGEST_ID = 65535


class CityscapesFiles:
    """Writes the labels of images, one after the other.

    Args:
        folder: Folder that is written to.
        taxonomy: The classes. With instances, they are numbered anew from 1 on where ids of instances do not fit their
            ids, as that of 76 would be above 65535; `write_classes` says how.
        classes_of_instances: The class 0..C-1 of each instance of the scene, whose ids are 1, 2, 3, ...; none where
            things are not told apart.

    Raises:
        SceneError: if there are more instances of a class than 16 bits have numbers for.
    """

    def __init__(self, folder: Path, taxonomy: Taxonomy, classes_of_instances: Sequence[int] = ()) -> None:
        self._folder = folder
        counts = np.bincount(classes_of_instances, minlength=taxonomy.num_classes).tolist()
        self._taxonomy = _numbered(taxonomy, counts) if classes_of_instances else taxonomy
        self._numbers = np.zeros(len(classes_of_instances) + 1, np.int64)
        for label in range(taxonomy.num_classes):
            own = np.flatnonzero(np.array([VOID, *classes_of_instances]) == label)
            self._numbers[own] = np.arange(len(own))

    def write_classes(self) -> None:
        """Write `classes.json`, which has the ids that the images have."""
        write_json(self._folder / CLASSES_FILE, class_table(self._taxonomy))

    def add(
        self,
        name: str,
        labels: Int[ndarray, "height width"],
        instances: Integer[ndarray, "height width"] | None = None,
    ) -> None:
        """Write the files of an image.

        Args:
            name: Name of the image without suffix.
            labels: Classes 0..C-1 of the pixels, -1 for void.
            instances: Instance of each pixel, 0 for none; None where things are not told apart.
        """
        instances = np.zeros(labels.shape, np.int64) if instances is None else instances.astype(np.int64)
        start = self._folder / _FOLDER / name
        colors = np.array([*self._taxonomy.colors, _BLACK], np.uint8)
        ids = label_image(labels, self._taxonomy)
        write_png(start.with_name(f"{name}{LABEL_IDS}.png"), ids)
        write_png(start.with_name(f"{name}_gtFine_color.png"), colors[labels])
        if max(self._taxonomy.source_ids, default=0) < INSTANCES_PER_CLASS > self._taxonomy.void_source_id:
            wide = ids.astype(np.int64)
            of_things = wide * INSTANCES_PER_CLASS + self._numbers[instances]
            things = np.where(instances > 0, of_things, wide).astype(np.uint16)
            write_png(start.with_name(f"{name}{INSTANCE_IDS}.png"), things)
        height, width = labels.shape
        content = {"imgHeight": height, "imgWidth": width, "objects": self._objects(labels, instances)}
        write_json(start.with_name(f"{name}_gtFine_polygons.json"), content)

    def _objects(self, labels: ndarray, instances: ndarray) -> list[dict[str, Any]]:
        is_known = labels != VOID
        pairs = np.unique(np.stack([labels[is_known], instances[is_known]], axis=1), axis=0)
        return [
            {"label": self._taxonomy.names[label], "polygon": outline.tolist()}
            for label, instance in pairs.tolist()
            for outline in outlines_of((labels == label) & (instances == instance))
        ]


def _numbered(taxonomy: Taxonomy, counts: Sequence[int]) -> Taxonomy:
    """The classes with ids for which ids of instances fit 16 bits: their own, or 1, 2, 3, ..."""
    ids = tuple(range(1, taxonomy.num_classes + 1))
    for found in (taxonomy, replace(taxonomy, source_ids=ids, void_source_id=0, void_source_ids=(0,))):
        if _fit(found, counts):
            return found
    most = _LARGEST_ID // INSTANCES_PER_CLASS
    raise SceneError(
        f"Expected things of the first {most} classes and at most {INSTANCES_PER_CLASS} of each, as Cityscapes' images "
        f"have ids for, found {max(counts)} things of one class and things of class number "
        f"{max(number for number, count in enumerate(counts, 1) if count)}; leave out --cityscapes."
    )


def _fit(taxonomy: Taxonomy, counts: Sequence[int]) -> bool:
    ids = (*taxonomy.source_ids, taxonomy.void_source_id)
    return max(ids) < INSTANCES_PER_CLASS and all(
        number > 0 and count <= INSTANCES_PER_CLASS and number * INSTANCES_PER_CLASS + count - 1 <= _LARGEST_ID
        for number, count in zip(taxonomy.source_ids, counts, strict=True)
        if count
    )
