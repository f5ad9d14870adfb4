"""Meshes in ScanNet's layout: read the way that ScanNet's tools read scans, they say what the vertices are."""

import json
from pathlib import Path

import numpy as np
import plyfile
import pytest
from numpy import ndarray

from semantic_ns.export.point_files import Labelled
from semantic_ns.export.scannet_files import write_scannet
from semantic_ns.export.surface_files import MeshOptions, write_surface_mesh
from semantic_ns.export.surface_views import SceneSurface
from support.box_views import COLORS, NAMES, TAXONOMY, box_views

IDS = dict(zip(NAMES, TAXONOMY.source_ids, strict=True))
FACES = np.array([[0, 1, 2], [5, 6, 7]])


def vertices(with_things: bool, with_void: bool = True) -> Labelled:
    """Eight vertices of three classes, two things of the first, and void."""
    rng = np.random.default_rng(0)
    return Labelled(
        rng.uniform(-1, 1, (8, 3)),
        np.zeros((8, 3), np.float32),
        rng.integers(0, 256, (8, 3)).astype(np.uint8),
        np.array([5, 0, 0, -1 if with_void else 2, 0, 2, 5, 2], np.int16),
        np.ones(8, np.float32),
        np.array([0, 2, 1, 0, 2, 3, 0, 3], np.int32) if with_things else None,
    )


def read_scan(folder: Path, name: str) -> tuple[ndarray, ndarray]:
    """The class id and the object of each vertex, 0 and -1 for none: segments first, then objects by their segments."""
    segments = json.loads((folder / f"{name}_vh_clean_2.0.010000.segs.json").read_text())
    vertices_of: dict[int, list[int]] = {}
    for vertex, segment in enumerate(segments["segIndices"]):
        vertices_of.setdefault(segment, []).append(vertex)
    aggregation = json.loads((folder / f"{name}.aggregation.json").read_text())
    assert aggregation["sceneId"] == segments["sceneId"] == f"scannet.{name}"
    assert (folder / aggregation["segmentsFile"].removeprefix("scannet.")).is_file()
    ids, objects = np.zeros(len(segments["segIndices"]), int), np.full(len(segments["segIndices"]), -1)
    for group in aggregation["segGroups"]:
        for segment in group["segments"]:
            ids[vertices_of[segment]], objects[vertices_of[segment]] = IDS[group["label"]], group["objectId"]
    assert [group["objectId"] for group in aggregation["segGroups"]] == list(range(len(aggregation["segGroups"])))
    return ids, objects


@pytest.mark.parametrize("with_void", [True, False])
@pytest.mark.parametrize("with_things", [True, False])
def test_a_scan_says_the_class_and_the_object_of_each_vertex(
    with_things: bool, with_void: bool, tmp_path: Path
) -> None:
    given = vertices(with_things, with_void)
    paths = write_scannet(tmp_path, "room", given, FACES, TAXONOMY)
    assert sorted(paths) == sorted(tmp_path.iterdir())
    ids, objects = read_scan(tmp_path, "room")
    np.testing.assert_array_equal(ids, given.source_ids(TAXONOMY))
    assert [int(line) for line in (tmp_path / "room.txt").read_text().splitlines()] == ids.tolist()
    np.testing.assert_array_equal(objects >= 0, given.labels >= 0)
    things = np.zeros(8, int) if given.instances is None else given.instances
    for first in range(8):
        for second in range(8):
            are_one = (given.labels[first], things[first]) == (given.labels[second], things[second])
            assert (objects[first] == objects[second]) == are_one


def test_the_two_meshes_have_colours_of_the_surface_and_of_the_classes(tmp_path: Path) -> None:
    given = vertices(True)
    write_scannet(tmp_path, "room", given, FACES, TAXONOMY)
    meshes = [plyfile.PlyData.read(str(tmp_path / f"room_vh_clean_2{end}.ply")) for end in ("", ".labels")]
    colors = [np.stack([mesh["vertex"][name] for name in ("red", "green", "blue")], axis=1) for mesh in meshes]
    np.testing.assert_array_equal(colors[0], given.colors)
    np.testing.assert_array_equal(colors[1], np.array([*COLORS, (0, 0, 0)])[given.labels])
    np.testing.assert_array_equal(meshes[1]["vertex"]["label"], given.source_ids(TAXONOMY))
    for mesh in meshes:
        np.testing.assert_array_equal(np.stack(list(mesh["face"]["vertex_indices"])), FACES)


def test_the_surface_of_a_room_is_a_scan_under_its_name(tmp_path: Path) -> None:
    surface = SceneSurface(box_views(), "m", "exact depth", True)
    write_surface_mesh(tmp_path, surface, TAXONOMY, MeshOptions(0.1, "scannet", name="box"))
    found = {path.name.removeprefix("box") for path in tmp_path.iterdir()}
    scan = {"_vh_clean_2.ply", "_vh_clean_2.labels.ply", "_vh_clean_2.0.010000.segs.json", ".aggregation.json", ".txt"}
    assert found == scan | {"README.txt", "classes.json"}
    ids, objects = read_scan(tmp_path, "box")
    assert set(ids) == set(TAXONOMY.source_ids)
    assert set(objects) == set(range(6))
    labels = plyfile.PlyData.read(str(tmp_path / "box_vh_clean_2.labels.ply"))["vertex"]["label"]
    np.testing.assert_array_equal(labels, ids)
