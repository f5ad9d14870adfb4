import json
import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semantic_ns.errors import SceneError
from semantic_ns.io.run_lengths import encode_coco
from semantic_ns.labelling.marks import MAX_POINTS, Mark, polygon_mask, stroke_mask

HEIGHT, WIDTH = 12, 17
REGIONS = (np.arange(HEIGHT * WIDTH, dtype=np.int32) // 20).reshape(HEIGHT, WIDTH)


def mask_of(shape: dict[str, Any]) -> np.ndarray:
    return Mark.from_json({"frame": 0, "class_id": 1, "shape": shape}).mask(HEIGHT, WIDTH, lambda: REGIONS)


def distance_to_segment(p: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    length = float(((b - a) ** 2).sum())
    along = 0.0 if length == 0 else min(max(float((p - a) @ (b - a)) / length, 0.0), 1.0)
    return float(np.linalg.norm(p - a - along * (b - a)))


COORDINATES = st.floats(-5, 22)
POINTS = st.lists(st.tuples(COORDINATES, COORDINATES), min_size=1, max_size=5)


@given(POINTS, st.floats(0.5, 8))
@settings(max_examples=60, deadline=None)
def test_a_stroke_covers_the_pixels_near_its_line_and_under_its_points(
    points: list[tuple[float, float]], radius: float
) -> None:
    array = np.array(points, np.float64)
    found = stroke_mask(array, radius, HEIGHT, WIDTH)
    segments = list(pairwise(array)) or [(array[0], array[0])]
    under = {(math.floor(y), math.floor(x)) for x, y in points}
    for row in range(HEIGHT):
        for column in range(WIDTH):
            centre = np.array([column + 0.5, row + 0.5])
            distance = min(distance_to_segment(centre, a, b) for a, b in segments)
            if abs(distance - radius) > 1e-9:
                assert found[row, column] == (distance <= radius or (row, column) in under)


@given(st.lists(st.tuples(COORDINATES, COORDINATES), min_size=3, max_size=7))
@settings(max_examples=60, deadline=None)
def test_a_polygon_covers_the_centres_from_which_a_ray_leaves_it_an_odd_number_of_times(
    points: list[tuple[float, float]],
) -> None:
    found = polygon_mask(np.array(points, np.float64), HEIGHT, WIDTH)
    for row in range(HEIGHT):
        for column in range(WIDTH):
            x, y, num_crossings, is_close = column + 0.5, row + 0.5, 0, False
            for (ax, ay), (bx, by) in zip(points, [*points[1:], points[0]], strict=True):
                if (ay <= y) != (by <= y):
                    crossing = ax + (y - ay) * ((bx - ax) / (by - ay))
                    is_close |= abs(crossing - x) < 1e-6
                    num_crossings += crossing < x
            if not is_close and all(abs(ay - y) > 1e-9 for _, ay in points):
                assert found[row, column] == (num_crossings % 2 == 1)


def test_a_click_between_pixels_covers_the_one_that_it_lies_in() -> None:
    mask = mask_of({"kind": "click", "x": 3.0, "y": 4.0, "radius": 0.5})
    assert np.argwhere(mask).tolist() == [[4, 3]]


def test_regions_and_masks_are_covered_as_they_are() -> None:
    assert (mask_of({"kind": "region", "region_ids": [1, 4]}) == np.isin(REGIONS, [1, 4])).all()
    mask = REGIONS % 3 == 1
    assert (mask_of({"kind": "mask", "runs": encode_coco(mask)["counts"]}) == mask).all()


@pytest.mark.parametrize(
    "shape",
    [
        {"kind": "click", "x": 1, "y": 2.5, "radius": 3},
        {"kind": "stroke", "points": [[0, 0], [5.5, 3]], "radius": 1.5},
        {"kind": "polygon", "points": [[0, 0], [5, 0], [5, 5]]},
        {"kind": "region", "region_ids": [2, 0]},
        {"kind": "mask", "runs": "0b"},
    ],
)
@pytest.mark.parametrize("action", ["paint", "erase", "void"])
def test_a_mark_goes_through_json_unchanged(shape: dict[str, Any], action: str) -> None:
    values = {"frame": 3, "class_id": 5 if action == "paint" else None, "shape": shape, "action": action}
    mark = Mark.from_json(values)
    assert Mark.from_json(json.loads(json.dumps(mark.to_json()))) == mark


GOOD = {"frame": 0, "class_id": 1, "shape": {"kind": "click", "x": 1.0, "y": 1.0, "radius": 1.0}, "action": "paint"}


@pytest.mark.parametrize(
    "change",
    [
        {"frame": -1}, {"frame": 0.0}, {"frame": True}, {"frame": None}, {"frame": "0"}, {"frame": 2**40},
        {"class_id": None}, {"class_id": "wall"}, {"class_id": -2}, {"class_id": 10**9}, {"class_id": [1]},
        {"action": "delete"}, {"action": None}, {"action": "erase"}, {"action": ["paint"]},
        {"shape": None}, {"shape": []}, {"shape": {}}, {"shape": {"kind": "circle"}}, {"shape": {"kind": ["click"]}},
        *({"shape": {"kind": "click", "x": x, "y": 1, "radius": 1}}
          for x in (math.nan, math.inf, 1e7, "1", None, True, 10**400)),
        *({"shape": {"kind": "click", "x": 1, "y": 1, "radius": r}} for r in (0, 0.4, 513, -1, math.nan, None)),
        {"shape": {"kind": "stroke", "points": [], "radius": 1}},
        {"shape": {"kind": "stroke", "points": [[1, 2, 3]], "radius": 1}},
        {"shape": {"kind": "stroke", "points": "abc", "radius": 1}},
        {"shape": {"kind": "stroke", "points": [[0, 0]] * (MAX_POINTS + 1), "radius": 1}},
        {"shape": {"kind": "polygon", "points": [[0, 0], [1, 1]]}},
        {"shape": {"kind": "region", "region_ids": []}}, {"shape": {"kind": "region", "region_ids": [-1]}},
        {"shape": {"kind": "region", "region_ids": [1.5]}}, {"shape": {"kind": "region"}},
        {"shape": {"kind": "mask", "runs": [1, 2]}},
    ],
)  # fmt: skip
def test_what_is_no_mark_is_refused_in_one_sentence(change: dict[str, Any]) -> None:
    Mark.from_json(GOOD)
    with pytest.raises(SceneError) as refusal:
        Mark.from_json({**GOOD, **change})
    assert str(refusal.value).startswith("Expected ")
    assert len(str(refusal.value)) < 300


@pytest.mark.parametrize("values", [None, 5, [], "mark"])
def test_what_is_no_dictionary_is_refused(values: Any) -> None:
    with pytest.raises(SceneError, match="Expected a dictionary for a mark"):
        Mark.from_json(values)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ({"kind": "click", "x": -9, "y": 2, "radius": 2}, "covers no pixel"),
        ({"kind": "polygon", "points": [[1, 1], [5, 1], [9, 1]]}, "covers no pixel"),
        ({"kind": "region", "region_ids": [999]}, "region_ids 0.."),
        ({"kind": "mask", "runs": "0b"}, "run lengths"),
        ({"kind": "mask", "runs": "\u00e9"}, "run lengths"),
    ],
)
def test_marks_that_do_not_fit_the_image_are_refused(shape: dict[str, Any], message: str) -> None:
    with pytest.raises(SceneError, match=message):
        mask_of(shape)


def test_the_longest_stroke_with_the_largest_brush_covers_a_small_image() -> None:
    points = [[-1e6, -1e6], [1e6, 1e6]] * (MAX_POINTS // 2)
    assert mask_of({"kind": "stroke", "points": points, "radius": 512}).all()


def test_a_stroke_that_would_keep_everybody_waiting_is_refused() -> None:
    points = np.array([[0, 0], [4000, 4000]] * 5000, np.float64)
    with pytest.raises(SceneError, match="draw it in parts"):
        stroke_mask(points, 500.0, 4000, 4000)
