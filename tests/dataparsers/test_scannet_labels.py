import csv

import numpy as np
import pytest

from semantic_ns.dataparsers.scannet_labels import classes_in_space, find_label_table, read_raw_classes
from semantic_ns.errors import SceneError
from semantic_ns.labels.class_table import ClassTable
from support.scannet_scene import RAW_OFFSET, TABLE, write_label_table

ROWS = [
    # Two names of one id that differ in NYU40: the one that occurs more often decides, the first of equals.
    "107\tpipe\tpipe\t25\t40\t7",
    "107\tpipes\tpipe\t8\t38\t7",
    "188\tshower doors\tshower door\t3\t38\t7",
    "188\tshower door\tshower door\t19\t8\t12",
    "385\tcabinet door\tcabinet door\t3\t8\t12",
    "385\tcabinet doors\tcabinet door\t3\t3\t6",
    "1\twall\twall\t8277\t1\t12",
    "2\tchair\tchair\t4646\t5\t4",
    "1357\tsign\tsign\t1\t\t7",
]
HEADER = "id\traw_category\tcategory\tcount\tnyu40id\teigen13id"


@pytest.fixture
def table(tmp_path):
    (tmp_path / TABLE).write_text("\n".join([HEADER, *ROWS]) + "\n")
    return tmp_path / TABLE


def label_map(path, space):
    result = classes_in_space(path, space)[1]
    assert result is not None
    return result


def test_columns_are_found_by_name_whatever_their_order_and_line_ends(tmp_path, table):
    order = [5, 3, 0, 4, 2, 1]
    shuffled = ["\t".join(row.split("\t")[i] for i in order) for row in [HEADER, *ROWS]]
    (tmp_path / "other.tsv").write_bytes("\r\n".join(shuffled).encode())
    assert read_raw_classes(tmp_path / "other.tsv") == read_raw_classes(table)


def test_version_1_of_the_table_has_no_raw_names(tmp_path):
    (tmp_path / "v1.tsv").write_text("id\tcategory\tcount\tnyuId\tnyu40id\teigen13id\n5\tdesk\t9\t36\t14\t10\n")
    (raw,) = read_raw_classes(tmp_path / "v1.tsv")
    assert (raw.id, raw.name, raw.nyu40_id) == (5, "desk", 14)


def test_an_id_with_two_meanings_has_the_commoner_one(table):
    names = {raw.id: (raw.name, raw.nyu40_id) for raw in read_raw_classes(table)}
    assert names[107] == ("pipe", 40)
    assert names[188] == ("shower door", 8)
    assert names[385] == ("cabinet door", 8)


def test_ids_are_looked_up_and_never_replaced_twice(table):
    """2 becomes 5 and 1 stays 1; replaced one after the other in place, some would be mapped again."""
    raw = np.array([[0, 1, 2], [107, 188, 1357]])
    expected = [[0, 1, 5], [40, 8, 0]]
    np.testing.assert_array_equal(label_map(table, "nyu40").apply(raw), expected)


@pytest.mark.parametrize(
    ("space", "expected"),
    [("nyu13", [[0, 12, 4], [7, 12, 0]]), ("scannet20", [[0, 1, 5], [0, 8, 0]]), ("viewseg37", [[0, 1, 5], [0, 8, 0]])],
)
def test_other_spaces_are_reached_from_nyu40(table, space, expected):
    mapped = label_map(table, space)
    np.testing.assert_array_equal(mapped.apply(np.array([[0, 1, 2], [107, 188, 1357]])), expected)
    assert mapped.table == ClassTable.load(space)
    assert table.name in mapped.name


def test_a_table_of_the_user_is_a_space(table, tmp_path):
    (tmp_path / "own.csv").write_text("id,name,from\n0,void,\n1,seat,chair|sofa\n2,wall,\n")
    raw = np.array([[0, 1, 2], [107, 188, 1357]])
    np.testing.assert_array_equal(label_map(table, str(tmp_path / "own.csv")).apply(raw), [[0, 2, 1], [0, 0, 0]])


def test_native_keeps_the_raw_ids_and_their_names(table):
    classes, no_map = classes_in_space(table, "native")
    assert no_map is None
    assert {entry.id: entry.name for entry in classes.entries}[188] == "shower door"
    assert [entry.id for entry in classes.entries if not entry.is_thing] == [1]
    assert classes.void_ids == {0}


def test_an_id_that_the_table_does_not_know_is_told(table):
    with pytest.raises(SceneError, match=r"ScanNet's ids to nyu40.* in 7\.png, found 999"):
        label_map(table, "nyu40").apply(np.array([[0, 999]]), "7.png")


def test_the_table_is_looked_for_in_the_scene_and_the_folders_above(tmp_path, table):
    scene = tmp_path / "scans" / "scene0000_00"
    scene.mkdir(parents=True)
    assert find_label_table(scene) == table.resolve()
    write_label_table(scene / TABLE)
    assert find_label_table(scene) == (scene / TABLE).resolve()


def test_a_missing_table_is_told_with_what_to_do(tmp_path):
    with pytest.raises(SceneError, match=rf"{TABLE} in .*, found none; .*--label-table.*--classes"):
        find_label_table(tmp_path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("id\tname\n1\twall\n", "line 1 of .*own.tsv, found none named category, count, nyu40id"),
        (f"{HEADER}\nx\twall\twall\t1\t1\t12\n", "raw id at line 2 of .*own.tsv, found 'x'"),
        (f"{HEADER}\n1\twall\twall\t1\t41\t12\n", "0..40 as NYU40 id at line 2 of .*own.tsv, found '41'"),
        (f"{HEADER}\n1\twall\twall\t-1\t1\t12\n", "count at line 2 of .*own.tsv, found '-1'"),
        (f"{HEADER}\n1\twall\n70000\n", "raw id at line 3 of .*own.tsv, found '70000'"),
    ],
)
def test_a_bad_table_is_told_with_its_line(tmp_path, text, says):
    (tmp_path / "own.tsv").write_text(text)
    with pytest.raises(SceneError, match=says):
        read_raw_classes(tmp_path / "own.tsv")


def test_the_published_table_agrees_with_its_own_nyu13_but_for_one_known_error(data_root):
    path = data_root / "scannet" / TABLE
    if not path.is_file():
        pytest.skip(f"no {path}")
    classes = read_raw_classes(path)
    assert len(classes) == 549
    assert {raw.id: raw.nyu40_id for raw in classes if raw.id in (107, 188, 385)} == {107: 40, 188: 8, 385: 8}
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    nyu40_id, mapped = {raw.id: raw.nyu40_id for raw in classes}, label_map(path, "nyu13").ids
    # Rows of the rarer meaning of an id are not looked at.
    differing = {
        int(row["id"])
        for row in rows
        if int(row["nyu40id"]) == nyu40_id[int(row["id"])] and mapped[int(row["id"])] != int(row["eigen13id"])
    }
    assert differing == {1351}


def test_the_synthetic_table_covers_the_room(tmp_path):
    write_label_table(tmp_path / TABLE)
    assert label_map(tmp_path / TABLE, "nyu40").ids[93 + RAW_OFFSET] == 1
