"""Files of points and meshes: what independent readers find in them, and what is said of them."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import laspy
import numpy as np
import plyfile
import pytest
import trimesh

from semantic_ns.errors import SceneError
from semantic_ns.export.instance_surface import SurfaceInstances, find_instances, label_voxels
from semantic_ns.export.point_files import (
    Labelled,
    file_name,
    majority,
    refuse_las,
    write_las,
    write_mesh,
    write_ply,
)
from semantic_ns.export.surface_files import README, MeshFormat, MeshOptions, write_points, write_surface_mesh
from semantic_ns.export.surface_views import SceneSurface
from semantic_ns.export.view_votes import Tolerance
from semantic_ns.labels.taxonomy import Taxonomy
from support.box_views import COLORS, NAMES, SIZE, TAXONOMY, box_views

THINGS = replace(TAXONOMY, is_thing=(True, True, True, True, False, False))
FACES = np.array([[0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 5]])


def labelled(count: int = 6, offset: float = 0.0) -> Labelled:
    random = np.random.default_rng(0)
    normals = random.normal(size=(count, 3))
    return Labelled(
        random.uniform(-2, 2, (count, 3)) + offset,
        (normals / np.linalg.norm(normals, axis=1, keepdims=True)).astype(np.float32),
        random.integers(0, 256, (count, 3)).astype(np.uint8),
        np.array([0, 0, 0, 5, 5, -1] * (count // 6), np.int16),
        random.random(count).astype(np.float32),
    )


SOURCE_IDS = [1, 1, 1, 13, 13, 0]


def opened(path: Path, **options: Any) -> Any:
    """A mesh or a scene, as trimesh reads it."""
    return trimesh.load(path, process=False, **options)


def columns(table: np.ndarray, *names: str) -> np.ndarray:
    return np.stack([table[name] for name in names], axis=1)


def test_a_reader_of_ply_finds_positions_normals_colors_ids_and_confidence(tmp_path: Path) -> None:
    points = labelled()
    write_ply(tmp_path / "points.ply", points, TAXONOMY)
    table = plyfile.PlyData.read(str(tmp_path / "points.ply"))["vertex"].data
    np.testing.assert_allclose(columns(table, "x", "y", "z"), points.positions, rtol=1e-6)
    np.testing.assert_array_equal(columns(table, "nx", "ny", "nz"), points.normals)
    np.testing.assert_array_equal(columns(table, "red", "green", "blue"), points.colors)
    np.testing.assert_array_equal(table["scalar_confidence"], points.confidence)
    assert table["scalar_class"].tolist() == SOURCE_IDS
    assert table["x"].dtype == np.float32


def test_positions_far_from_the_origin_keep_their_millimetres(tmp_path: Path) -> None:
    points = labelled(offset=5_300_000.0)
    write_ply(tmp_path / "points.ply", points, TAXONOMY)
    table = plyfile.PlyData.read(str(tmp_path / "points.ply"))["vertex"].data
    np.testing.assert_array_equal(columns(table, "x", "y", "z"), points.positions)


@pytest.mark.parametrize("ending", ["las", "laz"])
def test_a_reader_of_las_finds_positions_classes_and_confidence(tmp_path: Path, ending: str) -> None:
    points, path = labelled(offset=1000.0), tmp_path / f"points.{ending}"
    write_las(path, points, TAXONOMY)
    found = laspy.read(path)
    np.testing.assert_allclose(np.asarray(found.xyz), points.positions, atol=6e-5)
    assert np.asarray(found.classification).tolist() == [64, 64, 64, 69, 69, 1]
    assert np.asarray(found["class_id"]).tolist() == SOURCE_IDS
    np.testing.assert_array_equal(found["confidence"], points.confidence)
    np.testing.assert_array_equal(
        np.stack([np.asarray(found[name]) for name in ("red", "green", "blue")], axis=1) // 257, points.colors
    )
    assert str(found.header.version) == "1.4"


INSTANCES = np.array([2, 2, 1, 0, 0, 0], np.int32)


@pytest.mark.parametrize("ending", ["las", "laz"])
def test_a_reader_of_las_finds_the_ids_of_things_where_there_are_any(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"points.{ending}"
    write_las(path, replace(labelled(), instances=INSTANCES), TAXONOMY)
    np.testing.assert_array_equal(np.asarray(laspy.read(path)["instance_id"]), INSTANCES)
    write_las(path, labelled(), TAXONOMY)
    assert "instance_id" not in list(laspy.read(path).point_format.dimension_names)


def test_a_reader_of_ply_finds_the_ids_of_things_where_there_are_any(tmp_path: Path) -> None:
    things = replace(labelled(), instances=INSTANCES)
    for name, faces in (("scalar_instance", None), ("instance", FACES)):
        write_ply(tmp_path / "with.ply", things, TAXONOMY, faces)
        table = plyfile.PlyData.read(str(tmp_path / "with.ply"))["vertex"].data
        np.testing.assert_array_equal(table[name], INSTANCES)
        write_ply(tmp_path / "without.ply", labelled(), TAXONOMY, faces)
        assert name not in plyfile.PlyData.read(str(tmp_path / "without.ply"))["vertex"].data.dtype.names


def test_a_reader_of_glb_finds_the_ids_of_classes_and_of_things(tmp_path: Path) -> None:
    write_mesh(tmp_path / "mesh.glb", replace(labelled(), instances=INSTANCES), FACES, TAXONOMY)
    found = opened(tmp_path / "mesh.glb", force="mesh").vertex_attributes
    assert found["_CLASS_ID"].ravel().tolist() == SOURCE_IDS
    assert found["_INSTANCE_ID"].ravel().tolist() == INSTANCES.tolist()
    write_mesh(tmp_path / "mesh.glb", labelled(), FACES, TAXONOMY)
    assert "_INSTANCE_ID" not in opened(tmp_path / "mesh.glb", force="mesh").vertex_attributes


def test_parts_of_split_classes_keep_the_ids_of_their_own_things(tmp_path: Path) -> None:
    write_mesh(tmp_path / "mesh.ply", replace(labelled(), instances=INSTANCES), FACES, TAXONOMY, splits_classes=True)
    table = plyfile.PlyData.read(str(tmp_path / "mesh_west.ply"))["vertex"].data
    assert table["instance"].tolist() == [2, 2, 1, 0]


def test_more_classes_than_las_has_numbers_for_are_refused() -> None:
    refuse_las(Path("points.laz"), 192)
    with pytest.raises(SceneError, match="at most 192 classes"):
        refuse_las(Path("points.las"), 193)


@pytest.mark.parametrize("ending", ["ply", "obj", "glb"])
def test_a_reader_of_meshes_finds_vertices_triangles_and_colors(tmp_path: Path, ending: str) -> None:
    vertices, path = labelled(), tmp_path / f"mesh.{ending}"
    assert write_mesh(path, vertices, FACES, TAXONOMY) == [path]
    found = opened(path, force="mesh")
    np.testing.assert_allclose(found.vertices, vertices.positions, atol=1e-5)
    np.testing.assert_array_equal(found.faces, FACES)
    np.testing.assert_array_equal(np.asarray(found.visual.vertex_colors)[:, :3], vertices.colors)
    if ending == "ply":
        assert plyfile.PlyData.read(str(path))["vertex"].data["label"].tolist() == SOURCE_IDS


def test_a_glb_of_split_classes_has_a_node_for_each_under_its_name(tmp_path: Path) -> None:
    write_mesh(tmp_path / "mesh.glb", labelled(), FACES, TAXONOMY, splits_classes=True)
    scene = opened(tmp_path / "mesh.glb")
    assert {name: len(part.faces) for name, part in scene.geometry.items()} == {NAMES[0]: 2, NAMES[5]: 2}


def test_split_classes_are_files_that_have_all_triangles_together(tmp_path: Path) -> None:
    paths = write_mesh(tmp_path / "mesh.ply", labelled(), FACES, TAXONOMY, splits_classes=True)
    assert [path.name for path in paths] == ["mesh_west.ply", "mesh_ceiling.ply"]
    assert sum(len(opened(path).faces) for path in paths) == len(FACES)


def test_classes_whose_names_make_one_file_name_have_two_files(tmp_path: Path) -> None:
    alike = Taxonomy((1, 13), ("night stand", "night_stand"), ((1, 2, 3), (4, 5, 6)), (False,) * 2, 0)
    vertices = labelled()
    two = Labelled(
        vertices.positions, vertices.normals, vertices.colors, vertices.labels.clip(-1, 1), vertices.confidence
    )
    paths = write_mesh(tmp_path / "mesh.obj", two, FACES, alike, splits_classes=True)
    assert [path.name for path in paths] == ["mesh_night_stand.obj", "mesh_night_stand_13.obj"]
    assert all(path.is_file() for path in paths)


AWKWARD = (
    "instances",
    "void",
    "a/b",
    "a b",
    "ä ö",
    "Classes",
    "",
    "world",
    "scene",
    "a\u0308 o\u0308",
    "x" * 300,
    "..",
)
"""Names that mean something else, that a file or a node cannot have, and that are one after cleaning."""


def one_triangle_each() -> tuple[Labelled, np.ndarray, Taxonomy]:
    """A triangle of void and one of each class, at places of their own."""
    count = 3 * (len(AWKWARD) + 1)
    some = labelled(6 * count)
    labels = np.repeat(np.arange(-1, len(AWKWARD)), 3).astype(np.int16)
    positions = np.arange(3 * count, dtype=np.float64).reshape(count, 3)
    vertices = replace(some[np.arange(count)], labels=labels, positions=positions)
    ids = tuple(range(1, len(AWKWARD) + 1))
    colors = tuple((number, 0, 0) for number in ids)
    return vertices, np.arange(count).reshape(-1, 3), Taxonomy(ids, AWKWARD, colors, (True,) * len(ids), 0)


@pytest.mark.parametrize("ending", ["ply", "obj"])
def test_each_class_has_a_file_of_its_own_whatever_its_name(tmp_path: Path, ending: str) -> None:
    vertices, faces, taxonomy = one_triangle_each()
    paths = write_mesh(tmp_path / f"mesh.{ending}", vertices, faces, taxonomy, splits_classes=True)
    assert len({path.name.casefold() for path in paths}) == len(paths) == len(AWKWARD) + 1
    assert all(path.parent == tmp_path and len(path.name.encode()) < 200 for path in paths)
    assert paths[0].name == f"mesh_void.{ending}"
    assert not {f"mesh_instances.{ending}", f"mesh_classes.{ending}"} & {path.name.casefold() for path in paths}
    for path, triangle in zip(paths, faces, strict=True):
        np.testing.assert_allclose(opened(path, force="mesh").vertices, vertices.positions[triangle])


def test_a_class_called_instances_leaves_the_picture_of_the_things_alone(surface: SceneSurface, tmp_path: Path) -> None:
    taxonomy = replace(THINGS, names=("instances", "classes", "void", "a/b", "a b", "ä ö"))
    voxels = label_voxels(surface.views, taxonomy, Tolerance(0.05), 0.1)
    things = find_instances(voxels, surface.views)
    write_surface_mesh(tmp_path / "whole", surface, taxonomy, MeshOptions(0.16), things)
    write_surface_mesh(tmp_path / "split", surface, taxonomy, MeshOptions(0.16, splits_classes=True), things)
    pictures = [(tmp_path / folder / "mesh_instances.ply").read_bytes() for folder in ("whole", "split")]
    assert pictures[0] == pictures[1]
    assert (tmp_path / "split/mesh_instances_1.ply").is_file()


def test_the_nodes_of_a_glb_have_the_names_of_classes_and_are_all_different(tmp_path: Path) -> None:
    vertices, faces, taxonomy = one_triangle_each()
    write_mesh(tmp_path / "mesh.glb", vertices, faces, taxonomy, splits_classes=True)
    expected = {*AWKWARD, "void_2", "class_7"} - {""}
    content = (tmp_path / "mesh.glb").read_bytes()
    header = json.loads(content[20 : 20 + int.from_bytes(content[12:16], "little")])
    names = [node["name"] for node in header["nodes"] if "mesh" in node]
    assert len(names) == len(AWKWARD) + 1
    assert set(names) == {mesh["name"] for mesh in header["meshes"]} == expected
    assert not {node["name"] for node in header["nodes"] if "mesh" not in node} & expected
    scene = opened(tmp_path / "mesh.glb")
    for name, triangle in zip(AWKWARD, faces[1:], strict=True):
        found = scene.geometry[{"void": "void_2", "": "class_7"}.get(name, name)]
        np.testing.assert_allclose(found.vertices, vertices.positions[triangle])


@pytest.mark.parametrize("extent", [1e-3, 3.0, 1e6])
def test_las_keeps_eight_digits_of_any_extent(tmp_path: Path, extent: float) -> None:
    points = labelled()
    scaled = replace(points, positions=points.positions * extent)
    write_las(tmp_path / "points.las", scaled, TAXONOMY)
    found = np.asarray(laspy.read(tmp_path / "points.las").xyz)
    np.testing.assert_allclose(found, scaled.positions, atol=max(6e-5 if extent == 3 else 0, 1e-7 * extent))


def test_a_glb_far_from_the_origin_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="give --format ply"):
        write_mesh(tmp_path / "mesh.glb", labelled(offset=5e5), FACES, TAXONOMY)


def test_a_triangle_has_the_class_of_most_of_its_vertices() -> None:
    assert majority(np.array([[1, 1, 2], [2, 1, 1], [1, 2, 1], [1, 2, 3], [-1, -1, 0]], np.int16)).tolist() == [
        1, 1, 1, 1, -1,
    ]  # fmt: skip


def test_class_names_become_file_names() -> None:
    assert file_name("tv / monitor: left") == "tv___monitor__left"


@pytest.fixture(scope="module")
def surface() -> SceneSurface:
    return SceneSurface(box_views(), "m", "exact depth", True)


def test_points_of_a_room_are_written_in_colors_and_in_those_of_classes(surface: SceneSurface, tmp_path: Path) -> None:
    what = write_points(tmp_path, surface, TAXONOMY, 2000, "ply")
    plain, shown = (
        plyfile.PlyData.read(str(tmp_path / name))["vertex"].data for name in ("points.ply", "points_classes.ply")
    )
    assert what.startswith(f"{len(plain)} points, one in each cube of")
    np.testing.assert_array_equal(columns(plain, "x", "y", "z"), columns(shown, "x", "y", "z"))
    ids = np.array(TAXONOMY.source_ids)
    np.testing.assert_array_equal(
        columns(shown, "red", "green", "blue"), np.array(COLORS)[np.searchsorted(ids, shown["scalar_class"])]
    )
    table = json.loads((tmp_path / "classes.json").read_text())
    assert [entry["name"] for entry in table["classes"]] == list(NAMES)
    about = (tmp_path / README).read_text()
    assert "in metres" in about
    assert "Depth differs between views by" in about


def test_a_mesh_of_a_room_is_written_in_colors_and_in_those_of_classes(surface: SceneSurface, tmp_path: Path) -> None:
    write_surface_mesh(tmp_path, surface, TAXONOMY, MeshOptions(0.08))
    plain, shown = (opened(tmp_path / name) for name in ("mesh.ply", "mesh_classes.ply"))
    np.testing.assert_array_equal(plain.faces, shown.faces)
    assert np.ptp(plain.vertices, axis=0) == pytest.approx(SIZE, abs=0.3)
    labels = plyfile.PlyData.read(str(tmp_path / "mesh.ply"))["vertex"].data["label"]
    assert set(labels) <= set(TAXONOMY.source_ids)


@pytest.fixture(scope="module")
def halves(surface: SceneSurface) -> SurfaceInstances:
    """The lower and the upper half of each wall, from masks of every view."""
    voxels = label_voxels(surface.views, THINGS, Tolerance(0.03), 0.1)
    masks = [np.where(view.labels < 4, half_of(view.labels, view.points()), 0) for view in surface.views]
    return find_instances(voxels, surface.views, [mask.astype(np.int32) for mask in masks])


def half_of(labels: np.ndarray, points: np.ndarray) -> np.ndarray:
    """A number for the half of a wall on which points lie."""
    return 2 * labels + (points[..., 2] > SIZE[2] / 2) + 1


def check_halves(table: np.ndarray, prefix: str, id_name: str) -> None:
    """Nearly all points of the half of a wall have one id, which no other half has, and stuff has 0."""
    labels = np.searchsorted(TAXONOMY.source_ids, table[f"{prefix}{id_name}"])
    points, ids = columns(table, "x", "y", "z"), table[f"{prefix}instance"]
    true = np.where(labels < 4, half_of(labels, points), 0)
    of_half = {number: np.bincount(ids[true == number]).argmax() for number in np.unique(true).tolist()}
    assert of_half[0] == 0
    assert sorted(of_half.values()) == list(range(9))
    assert np.mean(ids == np.vectorize(of_half.get)(true)) > 0.95
    assert (ids[true == 0] == 0).all()


def test_points_and_vertices_have_the_ids_of_their_things(
    surface: SceneSurface, halves: SurfaceInstances, tmp_path: Path
) -> None:
    write_points(tmp_path, surface, THINGS, 4000, "ply", halves)
    write_surface_mesh(tmp_path, surface, THINGS, MeshOptions(0.08), halves)
    rows = json.loads((tmp_path / "instances.json").read_text())["instances"]
    colors = np.array([[0, 0, 0], *(row["color"] for row in rows)])
    assert [row["id"] for row in rows] == list(range(1, 9))
    for name, prefix, id_name in (("points", "scalar_", "class"), ("mesh", "", "label")):
        table, shown = (
            plyfile.PlyData.read(str(tmp_path / f"{name}{ending}.ply"))["vertex"].data for ending in ("", "_instances")
        )
        check_halves(table, prefix, id_name)
        np.testing.assert_array_equal(columns(shown, "red", "green", "blue"), colors[table[f"{prefix}instance"]])
        class_of = np.array([0, *(row["class_id"] for row in rows)])
        ids = table[f"{prefix}instance"]
        assert (class_of[ids] == np.where(ids > 0, table[f"{prefix}{id_name}"], 0)).all()
    assert "8 instances of things" in (tmp_path / README).read_text()


@pytest.mark.parametrize("file_format", ["ply", "glb"])
def test_split_classes_leave_the_picture_of_the_things_in_one_piece(
    surface: SceneSurface, halves: SurfaceInstances, tmp_path: Path, file_format: MeshFormat
) -> None:
    write_surface_mesh(tmp_path / "whole", surface, THINGS, MeshOptions(0.16, file_format), halves)
    write_surface_mesh(tmp_path / "split", surface, THINGS, MeshOptions(0.16, file_format, splits_classes=True), halves)
    name = f"mesh_instances.{file_format}"
    assert (tmp_path / "split" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert not (tmp_path / "split" / f"mesh_classes.{file_format}").exists()


def test_a_scene_of_unknown_scale_is_not_said_to_be_in_metres(surface: SceneSurface, tmp_path: Path) -> None:
    unknown = SceneSurface(surface.views[:1], "units of the poses", "rendered", False)
    write_points(tmp_path, unknown, TAXONOMY, 500, "las")
    about = (tmp_path / README).read_text()
    assert "they are not in metres" in about
    assert "errors could not be measured" in about
    assert sorted(path.name for path in tmp_path.iterdir()) == [README, "classes.json", "points.las"]


def test_what_programs_make_of_las_and_glb_is_said_of_these_alone(surface: SceneSurface, tmp_path: Path) -> None:
    words = {"las": "classification is 64 for the first class", "glb": "turned against a PLY"}
    write_points(tmp_path / "las", surface, TAXONOMY, 500, "las")
    write_surface_mesh(tmp_path / "glb", surface, TAXONOMY, MeshOptions(0.16, "glb"))
    write_points(tmp_path / "ply", surface, TAXONOMY, 500, "ply")
    for name in ("las", "glb", "ply"):
        about = (tmp_path / name / README).read_text()
        assert [of for of, said in words.items() if said in about] == ([name] if name in words else [])
    classes = json.loads((tmp_path / "las/classes.json").read_text())["classes"]
    found = laspy.read(tmp_path / "las/points.las")
    places = np.asarray(found.classification)[np.asarray(found.classification) >= 64] - 64
    ids = np.array([entry["id"] for entry in classes])[places]
    np.testing.assert_array_equal(ids, np.asarray(found["class_id"])[np.asarray(found.classification) >= 64])
