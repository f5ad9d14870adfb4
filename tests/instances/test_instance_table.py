"""The file of instances, the nearest place of a class, and colours by both."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy import ndarray

from semantic_ns.errors import SceneError
from semantic_ns.instances.colors import instance_color
from semantic_ns.instances.nearest import NearestOfClass
from semantic_ns.instances.table import InstanceTable
from semantic_ns.labels.taxonomy import Taxonomy
from semantic_ns.viewer.instances import InstanceColors

TAXONOMY = Taxonomy((3, 7, 9), ("wall", "lamp", "chair"), ((1, 2, 3),) * 3, (False, True, True), 0)


def table(seed: int = 0) -> InstanceTable:
    rng = np.random.default_rng(seed)
    ids = rng.integers(1, 6, 40).astype(np.int32)
    return InstanceTable(rng.normal(size=(40, 3)), np.where(ids < 3, 7, 9).astype(np.int32), ids)


def nearest_slowly(known: ndarray, classes: ndarray, point: ndarray, number: int) -> int:
    own = [i for i in range(len(known)) if classes[i] == number and number >= 0]
    return min(own, key=lambda i: float(((known[i] - point) ** 2).sum()), default=-1)


def test_the_nearest_place_of_a_class_is_found() -> None:
    rng = np.random.default_rng(1)
    known, classes = rng.normal(size=(50, 3)), rng.integers(-1, 3, 50)
    points, asked = rng.normal(size=(200, 3)), rng.integers(-1, 5, 200)
    expected = [nearest_slowly(known, classes, point, number) for point, number in zip(points, asked, strict=True)]
    assert NearestOfClass(known, classes).find(points, asked).tolist() == expected
    assert set(np.array(expected)[(asked < 0) | (asked > 2)]) == {-1}


def test_nothing_is_near_where_nothing_is_known() -> None:
    empty = NearestOfClass(np.zeros((0, 3)), np.zeros(0, int))
    assert empty.find(np.zeros((2, 3)), np.array([0, -1])).tolist() == [-1, -1]


def test_a_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = table()
    written.write(tmp_path / "instances.npz")
    for place in (tmp_path, tmp_path / "instances.npz"):
        read = InstanceTable.read(place)
        np.testing.assert_array_equal(read.positions, written.positions)
        np.testing.assert_array_equal(read.class_ids, written.class_ids)
        np.testing.assert_array_equal(read.ids, written.ids)


def test_a_place_has_the_colour_of_the_nearest_thing_of_its_class() -> None:
    known, rng = table(), np.random.default_rng(2)
    scale, turn = 4.0, torch.linalg.qr(torch.from_numpy(rng.normal(size=(3, 3))))[0]
    world_from_scene = torch.cat([turn * scale, torch.tensor([[1.0], [2.0], [3.0]], dtype=torch.float64)], dim=1)
    points, labels = torch.from_numpy(rng.normal(size=(60, 3))), torch.from_numpy(rng.integers(-1, 3, 60))
    points[5] = torch.nan
    found = InstanceColors(known, TAXONOMY, world_from_scene).at(points.float(), labels)
    classes = np.array([TAXONOMY.source_ids.index(number) for number in known.class_ids])
    for place in range(60):
        world = scale * (turn @ points[place].float().double()).numpy() + np.array([1.0, 2.0, 3.0])
        number = -1 if place == 5 else nearest_slowly(known.positions, classes, world, int(labels[place]))
        expected = instance_color(0 if number < 0 else int(known.ids[number]))
        assert (found[place] * 255).round().int().tolist() == list(expected)
    assert (found[labels <= 0] == 0).all()  # void, and the wall, which is no thing


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "found none"),
        ({"ids": np.ones(2, np.int32)}, "the arrays class_ids, ids, positions"),
        ({"ids": np.ones(2, np.int32), "class_ids": np.ones(3, np.int32), "positions": np.zeros((2, 3))}, r"\(3,\)"),
        ({"ids": np.zeros(2, np.int32), "class_ids": np.ones(2, np.int32), "positions": np.zeros((2, 3))}, "from 1"),
        (
            {"ids": np.ones(1, np.int32), "class_ids": np.ones(1, np.int32), "positions": np.full((1, 3), np.nan)},
            "finite positions",
        ),
        ({"ids": np.array([{}]), "class_ids": np.ones(1, np.int32), "positions": np.zeros((1, 3))}, "cannot be read"),
    ],
)
def test_another_file_is_one_sentence(content: dict[str, ndarray] | None, sentence: str, tmp_path: Path) -> None:
    if content is not None:
        np.savez(tmp_path / "instances.npz", **content)
    with pytest.raises(SceneError, match=sentence):
        InstanceTable.read(tmp_path)


def test_a_damaged_file_is_one_sentence(tmp_path: Path) -> None:
    table().write(tmp_path / "instances.npz")
    whole = (tmp_path / "instances.npz").read_bytes()
    (tmp_path / "instances.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SceneError, match="cannot be read"):
        InstanceTable.read(tmp_path)


def test_instances_of_another_scene_are_one_sentence() -> None:
    other = Taxonomy((3, 9), ("wall", "chair"), ((1, 2, 3),) * 2, (False, True), 0)
    with pytest.raises(SceneError, match="found the class id 7"):
        InstanceColors(table(), other, torch.eye(3, 4))
