import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from semantic_ns.errors import SceneError
from semantic_ns.labels.class_table import BUILT_IN_TABLES, voc_color
from semantic_ns.labels.taxonomy import VOID, ClassEntry, ClassTable, Taxonomy

REPLICA = ClassTable.load("replica")
SCENE = Taxonomy.from_table(REPLICA, {0, 20, 40, 93})


def encode_by_loop(taxonomy: Taxonomy, raw: np.ndarray) -> np.ndarray:
    labels = np.empty(raw.shape, np.int16)
    for index, number in np.ndenumerate(raw):
        labels[index] = VOID if number in taxonomy.void_source_ids else taxonomy.source_ids.index(number)
    return labels


@pytest.mark.parametrize(("name", "num_classes"), [("replica", 101), ("nyu40", 40), ("nyu13", 13), ("scannet20", 20)])
def test_shipped_tables_have_their_number_of_classes_and_void_zero(name, num_classes):
    table = ClassTable.load(name)
    assert len(table.entries) == num_classes
    assert table.void_ids == {0}


@pytest.mark.parametrize("name", BUILT_IN_TABLES)
def test_stuff_is_wall_floor_ceiling_in_every_shipped_table(name):
    stuff = {entry.name for entry in ClassTable.load(name).entries if not entry.is_thing}
    assert stuff == {"wall", "floor", "ceiling"} - ({"ceiling"} if name == "scannet20" else set())


def test_scannet20_is_a_subset_of_nyu40_with_equal_colours():
    color_of_id = {entry.id: entry.color for entry in ClassTable.load("nyu40").entries}
    assert all(color_of_id[entry.id] == entry.color for entry in ClassTable.load("scannet20").entries)


def test_replica_colours_are_the_voc_map_of_the_id():
    assert all(entry.color == voc_color(entry.id) for entry in REPLICA.entries)


def test_voc_map_has_256_colours_and_its_known_beginning():
    assert len({voc_color(index) for index in range(256)}) == 256
    assert [voc_color(index) for index in range(4)] == [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0)]


def test_classes_ascend_by_source_id_and_leave_out_absent_ones():
    assert SCENE.source_ids == (20, 40, 93)
    assert SCENE.names == ("chair", "floor", "wall")
    assert SCENE.is_thing == (True, False, False)
    assert SCENE.num_classes == 3
    assert SCENE.void_source_id == 0


def test_class_set_does_not_depend_on_the_order_of_ids():
    assert Taxonomy.from_table(REPLICA, [93, 40, 0, 20, 20]) == SCENE


def test_present_id_outside_the_table_is_refused():
    with pytest.raises(SceneError, match="found 102, 200"):
        Taxonomy.from_table(REPLICA, {40, 200, 102})


@given(st.lists(st.sampled_from([0, 20, 40, 93]), min_size=1, max_size=30))
def test_encode_equals_the_loop(ids):
    raw = np.array(ids)
    np.testing.assert_array_equal(SCENE.encode(raw, "somewhere"), encode_by_loop(SCENE, raw))


@given(st.lists(st.integers(VOID, 2), min_size=1, max_size=30))
def test_decode_inverts_encode(labels):
    array = np.array(labels, np.int16)
    np.testing.assert_array_equal(SCENE.encode(SCENE.decode(array), "somewhere"), array)


@pytest.mark.parametrize("raw_id", [1, 94, 70000, -1])
def test_encode_refuses_ids_of_no_class_and_says_where(raw_id):
    with pytest.raises(SceneError, match=rf"label_7\.png.*found {raw_id};"):
        SCENE.encode(np.array([[20, raw_id]]), "label_7.png")


def test_decode_refuses_numbers_that_are_no_class():
    with pytest.raises(ValueError, match=r"-1\.\.2"):
        SCENE.decode(np.array([3]))


def test_every_void_id_is_read_and_one_is_written():
    table = ClassTable("own", (ClassEntry(1, "chair", (1, 2, 3), True),), frozenset({0, 255}))
    taxonomy = Taxonomy.from_table(table, {0, 1, 255})
    np.testing.assert_array_equal(taxonomy.encode(np.array([0, 1, 255]), ""), [VOID, 0, VOID])
    np.testing.assert_array_equal(taxonomy.decode(np.array([VOID, 0])), [0, 1])


