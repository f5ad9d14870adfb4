"""A labelled mesh in ScanNet's layout (Dai et al. 2017): what tools and benchmarks for its scans read.

Of a scan `NAME` these are `NAME_vh_clean_2.ply` with the colours, `NAME_vh_clean_2.labels.ply` with the `label` of each
vertex and the colours of the classes, `NAME_vh_clean_2.0.010000.segs.json` with the segment of each vertex,
`NAME.aggregation.json` with the objects as lists of segments, and `NAME.txt` with an id of a class a line, in the
order of the vertices, as the benchmark takes predictions. Here a segment is an object: a thing or, where things were
not told apart and of stuff, all of a class. Void vertices have a segment that is of no object.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from semantic_ns.export.point_files import Labelled, write_ply
from semantic_ns.io.writing import write_json, write_text
from semantic_ns.labels.taxonomy import VOID, Taxonomy

_MESH = "_vh_clean_2"
_SEGMENTS = f"{_MESH}.0.010000.segs.json"


def write_scannet(
    folder: Path, name: str, vertices: Labelled, faces: Int64[ndarray, "faces 3"], taxonomy: Taxonomy
) -> list[Path]:
    """Write a mesh with its classes, and its things where it has any.

    Args:
        folder: Folder of the files.
        name: Name of the scan, with which all names begin.
        vertices: The vertices.
        faces: Vertices of triangles.
        taxonomy: The classes.

    Returns:
        The files.
    """
    write_ply(folder / f"{name}{_MESH}.ply", vertices, taxonomy, faces)
    shown = replace(vertices, colors=vertices.class_colors(taxonomy))
    write_ply(folder / f"{name}{_MESH}.labels.ply", shown, taxonomy, faces)
    things = np.zeros(len(vertices.labels), np.int64) if vertices.instances is None else vertices.instances
    objects, segments = np.unique(np.stack([vertices.labels, things], axis=1), axis=0, return_inverse=True)
    params = {"note": "a segment is an object, and the last number is void"}
    is_void = objects[:, 0] == VOID
    # Objects are sorted, so that void comes first; its number comes last, so that those of objects count from 0.
    numbers = np.concatenate([np.arange(len(objects))[is_void] + (~is_void).sum(), np.arange((~is_void).sum())])
    indices = numbers[segments.reshape(-1)].tolist()
    content = {"params": params, "sceneId": f"scannet.{name}", "segIndices": indices}
    groups = [
        {"id": number, "objectId": number, "segments": [number], "label": taxonomy.names[label]}
        for number, label in enumerate(objects[~is_void, 0].tolist())
    ]
    write_text(folder / f"{name}{_SEGMENTS}", json.dumps(content))  # one line: it has a number for each vertex
    aggregation = {"sceneId": f"scannet.{name}", "appId": "semantic-ns", "segGroups": groups}
    write_json(folder / f"{name}.aggregation.json", {**aggregation, "segmentsFile": f"scannet.{name}{_SEGMENTS}"})
    write_text(folder / f"{name}.txt", "".join(f"{number}\n" for number in vertices.source_ids(taxonomy).tolist()))
    endings = (f"{_MESH}.ply", f"{_MESH}.labels.ply", _SEGMENTS, ".aggregation.json", ".txt")
    return [folder / f"{name}{ending}" for ending in endings]
