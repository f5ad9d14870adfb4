"""Functions that write a sample file of a tool into a folder, and the classes that are read of it."""

import json
from pathlib import Path
from typing import Any

import numpy as np

import support.tool_files as files
from semantic_ns.annotations.types import UNLABELLED, Annotations
from semantic_ns.labels.taxonomy import VOID
from support.tool_files import HEIGHT, IMAGE, WIDTH, write


def names_of_pixels(annotations: Annotations) -> dict[str, np.ndarray]:
    """Class names of the pixels of each image; `-` where nothing is annotated, `void` for void."""
    table = [*annotations.taxonomy.names, "-", "void"]
    assert (UNLABELLED, VOID) == (-2, -1)
    return {image.name: np.array(table)[image.read((WIDTH, HEIGHT))] for image in annotations.images}


def cvat(shapes: str) -> files.Make:
    return lambda folder: write(folder / "annotations.xml", files.cvat(shapes))


def label_studio(*results: Any, **task: Any) -> files.Make:
    return lambda folder: write(folder / "export.json", files.label_studio(*results, **task))


def labelbox(*objects: Any, **row: Any) -> files.Make:
    return lambda folder: write(folder / "export.ndjson", files.labelbox(*objects, **row))


def coco(segmentation: Any, **changes: Any) -> files.Make:
    return lambda folder: write(folder / "coco.json", files.coco(segmentation, **changes))


def via(region: dict[str, Any]) -> files.Make:
    return lambda folder: write(folder / "via.json", files.via(region))


def via_csv(folder: Path) -> Path:
    region = files.via_polygon()
    cells = [json.dumps(region[key]).replace('"', '""') for key in ("shape_attributes", "region_attributes")]
    header = "filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes"
    lines = [f'{IMAGE},1234,"{{}}",1,0,"{cells[0]}","{cells[1]}"', f'{IMAGE},1234,"{{}}",0,0,"{{}}","{{}}"']
    return write(folder / "via_region_data.csv", "\n".join([header, *lines]) + "\n")


def via_of_version_3(*numbers: float, value: str = "1", kind: int = 4) -> files.Make:
    options = {"0": "lamp", "1": "chair"} if kind != 1 else {}
    content = {
        "project": {"pid": "__VIA_PROJECT_ID__", "data_format_version": "3.1.1"},
        "config": {},
        "attribute": {"1": {"aname": "kind", "anchor_id": "FILE1_Z0_XY1", "type": kind, "options": options}},
        "file": {"1": {"fid": "1", "fname": IMAGE, "type": 2, "loc": 1, "src": ""}},
        "metadata": {"1_a": {"vid": "1", "flg": 0, "z": [], "xy": list(numbers), "av": {"1": value}}},
        "view": {"1": {"fid_list": ["1"]}},
        "vid_list": ["1"],
    }
    return lambda folder: write(folder / "via3.json", content)


def via_3_csv(folder: Path) -> Path:
    """The CSV of version 3: comments with the attributes, then a line per region."""
    attributes = {
        "1": {"aname": "kind", "anchor_id": "FILE1_Z0_XY1", "type": 4, "options": {"0": "lamp", "1": "chair"}}
    }
    shape = [7, *(value for corner in files.CORNERS for value in corner)]
    cells = ["1_a1b2", json.dumps([IMAGE]), "0", "[]", json.dumps(shape), json.dumps({"1": "1"})]
    row = ",".join('"{}"'.format(cell.replace('"', '""')) for cell in cells)
    comments = [
        "# Exported using VGG Image Annotator (http://www.robots.ox.ac.uk/~vgg/software/via)",
        "# Notes:",
        "# - spatial_coordinates of [2,10,20,50,80] denotes a rectangle",
        f"# ATTRIBUTE = {json.dumps(attributes)}",
        "# CSV_HEADER = metadata_id,file_list,flags,temporal_coordinates,spatial_coordinates,metadata",
    ]
    return write(folder / "via3.csv", "\n".join([*comments, row]) + "\n")


def labelme(*shapes: dict[str, Any], **changes: Any) -> files.Make:
    return lambda folder: write(folder / "frame_00001.json", files.labelme(*shapes, **changes))


def supervisely(*objects: dict[str, Any]) -> files.Make:
    return lambda folder: files.write_supervisely(folder, *objects)


def voc(label_map: str, chair: tuple[int, int, int], rest: tuple[int, int, int]) -> files.Make:
    return lambda folder: files.write_voc(folder, label_map, {"chair": chair, "rest": rest})
