"""Reads and writes data sets with `datumaro`, in an environment of its own: `python datumaro_jobs.py JOBS.json`.

This file imports nothing of `semantic_ns`, whose environment has NumPy 1. Each job is an object with

- `action`: `read`, `write` or `convert`;
- `format`: datumaro's name of the format;
- `folder`: the data set;
- `arrays`: an npz file of the classes [height, width] of the pixels of each image, -1 where there is none;
- `names`: a JSON file of the classes' names;
- `outlines`, for writing, optionally: a JSON file of polygons `[class, [x1, y1, x2, y2, ...]]` of each image, which are
  written in the place of masks;
- `source`, for converting to COCO: the data set that is read.
"""

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np


def read(job: dict[str, Any]) -> None:
    from datumaro.components.annotation import AnnotationType  # pyright: ignore[reportMissingImports]
    from datumaro.components.dataset import Dataset  # pyright: ignore[reportMissingImports]

    dataset = Dataset.import_from(job["folder"], job["format"])
    names = [label.name for label in dataset.categories()[AnnotationType.label]]
    arrays = {}
    for item in dataset:
        masks = [annotation for annotation in item.annotations if annotation.type == AnnotationType.mask]
        for annotation in masks:
            image = np.asarray(annotation.image).astype(bool)
            labels = arrays.setdefault(item.id, np.full(image.shape, -1))
            labels[image] = annotation.label
    np.savez(job["arrays"], **arrays)
    Path(job["names"]).write_text(json.dumps(names), "utf8")


def write(job: dict[str, Any]) -> None:
    from datumaro.components.annotation import Mask, Polygon  # pyright: ignore[reportMissingImports]
    from datumaro.components.dataset import Dataset  # pyright: ignore[reportMissingImports]
    from datumaro.components.dataset_base import DatasetItem  # pyright: ignore[reportMissingImports]
    from datumaro.components.media import Image  # pyright: ignore[reportMissingImports]

    names = json.loads(Path(job["names"]).read_text("utf8"))
    outlines = json.loads(Path(job["outlines"]).read_text("utf8")) if "outlines" in job else None
    items = []
    with np.load(job["arrays"]) as arrays:
        for number, (name, labels) in enumerate(arrays.items()):
            if outlines is None:
                classes = np.unique(labels[labels >= 0]).tolist()
                parts = [(label, Mask(image=(labels == label), label=label)) for label in classes]
            else:
                parts = [(label, Polygon(points, label=label)) for label, points in outlines[name]]
            for place, (_, annotation) in enumerate(parts, 1):
                annotation.id = annotation.group = 100 * number + place
            media = Image.from_numpy(data=np.zeros((*labels.shape, 3), np.uint8))
            found = [annotation for _, annotation in parts]
            items.append(
                DatasetItem(id=name, subset="default", media=media, annotations=found, attributes={"id": number})
            )
    Dataset.from_iterable(items, categories=names).export(job["folder"], job["format"], save_media=True)


def convert(job: dict[str, Any]) -> None:
    from datumaro.components.dataset import Dataset  # pyright: ignore[reportMissingImports]

    Dataset.import_from(job["source"], job["format"]).export(job["folder"], "coco", save_media=True)


def main() -> None:
    warnings.simplefilter("ignore")
    for job in json.loads(Path(sys.argv[1]).read_text("utf8")):
        {"read": read, "write": write, "convert": convert}[job["action"]](job)


if __name__ == "__main__":
    main()
