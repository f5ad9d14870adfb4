"""COCO's panoptic format: every pixel of a class is in a segment, which is a thing or all of a class in an image.

The id of a segment is red + 256 green + 65536 blue of its pixels, and 0 is void. A thing has the id that it has in
every other file and frame. Segments of a class without things, and what a class of things has beyond its instances
(`iscrowd` 1), have an id of their class, which comes after those of all things.
"""

from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import Int16, Int32, UInt8
from numpy import ndarray

from semantic_ns.io.writing import write_json, write_png
from semantic_ns.labels.taxonomy import VOID, Taxonomy


def ids_as_colors(ids: Int32[ndarray, "height width"]) -> UInt8[ndarray, "height width 3"]:
    """Ids below 2^24 as colours: the lowest eight bits are red, the highest are blue."""
    return np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1).astype(np.uint8)


class PanopticFiles:
    """Writes the segments of frames, one after the other.

    Args:
        file: The JSON file; the PNGs lie beside it in a folder of its name without the ending.
        num_things: Number of instances of the scene, whose ids are 1 to this.
        taxonomy: The classes.
    """

    def __init__(self, file: Path, num_things: int, taxonomy: Taxonomy) -> None:
        self._file, self._num_things, self._taxonomy = file, num_things, taxonomy
        self._annotations: list[dict[str, Any]] = []

    def add(
        self,
        name: PurePosixPath,
        image_id: int,
        ids: Int32[ndarray, "height width"],
        labels: Int16[ndarray, "height width"],
    ) -> None:
        """Write the segments of a frame as a PNG.

        Args:
            name: Path of the PNG in the folder of them.
            image_id: Number of the image in the list of images.
            ids: Instance of each pixel, 0 for none.
            labels: Class of each pixel, void -1.
        """
        of_class = np.where(labels == VOID, 0, self._num_things + 1 + labels.astype(np.int32))
        segments = np.where(ids > 0, ids, of_class).astype(np.int32)
        write_png(self._file.with_suffix("") / name, ids_as_colors(segments))
        numbers, first, areas = np.unique(segments, return_index=True, return_counts=True)
        found = [
            self._segment(number, int(labels.reshape(-1)[pixel]), area, segments == number)
            for number, pixel, area in zip(numbers.tolist(), first, areas.tolist(), strict=True)
            if number > 0
        ]
        self._annotations.append({"image_id": image_id, "file_name": str(name), "segments_info": found})

    def _segment(self, number: int, label: int, area: int, mask: ndarray) -> dict[str, Any]:
        is_rest = number > self._num_things and self._taxonomy.is_thing[label]
        return {
            "id": number,
            "category_id": self._taxonomy.source_ids[label],
            "area": area,
            "bbox": box_of(mask),
            "iscrowd": int(is_rest),
        }

    def finish(self, images: list[dict[str, Any]]) -> None:
        """Write the file.

        Args:
            images: The list of images, as in COCO's other formats.
        """
        taxonomy = self._taxonomy
        classes = zip(taxonomy.source_ids, taxonomy.names, taxonomy.is_thing, taxonomy.colors, strict=True)
        categories = [
            {"id": number, "name": name, "supercategory": "", "isthing": int(is_thing), "color": list(color)}
            for number, name, is_thing, color in classes
        ]
        content = {"images": images, "categories": categories, "annotations": self._annotations}
        write_json(self._file, content)


def box_of(mask: ndarray) -> list[int]:
    """Left, top, width and height of the pixels of a mask [height, width] that is not empty."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    left, top = int(columns[0]), int(rows[0])
    return [left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1]