def test_a_table_without_void_writes_void_as_an_id_of_no_class():
    table = ClassTable("own", (ClassEntry(0, "chair", (1, 2, 3), True),), frozenset())
    assert Taxonomy.from_table(table, {0}).void_source_id == 255


def test_colorize_paints_classes_in_their_colour_and_everything_else_black():
    colors = SCENE.colorize(torch.tensor([[0, 1], [VOID, 99]]))
    assert colors.shape == (2, 2, 3)
    torch.testing.assert_close(colors[0], torch.tensor([voc_color(20), voc_color(40)]) / 255)
    assert not colors[1].any()
    torch.testing.assert_close(SCENE.color_table()[2], torch.tensor(voc_color(93)) / 255)


def test_json_round_trip_is_the_identity():
    assert Taxonomy.from_json(SCENE.to_json()) == SCENE


def test_inconsistent_taxonomies_are_refused():
    with pytest.raises(ValueError, match="equal lengths"):
        Taxonomy((1, 2), ("a",), ((0, 0, 0),), (True,), 0)
    with pytest.raises(ValueError, match="ascend"):
        Taxonomy((2, 1), ("a", "b"), ((0, 0, 0),) * 2, (True,) * 2, 0)
    with pytest.raises(ValueError, match="must not be class"):
        Taxonomy((1,), ("a",), ((0, 0, 0),), (True,), 1)


def write(path: Path, text: str) -> Path:
    path.write_text(text, "utf8")
    return path


def test_own_csv_needs_id_and_name_only(tmp_path):
    table = ClassTable.load(write(tmp_path / "own.csv", "id,name\n1,chair\n7,floor\n"))
    assert [(entry.id, entry.name, entry.is_thing) for entry in table.entries] == [
        (1, "chair", True),
        (7, "floor", False),
    ]
    assert table.void_ids == {0, 255}
    assert len({entry.color for entry in table.entries} | {(0, 0, 0)}) == 3


def test_own_csv_may_give_everything_and_hold_quotes_and_a_byte_order_mark(tmp_path):
    text = '\ufeffname,id,is_thing,r,g,b\n"chair, red",3,no,1,2,3\nvoid,9,0,0,0,0\n'
    table = ClassTable.load(write(tmp_path / "own.csv", text))
    assert table.entries == (ClassEntry(3, "chair, red", (1, 2, 3), False),)
    assert table.void_ids == {9}


@pytest.mark.parametrize("separator", [";", "\t"])
def test_a_spreadsheet_may_separate_values_by_another_sign(separator, tmp_path):
    rows = [["id", "name", "is_thing"], ["3", "chair, wooden", "1"], ["7", "wall", "0"]]
    (tmp_path / "t.csv").write_text("\n".join(separator.join(row) for row in rows))
    entries = ClassTable.load(tmp_path / "t.csv").entries
    assert [(entry.id, entry.name, entry.is_thing) for entry in entries] == [
        (3, "chair, wooden", True),
        (7, "wall", False),
    ]


def test_csv_and_json_of_the_same_classes_are_equal(tmp_path):
    from_csv = ClassTable.load(write(tmp_path / "own.csv", "id,name\n0,chair\n1,table\n2,wall\n"))
    from_json = ClassTable.load(write(tmp_path / "own.json", '["chair", "table", "wall"]'))
    assert (from_csv.entries, from_csv.void_ids) == (from_json.entries, from_json.void_ids)
    assert from_json.void_ids == {255}


def test_json_object_says_its_void_id(tmp_path):
    content = {"void_id": 4, "classes": [{"id": 3, "name": "chair", "color": [1, 2, 3], "is_thing": False}]}
    table = ClassTable.load(write(tmp_path / "own.json", json.dumps(content)))
    assert table.void_ids == {4}
    assert table.entries == (ClassEntry(3, "chair", (1, 2, 3), False),)


