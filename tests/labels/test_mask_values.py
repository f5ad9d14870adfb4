"""What 255 means follows from the class table and from all values of a scene, and so does whether ids start at 1."""

import pytest

from semantic_ns.errors import SceneError
from semantic_ns.labels.class_table import ClassTable
from semantic_ns.labels.mask_values import (
    doubt_about_first_id,
    may_start_at_one,
    reason_for_unknown,
    rule_of_masks,
)


def table(classes, void_id=None):
    return ClassTable.from_list(classes, void_id, "own.json")


ROOM = ["wall", "floor", "ceiling"]
RULES = {
    "two classes": (table(["background", "fruit"]), {0, 255}, {0: 0, 255: 1}),
    "two classes with ids 1 and 2": (
        table([{"id": 1, "name": "no"}, {"id": 2, "name": "yes"}]),
        {0, 255},
        {0: 1, 255: 2},
    ),
    "two classes and a void id elsewhere": (table(["background", "fruit"], 7), {0, 255}, {0: 0, 255: 1}),
    "one class beside a void one": (table(["unlabeled", "fruit"]), {0, 255}, {0: 0, 255: 1}),
    "one class with the id 1": (table([{"id": 1, "name": "fruit"}]), {0, 255}, {0: 0, 255: 1}),
    "all classes occur beside 255, and 0 is void": (
        table(["void", "wall", "floor"]),
        {0, 1, 2, 255},
        {255: 0, 1: 1, 2: 2},
    ),
    "void by custom, as all ids are explained": (table(ROOM), {0, 1, 2, 255}, None),
    "void by custom, though a class is absent": (table(ROOM), {0, 2, 255}, None),
    "two classes that both occur": (table(["background", "fruit"]), {0, 1, 255}, None),
    "declared void": (table(["background", "fruit"], 255), {0, 255}, None),
    "a class named void": (table([{"id": 255, "name": "void"}, "fruit"]), {0, 255}, None),
    "a class of the table": (table([{"id": 255, "name": "sky"}, {"id": 0, "name": "land"}]), {0, 255}, None),
    "ids 1..C for names without ids": (table(ROOM), {1, 2, 3}, {1: 0, 2: 1, 3: 2}),
    "ids 1..C with gaps, and 255": (table(ROOM), {3, 255}, {1: 0, 3: 2, 255: 255}),
    "ids 1..C, and 255 declared void": (table(ROOM, 255), {1, 3, 255}, {1: 0, 3: 2, 255: 255}),
    "ids from 1 without C, which may be right": (table(ROOM), {1, 2}, None),
    "ids 0..C, of which 0 may be void": (table(ROOM), {0, 1, 2, 3}, None),
    "ids above C": (table(ROOM), {1, 3, 4}, None),
    "ids 1..C for classes with ids": (table([{"id": i, "name": name} for i, name in enumerate(ROOM)]), {1, 3}, None),
    "an id that is declared void": (table([*ROOM, "void"]), {1, 2, 3}, None),
    "no 255": (table(["background", "fruit"]), {0, 1}, None),
    "255 alone": (table(["background", "fruit"]), {255}, None),
    "no image": (table(["background", "fruit"]), set(), None),
}


@pytest.mark.parametrize("name", RULES)
def test_255_is_read_by_the_rule(name):
    classes, present, expected = RULES[name]
    rule = rule_of_masks(classes, present)
    if expected is None:
        assert rule.label_map is None
    else:
        assert rule.label_map is not None
        assert expected.items() <= rule.label_map.ids.items()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("two classes", "masks of 0 and 255 are read as background and fruit"),
        ("one class beside a void one", "masks of 0 and 255 are read as void and fruit"),
        ("void by custom, though a class is absent", "255 is read as void, since own.json gives it no class"),
        (
            "ids 1..C for names without ids",
            "ids 1..3 are read as the 3 names of own.json in order, since 0 never occurs",
        ),
        ("declared void", None),
        ("no 255", None),
    ],
)
def test_the_rule_is_said_where_the_table_does_not_say_it_itself(name, says):
    classes, present, _ = RULES[name]
    assert rule_of_masks(classes, present).sentence == says


@pytest.mark.parametrize("classes", [["fruit"], ROOM])
def test_binary_masks_for_another_number_of_classes_are_left_to_a_person(classes):
    with pytest.raises(SceneError, match=r"two classes in own\.json .* semantic_void_id of 255"):
        rule_of_masks(table(classes), {0, 255})


def test_ids_of_a_scene_still_to_be_labelled_are_as_they_are():
    assert rule_of_masks(table(ROOM), {1, 2, 3}, is_partial=True).label_map is None


def test_a_scene_still_to_be_labelled_may_hold_one_class_and_255():
    assert rule_of_masks(table(ROOM), {0, 255}, is_partial=True).label_map is None


@pytest.mark.parametrize(
    ("present", "expected"),
    [
        ({1, 2}, True),
        ({1, 2, 255}, True),
        ({1, 2, 3}, True),
        ({0, 1, 2}, False),
        ({2}, False),
        ({1, 4}, False),
        (set(), False),
    ],
)
def test_ids_may_start_at_1_where_0_never_occurs_and_all_fit_one_lower(present, expected):
    assert may_start_at_one({0, 1, 2}, present) == expected
    assert (doubt_about_first_id(table(ROOM), present) is not None) == expected


@pytest.mark.parametrize(
    ("present", "says"),
    [({1, 2, 3}, "start at 1"), (set(range(0, 256, 17)), "smoothing, JPEG or resizing"), ({0, 1, 2, 3}, "")],
)
def test_a_reason_for_unknown_ids_is_given_where_one_is_likely(present, says):
    reason = reason_for_unknown({0, 1, 2}, present)
    assert says in reason
    assert bool(says) == bool(reason)


@pytest.mark.parametrize("name", ["void", "Unlabeled", "unlabelled", "ignore", "ignored", " UNKNOWN "])
def test_a_class_by_the_name_of_no_class_is_void(name):
    classes = table(["chair", name, "table"])
    assert [(entry.id, entry.name) for entry in classes.entries] == [(0, "chair"), (2, "table")]
    assert classes.void_ids == {1}
    assert classes.has_declared_void
    assert classes.void_names == (() if name == "void" else (name.strip(),))


@pytest.mark.parametrize(
    "classes",
    [
        {"3": "chair", "7": "table"},
        {3: "chair", 7: "table"},
        {"chair": 3, "table": "7"},
        {"chair": {"id": 3}, "table": {"id": 7.0}},
        {"3": {"name": "chair"}, "7": {"name": "table"}},
        [{"id": "3", "name": "chair"}, {"id": 7.0, "name": "table"}],
    ],
)
def test_a_table_may_be_a_dictionary_and_its_ids_text(classes):
    assert [(entry.id, entry.name) for entry in table(classes).entries] == [(3, "chair"), (7, "table")]


def test_a_text_file_holds_one_name_per_line_or_comma_separated_values(tmp_path):
    (tmp_path / "names.txt").write_text("chair\n\ntable\n")
    (tmp_path / "values.txt").write_text("id,name\n3,chair\n7,table\n")
    assert [entry.id for entry in ClassTable.load(tmp_path / "names.txt").entries] == [0, 1]
    assert [entry.id for entry in ClassTable.load(tmp_path / "values.txt").entries] == [3, 7]
