"""What `sns-export instances` writes: an image of instance ids for each frame, and what each instance is."""

from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import Int16, Int32
from numpy import ndarray

from semantic_ns.errors import SceneError
from semantic_ns.export.cityscapes_files import CityscapesFiles
from semantic_ns.export.instance_masks import LARGEST_ID
from semantic_ns.export.instance_surface import SurfaceInstances
from semantic_ns.export.panoptic_files import PanopticFiles, box_of
from semantic_ns.instances.colors import instance_color, instance_colors
from semantic_ns.instances.parts import NO_INSTANCE
from semantic_ns.instances.table import TABLE_FILE, InstanceTable
from semantic_ns.io.orientation import UPRIGHT, to_upright
from semantic_ns.io.run_lengths import encode_coco
from semantic_ns.io.writing import write_json, write_png
from semantic_ns.labels.taxonomy import Taxonomy

INSTANCES_FILE = "instances.json"
COCO_FILE = "instances_coco.json"
PANOPTIC_FILE = "panoptic.json"
CITYSCAPES = "cityscapes"
"""Folder of Cityscapes' layout."""


def table_of(found: SurfaceInstances, taxonomy: Taxonomy) -> InstanceTable:
    """The content of `instances.npz`: the voxels of things.

    Args:
        found: The instances.
        taxonomy: The classes.
    """
    is_thing = found.ids > NO_INSTANCE
    class_ids = np.array(taxonomy.source_ids, np.int32)[found.surface.classes[is_thing]]
    return InstanceTable(found.surface.centres[is_thing], class_ids, found.ids[is_thing])


def describe(found: SurfaceInstances, taxonomy: Taxonomy, unit: str) -> dict[str, Any]:
    """The content of `instances.json`: of each instance its id, class, colour, number of voxels and box.

    Args:
        found: The instances.
        taxonomy: The classes.
        unit: Unit of the world, in which the box is.
    """
    surface, rows = found.surface, []
    half = surface.voxels.grid.edge / 2
    for number in range(1, found.count + 1):
        own = found.ids == number
        centres, label = surface.centres[own], int(surface.classes[own][0])
        rows.append(
            {
                "id": number,
                "class_id": taxonomy.source_ids[label],
                "class": taxonomy.names[label],
                "color": list(instance_color(number)),
                "num_voxels": int(own.sum()),
                "box": [(centres.min(axis=0) - half).tolist(), (centres.max(axis=0) + half).tolist()],
            }
        )
    return {"unit": unit, "voxel_edge": surface.voxels.grid.edge, "instances": rows}


class InstanceFiles:
    """Writes the instances of frames, one after the other.

    Args:
        folder: Folder that is written to.
        found: The instances.
        taxonomy: The classes.
        unit: Unit of the world.
        cityscapes: Whether Cityscapes' layout is written as well, into the folder `cityscapes`, see `CityscapesFiles`.

    Raises:
        SceneError: if there are more instances than 16 bits count, or than Cityscapes' layout has ids for.
    """

    def __init__(
        self, folder: Path, found: SurfaceInstances, taxonomy: Taxonomy, unit: str, cityscapes: bool = False
    ) -> None:
        if found.count > LARGEST_ID:
            raise SceneError(
                f"Expected at most {LARGEST_ID} instances, as an image of 16 bits has ids, found {found.count}; give "
                "masks with --masks, or train longer."
            )
        self._folder, self._taxonomy = folder, taxonomy
        self._content = describe(found, taxonomy, unit)
        self._table = table_of(found, taxonomy)
        self._colors = instance_colors(found.count)
        self._panoptic = PanopticFiles(folder / PANOPTIC_FILE, found.count, taxonomy)
        classes = found.classes.tolist()
        self._cityscapes = CityscapesFiles(folder / CITYSCAPES, taxonomy, classes) if cityscapes else None
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []

    def add(
        self,
        name: PurePosixPath,
        image: PurePosixPath,
        ids: Int32[ndarray, "height width"],
        labels: Int16[ndarray, "height width"],
        orientation: int = UPRIGHT,
    ) -> None:
        """Write the ids of a frame as a PNG of 16 bits, a picture of them, and its things and segments for COCO.

        The PNG and the picture have the pixels as the image stores them; what is for COCO belongs to the upright
        picture, as annotations do.

        Args:
            name: Path of the PNG in the folder.
            image: Path of the colour image in the folder of all images.
            ids: Instance of each stored pixel, 0 for none.
            labels: Class of each stored pixel, void -1.
            orientation: EXIF orientation of the image.
        """
        write_png(self._folder / "instances" / name, ids.astype(np.uint16))
        write_png(self._folder / "instances_color" / name, self._colors[ids])
        ids, labels = to_upright(ids, orientation), to_upright(labels, orientation)
        height, width = ids.shape
        self._images.append({"id": len(self._images) + 1, "file_name": str(image), "width": width, "height": height})
        self._panoptic.add(name, len(self._images), ids, labels)
        for number in np.unique(ids[ids > 0]).tolist():
            mask = ids == number
            self._annotations.append(
                {
                    "id": len(self._annotations) + 1,
                    "image_id": len(self._images),
                    "category_id": self._content["instances"][number - 1]["class_id"],
                    "track_id": number,
                    "segmentation": encode_coco(mask),
                    "area": int(mask.sum()),
                    "bbox": box_of(mask),
                    "iscrowd": 0,
                }
            )

    def add_cityscapes(
        self,
        name: str,
        ids: Int32[ndarray, "height width"],
        labels: Int16[ndarray, "height width"],
        orientation: int = UPRIGHT,
    ) -> None:
        """Write the files of a frame in Cityscapes' layout, which belong to the upright picture, as annotations do.

        Args:
            name: Name of the image, without suffix, that no other one has.
            ids: Instance of each stored pixel, 0 for none.
            labels: Class of each stored pixel, void -1.
            orientation: EXIF orientation of the image.
        """
        assert self._cityscapes is not None, "the layout was not asked for"
        self._cityscapes.add(name, to_upright(labels, orientation), to_upright(ids, orientation))

    def finish(self) -> None:
        """Write what all frames share; `track_id` of COCO's instances is the instance in every frame."""
        if self._cityscapes is not None:
            self._cityscapes.write_classes()
        write_json(self._folder / INSTANCES_FILE, self._content)
        self._table.write(self._folder / TABLE_FILE)
        taxonomy = self._taxonomy
        things = zip(taxonomy.source_ids, taxonomy.names, taxonomy.is_thing, strict=True)
        categories = [
            {"id": number, "name": name, "supercategory": ""} for number, name, is_thing in things if is_thing
        ]
        content = {"images": self._images, "categories": categories, "annotations": self._annotations}
        write_json(self._folder / COCO_FILE, content)
        self._panoptic.finish(self._images)
