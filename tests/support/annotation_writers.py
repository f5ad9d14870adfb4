"""Label images as other tools write them: slow and plain, for round trips. Id 0 is "not annotated" throughout."""

import base64
import io
import json
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as mask_functions

from semantic_ns.labels.class_table import ClassTable

Labels = Mapping[str, np.ndarray]
"""Label image of each file name."""
Truth = tuple[Labels, ClassTable]


def runs(labels: np.ndarray) -> Iterator[tuple[int, int, int, int]]:
    """(id, row, first column, end column) of each run of one id within a row, without id 0."""
    for row, line in enumerate(labels):
        changes = [0, *(np.flatnonzero(np.diff(line)) + 1).tolist(), len(line)]
        for first, end in pairwise(changes):
            if line[first]:
                yield int(line[first]), row, first, end


def box(row: int, first: int, end: int) -> list[list[float]]:
    return [[first, row], [end, row], [end, row + 1], [first, row + 1]]


def polygons(labels: np.ndarray, number: int) -> list[list[float]]:
    return [np.ravel(box(row, first, end)).tolist() for found, row, first, end in runs(labels) if found == number]


def plain_code(labels: np.ndarray, number: int) -> dict[str, Any]:
    """Run lengths down the columns, beginning with those that are not the class."""
    counts = [0]
    is_inside = False
    for value in labels.T.ravel():
        if (value == number) != is_inside:
            is_inside = not is_inside
            counts.append(0)
        counts[-1] += 1
    return {"size": list(labels.shape), "counts": counts}


def compressed_code(labels: np.ndarray, number: int) -> dict[str, Any]:
    code: Any = mask_functions.encode(np.asfortranarray(labels == number, np.uint8))
    return {"size": list(labels.shape), "counts": code["counts"].decode()}


Encode = Callable[[np.ndarray, int], Any]


def coco(labels: Labels, table: ClassTable, encode: Encode) -> dict[str, Any]:
    images, annotations = [], []
    for image_id, (name, values) in enumerate(labels.items(), 7):
        height, width = values.shape
        images.append({"id": image_id, "file_name": f"train/{name}", "width": width, "height": height})
        for number in np.unique(values[values > 0]).tolist():
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": number,
                    "segmentation": encode(values, number),
                    "iscrowd": 0,
                }
            )
    categories = [{"id": entry.id, "name": entry.name, "supercategory": "room"} for entry in table.entries]
    return {"info": {}, "images": images, "annotations": annotations, "categories": categories}


def write_coco(folder: Path, truth: Truth, encode: Encode) -> Path:
    folder.mkdir()
    path = folder / "instances_default.json"
    path.write_text(json.dumps(coco(*truth, encode)))
    return path


def labelme_mask(labels: np.ndarray, number: int) -> dict[str, Any]:
    rows, columns = np.nonzero(labels == number)
    top, bottom, left, right = rows.min(), rows.max(), columns.min(), columns.max()
    buffer = io.BytesIO()
    Image.fromarray(labels[top : bottom + 1, left : right + 1] == number).save(buffer, "PNG")
    points = [[float(left), float(top)], [float(right), float(bottom)]]
    return {"points": points, "shape_type": "mask", "mask": base64.b64encode(buffer.getvalue()).decode()}


def labelme_shapes(labels: np.ndarray, table: ClassTable, kind: str) -> list[dict[str, Any]]:
    names = {entry.id: entry.name for entry in table.entries}
    if kind == "mask":
        numbers = np.unique(labels[labels > 0]).tolist()
        return [{"label": names[number], **labelme_mask(labels, number)} for number in numbers]
    shapes = []
    for number, row, first, end in runs(labels):
        corners = box(row, first, end)
        points = corners if kind == "polygon" else [corners[2], corners[0]]
        shapes.append({"label": names[number], "points": points, "shape_type": kind, "group_id": None, "flags": {}})
    return shapes


def labelme(name: str, values: np.ndarray, shapes: list[dict[str, Any]]) -> dict[str, Any]:
    height, width = values.shape
    size = {"imageHeight": height, "imageWidth": width}
    return {"version": "5.4.1", "shapes": shapes, "imagePath": f"..\\images\\{name}", "imageData": None, **size}


def write_labelme(folder: Path, truth: Truth, kind: str) -> Path:
    labels, table = truth
    folder.mkdir()
    for name, values in labels.items():
        content = labelme(name, values, labelme_shapes(values, table, kind))
        (folder / f"{Path(name).stem}.json").write_text(json.dumps(content))
    return folder


def write_voc(folder: Path, truth: Truth, mode: str) -> Path:
    """Masks in `RGB`, with a palette (`P`) or in grey (`L`: number of the line)."""
    labels, table = truth
    (folder / "SegmentationClass").mkdir(parents=True)
    lines = [(0, "background", (0, 0, 0)), *((entry.id, entry.name, entry.color) for entry in table.entries)]
    text = "".join(f"{name}:{','.join(map(str, color))}::\n" for _, name, color in lines)
    (folder / "labelmap.txt").write_text(f"# label:color_rgb:parts:actions\n{text}")
    ids = [number for number, _, _ in lines]
    colors = np.array([color for _, _, color in lines], np.uint8)
    for name, values in labels.items():
        index = np.searchsorted(ids, values).astype(np.uint8)
        image = Image.fromarray(colors[index] if mode == "RGB" else index)
        if mode == "P":
            image.putpalette(colors.tobytes())
        image.save(folder / "SegmentationClass" / f"{Path(name).stem}.png")
    return folder


def write_png(folder: Path, labels: Labels, bits: int = 8) -> Path:
    folder.mkdir()
    for name, values in labels.items():
        Image.fromarray(values.astype({8: np.uint8, 16: np.uint16}[bits])).save(folder / f"{Path(name).stem}.png")
    return folder


def write_classes(path: Path, table: ClassTable) -> Path:
    rows = "".join(f'{entry.id},"{entry.name}",{",".join(map(str, entry.color))}\n' for entry in table.entries)
    path.write_text(f"id,name,r,g,b\n{rows}0,void,0,0,0\n")
    return path
