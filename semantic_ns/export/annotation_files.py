"""Dense labels as files of annotation tools, for correction there and the way back with `sns-import-labels`.

Every format holds the same classes, and its masks or outlines hold exactly the pixels of each class. Void pixels are in
no annotation.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Literal, get_args
from xml.etree import ElementTree

import numpy as np
from jaxtyping import Bool, Int
from numpy import ndarray

from semantic_ns.errors import SceneError
from semantic_ns.export.cityscapes_files import CityscapesFiles
from semantic_ns.export.outlines import outlines_of
from semantic_ns.export.panoptic_files import PanopticFiles, box_of
from semantic_ns.io.run_lengths import encode_coco, encode_label_studio, runs_of
from semantic_ns.io.writing import write_json, write_png, write_text
from semantic_ns.labels.class_table import voc_color
from semantic_ns.labels.taxonomy import Taxonomy

AnnotationFormat = Literal["coco", "coco-panoptic", "cvat", "label-studio", "labelme", "voc", "yolo", "cityscapes"]
ANNOTATION_FORMATS: tuple[str, ...] = get_args(AnnotationFormat)
_BACKGROUND = (0, 0, 0)
_VOC_CLASSES = "labelmap.txt"
_NUM_VOC_COLORS = 255
"""Colours of PASCAL VOC's map without the black of the background."""

Mask = Bool[ndarray, "height width"]


