import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from semantic_ns.errors import SceneError
from semantic_ns.labels.class_table import ClassTable
from semantic_ns.labels.label_map import LabelMap, void_id_of

NYU13 = ClassTable.load("nyu13")
RAW = LabelMap("raw ids to nyu13", NYU13, {-1: 0, 0: 0, 7: 4, 1357: 12, 3: 4})


def map_by_loop(label_map: LabelMap, raw: np.ndarray) -> np.ndarray:
    mapped = np.empty(raw.shape, np.int64)
    for place, number in np.ndenumerate(raw):
        mapped[place] = label_map.ids[int(number)]
    return mapped


@given(st.lists(st.sampled_from(list(RAW.ids)), min_size=6, max_size=6))
def test_the_look_up_table_is_the_loop_over_pixels(ids):
    raw = np.array(ids).reshape(2, 3)
    np.testing.assert_array_equal(RAW.apply(raw), map_by_loop(RAW, raw))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int64])
def test_the_type_of_the_image_does_not_matter(dtype):
    assert RAW.apply(np.array([[0, 7, 3]], dtype)).tolist() == [[0, 4, 4]]


@pytest.mark.parametrize(("unknown", "said"), [([8], "8"), ([-2], "-2"), ([1358], "1358"), ([70000, 5], "5, 70000")])
def test_ids_that_the_map_does_not_know_are_named(unknown, said):
    with pytest.raises(SceneError, match=f"raw ids to nyu13 knows in some.png, found {said};"):
        RAW.apply(np.array([[0, 7, *unknown]]), "some.png")


def test_a_map_out_of_its_table_is_refused():
    with pytest.raises(ValueError, match=r"\[77\]"):
        LabelMap("wrong", NYU13, {1: 77, 2: 4})


def test_a_map_without_ids_is_refused():
    with pytest.raises(ValueError, match="nyu13"):
        LabelMap("wrong", NYU13, {})


@given(st.lists(st.sampled_from(list(RAW.ids)), min_size=4, max_size=4))
def test_two_maps_in_a_row_are_one_map(ids):
    nyu40 = ClassTable.load("nyu40")
    second = LabelMap("on", nyu40, {number: number % 7 for number in range(14)})
    raw = np.array(ids).reshape(2, 2)
    both = RAW.then(second)
    np.testing.assert_array_equal(both.apply(raw), second.apply(RAW.apply(raw)))
    assert both.table is nyu40
    assert both.name == "raw ids to nyu13, then on"


def test_nothing_follows_a_map_that_stays():
    assert RAW.then(None) is RAW


def test_a_following_map_must_know_every_id():
    with pytest.raises(ValueError, match=r"\[4, 12\]"):
        RAW.then(LabelMap("on", NYU13, {0: 0}))


def test_void_is_written_as_the_lowest_void_id():
    assert void_id_of(NYU13) == 0
    assert void_id_of(ClassTable.from_list([{"id": 3, "name": "a"}], [255, 9], "own")) == 9


def test_a_table_without_void_cannot_be_mapped_to():
    table = ClassTable.from_list([{"id": 0, "name": "a"}, {"id": 255, "name": "b"}], None, "own")
    with pytest.raises(SceneError, match="void id in the class table own"):
        void_id_of(table)
