"""ScanNet's label table, `scannetv2-labels.combined.tsv`: the raw ids in label images, and NYU40 for each.

The table belongs to ScanNet (Dai et al. 2017) and is not part of this package. Its columns are read by name, as their
order differs between versions. Three raw ids of version 2 stand for two names with different NYU40 classes (107, 188,
385); the name that occurs more often (column `count`), or the first of equals, decides.
"""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from semantic_ns.dataparsers.scene import find_upwards
from semantic_ns.errors import SceneError
from semantic_ns.io.text import read_text
from semantic_ns.labels.class_table import MAX_ID, ClassEntry, ClassTable, voc_color
from semantic_ns.labels.label_map import LabelMap, void_id_of
from semantic_ns.labels.label_spaces import NATIVE, map_to_space

TABLE_NAME = "scannetv2-labels.combined.tsv"
NYU40 = "nyu40"
UNLABELLED = 0
"""The raw id of pixels without annotation; the table has no row for it."""


@dataclass(frozen=True)
class RawClass:
    """A raw id, its name, its NYU40 class (0 is none) and how often it occurs in ScanNet."""

    id: int
    name: str
    nyu40_id: int
    count: int


def find_label_table(folder: Path) -> Path:
    """The label table in a scene folder or the nearest of its parents that has one.

    Raises:
        SceneError: if there is none.
    """
    path = find_upwards(folder, TABLE_NAME)
    if path is None:
        raise SceneError(
            f"Expected ScanNet's label table {TABLE_NAME} in {folder} or a folder above it, found none; put it there "
            "or pass it by --label-table, an option of scannet-semantic-data (it comes with ScanNet, whose terms of "
            "use keep it out of this package), or pass the table of your own ids by --classes."
        )
    return path


def classes_in_space(path: Path, label_space: str) -> tuple[ClassTable, LabelMap | None]:
    """The classes of ScanNet's label images in a label space, and the map from raw ids to it.

    Args:
        path: ScanNet's label table.
        label_space: `native` for the raw ids (no map), else as in `label_spaces.table_of`; others than `nyu40` are
            reached from NYU40. (The table's own column for NYU13 says the same but for raw id 1351, `display`, where it
            contradicts the name beside it.)

    Raises:
        SceneError: if the table cannot be understood, or the label space is not known.
    """
    classes = read_raw_classes(path)
    if label_space == NATIVE:
        return _raw_table(classes, path), None
    nyu40 = ClassTable.load(NYU40)
    ids = {UNLABELLED: void_id_of(nyu40), **{raw.id: raw.nyu40_id or void_id_of(nyu40) for raw in classes}}
    raw_to_nyu40 = LabelMap(f"ScanNet's ids to {NYU40} by {path.name}", nyu40, ids)
    label_map = raw_to_nyu40 if label_space == NYU40 else raw_to_nyu40.then(map_to_space(label_space, nyu40))
    return label_map.table, label_map


def read_raw_classes(path: Path) -> tuple[RawClass, ...]:
    """The rows of a label table, one per raw id: columns id, nyu40id, count, and raw_category or category.

    Raises:
        SceneError: if the file or a column is missing, or a row cannot be understood (names the line).
    """
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""), delimiter="\t", quoting=csv.QUOTE_NONE)
    columns = reader.fieldnames or ()
    name_column = "raw_category" if "raw_category" in columns else "category"
    missing = {"id", "nyu40id", "count", name_column} - set(columns)
    if missing:
        raise SceneError(
            f"Expected the columns id, nyu40id, count and category parted by tabs at line 1 of {path}, found none "
            f"named {', '.join(sorted(missing))}; pass ScanNet's label table as it was published."
        )
    best: dict[int, RawClass] = {}
    for row in reader:
        where = f"line {reader.line_num} of {path}"
        raw = RawClass(
            id=_number(row["id"], 1, MAX_ID, f"raw id at {where}"),
            name=(row[name_column] or "").strip(),
            nyu40_id=_number(row["nyu40id"] or "0", 0, 40, f"NYU40 id at {where}"),
            count=_number(row["count"] or "0", 0, None, f"count at {where}"),
        )
        if raw.id not in best or raw.count > best[raw.id].count:
            best[raw.id] = raw
    return tuple(best[number] for number in sorted(best))


def _raw_table(classes: tuple[RawClass, ...], path: Path) -> ClassTable:
    is_thing = {entry.id: entry.is_thing for entry in ClassTable.load(NYU40).entries}
    entries = tuple(
        ClassEntry(raw.id, raw.name, voc_color(position % 255 + 1), is_thing.get(raw.nyu40_id, True))
        for position, raw in enumerate(classes)
    )
    return ClassTable(str(path), entries, frozenset({UNLABELLED}))


def _number(text: str | None, low: int, high: int | None, what: str) -> int:
    try:
        number = int(text or "")
    except ValueError:
        number = low - 1
    if number < low or (high is not None and number > high):
        allowed = f"of {low} or more" if high is None else f"{low}..{high}"
        raise SceneError(f"Expected a whole number {allowed} as {what}, found {text!r}; restore the published table.")
    return number