def test_replica_info_names_classes_by_id_in_the_colours_of_the_shipped_table(tmp_path):
    content = {"classes": [{"id": 93, "name": "wall"}, {"id": 20, "name": "armchair"}]}
    table = ClassTable.from_replica_info(write(tmp_path / "info_semantic.json", json.dumps(content)))
    assert table.entries[0] == next(entry for entry in REPLICA.entries if entry.id == 93)
    assert (table.entries[1].name, table.entries[1].color) == ("armchair", voc_color(20))
    assert table.void_ids == {0}


BAD_TABLES = {
    "no_header.csv": ("1,chair\n", "line 1 of"),
    "empty.csv": ("", "line 1 of"),
    "text_id.csv": ("id,name\n1,chair\nx,table\n", "line 3 of"),
    "large_id.csv": ("id,name\n70000,chair\n", "line 2 of"),
    "short_row.csv": ("id,name,is_thing\n1,chair\n", "line 2 of"),
    "long_row.csv": ("id,name\n1,chair,3\n", "line 2 of"),
    "open_quote.csv": ('id,name\n1,chair\n2,"table\n', "line 3"),
    "bad_color.csv": ("id,name,r,g,b\n1,chair,0,0,256\n", "line 2 of"),
    "bad_flag.csv": ("id,name,is_thing\n1,chair,maybe\n", "line 2 of"),
    "no_name.csv": ("id,name\n1,\n", "class 1"),
    "two_names.csv": ("id,name\n1,chair\n2,Chair\n", "'chair' for id 1 and 'Chair' for id 2, which differ in case"),
    "two_ids.csv": ("id,name\n1,chair\n1,table\n", "id 1 twice"),
    "syntax.json": ('["chair",\n "table",,]', "line 2, column"),
    "number.json": ("3", "found int"),
    "empty.json": ("[]", "an empty list"),
    "entry.json": ('["chair", 3]', "class number 1"),
    "color.json": ('[{"id": 1, "name": "chair", "color": [1, 2]}]', "colour of three numbers"),
    "void.json": ('{"classes": ["chair"], "void_id": "none"}', "void id"),
    "void_is_class.json": ('{"classes": ["chair"], "void_id": 0}', "id 0 twice"),
    "two_names.json": ('["chair", "table", "chair"]', "'chair' for ids 0 and 2"),
    "table.xml": ("id,name", "replica, nyu40, nyu13, scannet20"),
}


@pytest.mark.parametrize("name", BAD_TABLES)
def test_a_bad_table_is_told_in_one_sentence_with_file_and_place(tmp_path, name):
    text, place = BAD_TABLES[name]
    with pytest.raises(SceneError) as raised:
        ClassTable.load(write(tmp_path / name, text))
    message = str(raised.value)
    assert name in message
    assert place in message
    assert message.endswith(".")
    assert "\n" not in message


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16-le", "utf-16-be", "utf-16", "utf-8", "utf-8-sig"])
@pytest.mark.parametrize(("file", "text"), [("own.csv", "id,name\n0,chair\n1,café\n"), ("own.txt", "chair\ncafé\n")])
def test_names_are_read_in_the_encodings_of_windows_and_a_guess_is_told(tmp_path, file, text, encoding):
    (tmp_path / file).write_bytes(text.encode(encoding))
    table = ClassTable.load(tmp_path / file)
    assert [(entry.id, entry.name) for entry in table.entries] == [(0, "chair"), (1, "café")]
    is_guess = encoding in {"cp1252", "utf-16-le", "utf-16-be"}
    assert ("not UTF-8" in (table.encoding_note or "")) == is_guess


@pytest.mark.parametrize(("file", "content"), [
    ("own.csv", b"id,name\n1,chair\n2,caf\x81\n"),
    ("own.csv", b"id,name\n1,chair\n2,caf\xe9\x07\n"),
    ("own.json", b'[\n"chair",\n"caf\xe9"]'),
])  # fmt: skip
def test_a_table_of_no_known_encoding_is_told_with_its_line(tmp_path, file, content):
    (tmp_path / file).write_bytes(content)
    with pytest.raises(SceneError, match=rf"{file}.*line 3"):
        ClassTable.load(tmp_path / file)


def test_a_missing_table_is_told(tmp_path):
    with pytest.raises(SceneError, match=r"absent\.csv"):
        ClassTable.load(tmp_path / "absent.csv")
