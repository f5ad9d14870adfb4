"""Classes of several scenes become one label space by their names."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semantic_ns.dataparsers.common_label_space import common_taxonomy, key_of, map_to, unknown_names
from semantic_ns.errors import SceneError
from semantic_ns.labels.taxonomy import Taxonomy


def taxonomy_of(classes: dict[int, str], void: tuple[int, ...] = (0,), first_color: int = 1) -> Taxonomy:
    ids = tuple(sorted(classes))
    return Taxonomy(
        source_ids=ids,
        names=tuple(classes[number] for number in ids),
        colors=tuple((first_color + place, 0, 0) for place in range(len(ids))),
        is_thing=(True,) * len(ids),
        void_source_id=void[0],
        void_source_ids=void,
    )


@pytest.mark.parametrize("name", ["TV-Screen", "tv_screen", " tv  screen ", "tv - screen", "Tv screen"])
def test_case_and_separators_do_not_tell_names_apart(name: str) -> None:
    assert key_of(name) == key_of("tv-screen")


@pytest.mark.parametrize("name", ["tvscreen", "tv", "tv screens", "screen tv"])
def test_other_names_are_other_classes(name: str) -> None:
    assert key_of(name) != key_of("tv-screen")


def test_ids_on_which_all_scenes_agree_stay_as_they_are() -> None:
    common = common_taxonomy([taxonomy_of({40: "floor", 93: "wall"}), taxonomy_of({7: "lamp", 40: "floor"})])
    assert (common.source_ids, common.names) == ((7, 40, 93), ("lamp", "floor", "wall"))
    assert common.void_source_id == 0


@pytest.mark.parametrize(
    "second",
    [taxonomy_of({1: "lamp", 2: "Floor"}), taxonomy_of({5: "floor"}), taxonomy_of({3: "lamp"}, void=(255,)),
     taxonomy_of({3: "lamp"}, void=(1,))],
    ids=["one id for two names", "two ids for one name", "two void ids", "a class of one is void in the other"],
)  # fmt: skip
def test_else_classes_are_numbered_from_1_in_the_order_in_which_they_come_and_void_is_0(second: Taxonomy) -> None:
    common = common_taxonomy([taxonomy_of({1: "wall", 4: "floor"}), second])
    expected = ("wall", "floor", "lamp") if "lamp" in second.names else ("wall", "floor")
    assert common.names == expected
    assert common.source_ids == tuple(range(1, len(expected) + 1))
    assert common.void_source_ids == (0,)


def test_two_spellings_in_one_scene_are_one_class() -> None:
    scene = taxonomy_of({1: "tv-screen", 2: "tv screen", 3: "wall"})
    common = common_taxonomy([scene])
    assert common.names == ("tv-screen", "wall")
    mapped = map_to(scene, common).apply(np.array([1, 2, 3, 0]))
    assert common.encode(mapped, "a test").tolist() == [0, 0, 1, -1]


def test_scenes_without_any_class_have_no_label_space() -> None:
    with pytest.raises(SceneError, match=r"Expected classes in at least one scene, found none; .*class table"):
        common_taxonomy([taxonomy_of({}), taxonomy_of({})])


def test_the_first_scene_that_has_a_class_says_how_it_looks() -> None:
    common = common_taxonomy([taxonomy_of({3: "wall"}), taxonomy_of({3: "Wall", 4: "floor"}, first_color=50)])
    assert common.names == ("wall", "floor")
    assert common.colors == ((1, 0, 0), (51, 0, 0))


def test_classes_of_scenes_that_number_their_colours_alike_are_told_apart() -> None:
    common = common_taxonomy([taxonomy_of({1: "wall", 2: "floor"}), taxonomy_of({1: "lamp", 2: "sofa", 3: "floor"})])
    assert common.colors[:2] == ((1, 0, 0), (2, 0, 0))
    assert len(set(common.colors)) == 4


def test_what_a_label_space_does_not_have_is_unknown_and_becomes_void() -> None:
    common = taxonomy_of({5: "wall", 6: "floor"}, void=(255,))
    scene = taxonomy_of({0: "Floor", 1: "lamp", 2: "WALL"}, void=(9, 7))
    assert unknown_names(scene, common) == ("lamp",)
    assert map_to(scene, common).apply(np.array([0, 1, 2, 9, 7])).tolist() == [6, 255, 5, 255, 255]


NAMES = st.lists(st.sampled_from(["wall", "floor", "lamp", "sofa", "tv screen", "door"]), unique=True, max_size=6)
SCENES = st.lists(st.tuples(NAMES, st.permutations(range(1, 9)), st.sampled_from([0, 9, 255])), min_size=1, max_size=4)


@settings(max_examples=50, deadline=None)
@given(SCENES)
def test_every_class_of_every_scene_is_read_as_the_class_of_its_name(
    scenes: list[tuple[list[str], list[int], int]],
) -> None:
    taxonomies = [taxonomy_of(dict(zip(ids, names, strict=False)), (void,)) for names, ids, void in scenes]
    if not any(taxonomy.num_classes for taxonomy in taxonomies):
        return
    common = common_taxonomy(taxonomies)
    assert set(common.names) == {name for names, _, _ in scenes for name in names}
    for taxonomy in taxonomies:
        ids = np.array([*taxonomy.source_ids, taxonomy.void_source_id])
        labels = common.encode(map_to(taxonomy, common).apply(ids), "a test")
        assert [common.names[label] for label in labels[:-1]] == list(taxonomy.names)
        assert labels[-1] == -1