@dataclass
class AnnotationFiles:
    """Writes the labels of images, one after the other, as annotations of a format.

    Attributes:
        folder: folder that is written to.
        format: tool or layout.
        taxonomy: classes.

    Raises:
        SceneError: if the format cannot hold the name of a class, or tell the classes apart.
    """

    folder: Path
    format: AnnotationFormat
    taxonomy: Taxonomy
    _records: list[Any] = field(default_factory=list, init=False)
    _stems: set[str] = field(default_factory=set, init=False)

    def __post_init__(self) -> None:
        comments = [name for name in self.taxonomy.names if name.startswith("#")]
        if self.format == "voc" and comments:
            raise SceneError(
                f"Expected names of classes that do not begin with # for voc, whose {_VOC_CLASSES} takes such a line "
                f"for a comment, found '{comments[0]}'; rename the class, or choose another --format."
            )

        colors = _mask_colors(self.taxonomy)
        if self.format == "voc" and len({_BACKGROUND, *colors}) <= len(colors):
            raise SceneError(
                f"Expected at most {_NUM_VOC_COLORS} classes, or a colour of its own for each, for voc, found "
                f"{len(colors)} classes of which two have one colour; choose another --format."
            )

    def add(self, name: str, labels: Int[ndarray, "height width"]) -> None:
        """Take the labels of an image.

        Args:
            name: file name of the colour image, without folders.
            labels: classes 0..C-1 of the pixels as the tool will show them, -1 for void.

        Raises:
            SceneError: if another image has the same name without its suffix.
        """
        stem = PurePosixPath(name).stem
        if stem in self._stems:
            raise _twice(stem, self.format)
        self._stems.add(stem)
        take: dict[str, Callable[[str, ndarray], None]] = {
            "coco": self._add_coco,
            "coco-panoptic": self._add_panoptic,
            "cityscapes": self._write_cityscapes,
            "cvat": self._add_cvat,
            "label-studio": self._add_label_studio,
            "labelme": self._write_labelme,
            "voc": self._write_voc,
            "yolo": self._write_yolo,
        }
        take[self.format](name, labels)

    def finish(self) -> None:
        """Write what belongs to all images: the list of classes, or the one file."""
        finish: dict[str, Callable[[], None]] = {
            "coco": self._finish_coco,
            "coco-panoptic": self._finish_panoptic,
            "cvat": self._finish_cvat,
            "label-studio": self._finish_label_studio,
            "voc": self._finish_voc,
            "yolo": self._finish_yolo,
        }
        finish.get(self.format, lambda: None)()

    def _regions(self, labels: Int[ndarray, "height width"]) -> Iterator[tuple[int, str, Mask]]:
        """Number, name and mask of each class that occurs."""
        for number in np.unique(labels[labels >= 0]).tolist():
            yield number, self.taxonomy.names[number], labels == number

    def _add_coco(self, name: str, labels: ndarray) -> None:
        height, width = labels.shape
        annotations = []
        for number, _, mask in self._regions(labels):
            left, top, box_width, box_height = box_of(mask)
            annotations.append(
                {
                    "category_id": self.taxonomy.source_ids[number],
                    "segmentation": encode_coco(mask),
                    "area": int(mask.sum()),
                    "bbox": [left, top, box_width, box_height],
                    "iscrowd": 0,
                }
            )
        self._records.append(({"file_name": name, "width": width, "height": height}, annotations))

    def _finish_coco(self) -> None:
        categories = [
            {"id": number, "name": name, "supercategory": ""}
            for number, name in zip(self.taxonomy.source_ids, self.taxonomy.names, strict=True)
        ]
        images, annotations = [], []
        for image_id, (image, records) in enumerate(self._records, 1):
            images.append({"id": image_id, **image})
            for record in records:
                annotations.append({"id": len(annotations) + 1, "image_id": image_id, **record})
        content = {"images": images, "categories": categories, "annotations": annotations}
        write_json(self.folder / "annotations" / "instances_default.json", content)

    @cached_property
    def _panoptic(self) -> PanopticFiles:
        file = self.folder / "annotations" / "panoptic_default.json"
        return PanopticFiles(file, 0, self.taxonomy)  # things are not told apart

    def _add_panoptic(self, name: str, labels: ndarray) -> None:
        height, width = labels.shape
        number = len(self._records) + 1
        self._records.append({"id": number, "file_name": name, "width": width, "height": height})
        no_things = np.zeros(labels.shape, np.int32)
        self._panoptic.add(PurePosixPath(f"{PurePosixPath(name).stem}.png"), number, no_things, labels.astype(np.int16))

    def _finish_panoptic(self) -> None:
        self._panoptic.finish(self._records)

    def _add_cvat(self, name: str, labels: ndarray) -> None:
        height, width = labels.shape
        image = ElementTree.Element(
            "image", id=str(len(self._records)), name=name, width=f"{width}", height=f"{height}"
        )
        for _, class_name, mask in self._regions(labels):
            left, top, box_width, box_height = box_of(mask)
            part = mask[top : top + box_height, left : left + box_width]
            attributes = {
                "label": class_name,
                "source": "automatic",
                "occluded": "0",
                "rle": ", ".join(map(str, runs_of(part.ravel()))),
                "left": str(left),
                "top": str(top),
                "width": str(box_width),
                "height": str(box_height),
                "z_order": "0",
            }
            ElementTree.SubElement(image, "mask", attributes)
        self._records.append(image)

    def _finish_cvat(self) -> None:
        root = ElementTree.Element("annotations")
        ElementTree.SubElement(root, "version").text = "1.1"
        task = ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "task")
        labels = ElementTree.SubElement(task, "labels")
        for name, color in zip(self.taxonomy.names, self.taxonomy.colors, strict=True):
            label = ElementTree.SubElement(labels, "label")
            ElementTree.SubElement(label, "name").text = name
            ElementTree.SubElement(label, "color").text = _hex(color)
        root.extend(self._records)
        ElementTree.indent(root)
        text = ElementTree.tostring(root, "unicode")
        write_text(self.folder / "annotations.xml", f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n')

    def _add_label_studio(self, name: str, labels: ndarray) -> None:
        height, width = labels.shape
        results = [
            {
                "id": f"{len(self._records)}-{number}",
                "type": "brushlabels",
                "from_name": "label",
                "to_name": "image",
                "original_width": width,
                "original_height": height,
                "image_rotation": 0,
                "value": {"format": "rle", "rle": encode_label_studio(mask), "brushlabels": [class_name]},
            }
            for number, class_name, mask in self._regions(labels)
        ]
        self._records.append({"data": {"image": name}, "annotations": [{"result": results}]})

    def _finish_label_studio(self) -> None:
        # One line, since the run lengths are long lists of short numbers.
        write_text(self.folder / "annotations.json", json.dumps(self._records, ensure_ascii=False))
        view = ElementTree.Element("View")
        ElementTree.SubElement(view, "Image", name="image", value="$image")
        labels = ElementTree.SubElement(view, "BrushLabels", name="label", toName="image")
        for name, color in zip(self.taxonomy.names, self.taxonomy.colors, strict=True):
            ElementTree.SubElement(labels, "Label", value=name, background=_hex(color))
        ElementTree.indent(view)
        write_text(self.folder / "label_config.xml", ElementTree.tostring(view, "unicode") + "\n")

    def _write_labelme(self, name: str, labels: ndarray) -> None:
        height, width = labels.shape
        shapes = [
            {"label": class_name, "points": outline.tolist(), "group_id": None, "shape_type": "polygon", "flags": {}}
            for _, class_name, mask in self._regions(labels)
            for outline in outlines_of(mask)
        ]
        size = {"imageHeight": height, "imageWidth": width}
        content = {"version": "5.4.1", "flags": {}, "shapes": shapes, "imagePath": name, "imageData": None, **size}
        write_json(self.folder / f"{PurePosixPath(name).stem}.json", content)

    def _write_yolo(self, name: str, labels: ndarray) -> None:
        height, width = labels.shape
        lines = [
            f"{number} " + " ".join(f"{value:.8f}" for value in (outline / (width, height)).ravel())
            for number, _, mask in self._regions(labels)
            for outline in outlines_of(mask)
        ]
        write_text(self.folder / "labels" / "train" / f"{PurePosixPath(name).stem}.txt", "\n".join([*lines, ""]))

    def _finish_yolo(self) -> None:
        # JSON's texts are YAML's, too.
        names = "".join(
            f"  {i}: {json.dumps(name, ensure_ascii=False)}\n" for i, name in enumerate(self.taxonomy.names)
        )
        write_text(self.folder / "data.yaml", f"path: .\ntrain: images/train\nval: images/train\nnames:\n{names}")

    def _write_cityscapes(self, name: str, labels: ndarray) -> None:
        CityscapesFiles(self.folder, self.taxonomy).add(PurePosixPath(name).stem, labels)  # things are not told apart

    def _write_voc(self, name: str, labels: ndarray) -> None:
        colors = np.array([*_mask_colors(self.taxonomy), _BACKGROUND], np.uint8)
        # The last place serves class -1, which is void.
        write_png(self.folder / "SegmentationClass" / f"{PurePosixPath(name).stem}.png", colors[labels])

    def _finish_voc(self) -> None:
        lines = zip(self.taxonomy.names, _mask_colors(self.taxonomy), strict=True)
        text = "".join(f"{name}:{','.join(map(str, color))}::\n" for name, color in lines)
        write_text(self.folder / _VOC_CLASSES, f"# label:color_rgb:parts:actions\nbackground:0,0,0::\n{text}")
        stems = "".join(f"{stem}\n" for stem in sorted(self._stems))
        write_text(self.folder / "ImageSets" / "Segmentation" / "default.txt", stems)


def refuse_equal_names(names: Iterable[str], annotation_format: str) -> None:
    """Check that all images can be told apart, before the first one is rendered.

    Args:
        names: File names of the colour images, as `AnnotationFiles.add` will get them.
        annotation_format: Tool or layout.

    Raises:
        SceneError: if two of them are the same without their suffixes.
    """
    seen: set[str] = set()
    for stem in (PurePosixPath(name).stem for name in names):
        if stem in seen:
            raise _twice(stem, annotation_format)
        seen.add(stem)


def _twice(stem: str, annotation_format: str) -> SceneError:
    return SceneError(
        f"Expected images with names of their own for {annotation_format}, found '{stem}' twice; export PNGs alone, or "
        "rename the images."
    )


def _hex(color: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*color)


def _mask_colors(taxonomy: Taxonomy) -> list[tuple[int, int, int]]:
    """The colours of the classes, where they differ and none is black, otherwise PASCAL VOC's."""
    colors = list(taxonomy.colors)
    if len(set(colors)) == len(colors) and _BACKGROUND not in colors:
        return colors
    return [voc_color(number + 1) for number in range(taxonomy.num_classes)]
