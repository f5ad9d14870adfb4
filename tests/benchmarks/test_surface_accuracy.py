"""The benchmark of exported surfaces: distances and classes of places beside a truth that is known exactly."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.surface_accuracy import NEAR_M, Places, accuracy, places_on, read_surface
from semantic_ns.export.surface_files import MeshOptions, write_points, write_surface_mesh
from semantic_ns.export.surface_views import SceneSurface
from support.box_views import TAXONOMY, box_views

VOID = TAXONOMY.void_source_id


def truth() -> Places:
    """The pixels of the views of an empty room, with the ids of its walls."""
    views = box_views()
    positions = np.concatenate([view.points().reshape(-1, 3) for view in views])
    labels = np.concatenate([view.labels.reshape(-1) for view in views])
    return Places(positions, TAXONOMY.decode(labels))


def scores(places: Places, true: Places) -> dict[str, float]:
    return accuracy(places, places, true, VOID, np.random.default_rng(0))


def test_the_truth_itself_is_right_everywhere() -> None:
    assert scores(truth(), truth()) == {"median_m": 0.0, "share_near": 1.0, "covered": 1.0, "class_right": 1.0}


def test_places_beside_the_walls_are_as_far_away_as_they_were_moved() -> None:
    room = truth()
    outwards = np.sign(room.positions - room.positions.mean(axis=0)) * 10
    half = np.arange(len(room.ids)) % 2 == 0
    moved = Places(np.where(half[:, None], room.positions, room.positions + outwards), room.ids)
    found = scores(moved, room)
    assert found["share_near"] == pytest.approx(half.mean())
    assert found["class_right"] == 1.0  # only places within 5 cm are asked for their class


def test_a_wall_that_is_missing_is_not_covered() -> None:
    room = truth()
    is_floor = room.ids == TAXONOMY.source_ids[4]
    without = Places(room.positions[~is_floor], room.ids[~is_floor])
    distance = room.positions[is_floor][:, 2]
    assert np.abs(distance).max() < 1e-5
    near_walls = scores(without, room)
    assert near_walls["share_near"] == 1.0
    assert near_walls["covered"] == pytest.approx(1 - is_floor.mean(), abs=2 * NEAR_M)
    assert near_walls["covered"] < 1 - is_floor.mean() / 2


def test_true_places_without_a_class_are_not_asked() -> None:
    room = truth()
    is_unknown = np.arange(len(room.ids)) % 3 == 0
    unlabelled = Places(room.positions, np.where(is_unknown, VOID, room.ids))
    assert scores(room, unlabelled)["class_right"] == 1.0


def test_places_are_drawn_evenly_from_the_area_of_triangles() -> None:
    corners = np.array([[[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[5, 0, 0], [8, 0, 0], [5, 1, 0]]], np.float64)
    places = places_on(corners, 40_000, np.random.default_rng(0))
    is_large = places[:, 0] >= 5
    assert is_large.mean() == pytest.approx(0.75, abs=0.01)
    np.testing.assert_allclose(places[~is_large].mean(axis=0), corners[0].mean(axis=0), atol=0.01)
    np.testing.assert_allclose(places[is_large].mean(axis=0), corners[1].mean(axis=0), atol=0.02)
    assert (places[~is_large, :2].sum(axis=1) <= 1).all()


def test_exported_points_and_meshes_of_a_known_room_are_near_the_truth(tmp_path: Path) -> None:
    surface = SceneSurface(box_views(), "m", "true depth", True)
    write_points(tmp_path, surface, TAXONOMY, 20_000, "ply")
    write_surface_mesh(tmp_path, surface, TAXONOMY, MeshOptions(0.05))
    for name in ("points.ply", "mesh.ply"):
        asked, covering = read_surface(tmp_path / name, np.random.default_rng(0))
        found = accuracy(asked, covering, truth(), VOID, np.random.default_rng(0))
        assert found["median_m"] < 0.03, name
        assert found["class_right"] > 0.97, name
