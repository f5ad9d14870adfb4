"""Label spaces: the same scene in the classes of NYU40, NYU13, the ScanNet benchmark, ViewSeg or the user.

Classes meet by name (case, blanks, `-` and `_` do not count), so a scene needs no ids of any data set. A class that is
not in the space itself goes there by way of NYU40: its own name in NYU40 or, for Replica's classes, the name in
`tables/replica_to_nyu40.csv`, which is this project's proposal, as no official table is public; then
`tables/nyu40_to_nyu13.csv` where the space is NYU13. A class without a counterpart becomes void.
"""

import csv
import io
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from semantic_ns.errors import SceneError
from semantic_ns.io.text import read_text
from semantic_ns.labels.class_table import TABLES_FOLDER, ClassTable
from semantic_ns.labels.label_map import LabelMap, void_id_of

NATIVE = "native"
SPACES = ("nyu40", "nyu13", "scannet20", "viewseg37")
_NAMES_COLUMN = "from"
_PROPOSAL = "replica_to_nyu40.csv"


def table_of(space: str) -> ClassTable:
    """The classes of a label space: `nyu40`, `nyu13`, `scannet20` or `viewseg37`, or of the user's CSV or JSON file.

    The ids of `scannet20` and `viewseg37` are those of NYU40, 0 is void.

    Raises:
        SceneError: if there is no such space or file, or the file cannot be understood.
    """
    if space not in SPACES and Path(space).suffix.lower() not in (".csv", ".json"):
        raise SceneError(
            f"Expected --label-space to be {NATIVE}, {', '.join(SPACES)} or a class table (.csv or .json), found "
            f"'{space}'; choose one of these."
        )
    return ClassTable.load(space)


def map_to_space(space: str, source: ClassTable) -> LabelMap | None:
    """How the classes of a scene become those of a label space, None for `native`, which keeps them.

    A file is a class table; classes that it names are taken over. In a CSV file the column `from` says which other
    classes of the scene become one of it, their names parted by `|` (`1,seat,chair|sofa|bench`), and nothing goes by
    way of NYU40.

    Args:
        space: `native`, a name of `table_of`, or a path.
        source: the classes of the scene.

    Raises:
        SceneError: if the space is not known, its file cannot be understood, or no class has a counterpart in it.
    """
    if space == NATIVE:
        return None
    target = table_of(space)
    id_of_name = ids_of_names(space, target)
    void = void_id_of(target)
    ids = dict.fromkeys(source.void_ids, void)
    num_proposed = num_lost = 0
    for entry in source.entries:
        name = name_key(entry.name)
        ids[entry.id] = id_of_name.get(name, void)
        num_lost += ids[entry.id] == void
        num_proposed += space in SPACES and name in _proposed() and _proposed()[name] != name
    if num_lost == len(source.entries):
        raise SceneError(
            f"Expected classes of {source.name} in the label space {space}, found no name that is in both; give a "
            f"table of your own by --label-space, or keep the classes by --label-space {NATIVE}."
        )
    sentence = f"classes of {source.name} to {space} by name"
    if num_proposed:
        sentence += f" and {_PROPOSAL} (this project's proposal, as no official table from Replica is public)"
    if num_lost:
        sentence += f", {num_lost} of {len(source.entries)} classes without a counterpart are void"
    return LabelMap(sentence, target, ids)


def ids_of_names(space: str, target: ClassTable) -> dict[str, int]:
    """Id of the class of a label space that each known name leads to; names are those of `name_key`.

    Args:
        space: a name of `table_of`, or a path.
        target: its classes.

    Raises:
        SceneError: if the column `from` of a file gives one name to two classes.
    """
    own = {name_key(entry.name): entry.id for entry in target.entries}
    others = _names_via_nyu40(space) if space in SPACES else _names_from_file(Path(space), target)
    return {name: own[leads_to] for name, leads_to in others.items() if leads_to in own} | own


def name_key(name: str) -> str:
    """A name as names are compared: case, blanks, `-` and `_` do not count."""
    return re.sub(r"[\s_-]+", " ", name.strip().casefold())


def _names_via_nyu40(space: str) -> Mapping[str, str]:
    """Name in the space of every class of Replica and NYU40."""
    nyu40 = {name_key(entry.name): name_key(entry.name) for entry in ClassTable.load("nyu40").entries}
    names = _proposed() | nyu40
    if space == "nyu13":
        nyu13 = _read_names(TABLES_FOLDER / "nyu40_to_nyu13.csv")
        return {name: nyu13[target] for name, target in names.items()}
    return names


@cache
def _proposed() -> dict[str, str]:
    return _read_names(TABLES_FOLDER / _PROPOSAL)


def _read_names(path: Path) -> dict[str, str]:
    rows = csv.reader(io.StringIO(read_text(path)))
    return {name_key(name): name_key(target) for name, target in list(rows)[1:]}


def _names_from_file(path: Path, target: ClassTable) -> Mapping[str, str]:
    """Names in the column `from` of a class table that `ClassTable` could read, each with the class of its row."""
    if path.suffix.lower() != ".csv":
        return {}
    own = {name_key(entry.name) for entry in target.entries}
    names: dict[str, str] = {}
    for row in csv.DictReader(io.StringIO(read_text(path), newline=""), skipinitialspace=True):
        values = {(key or "").strip(): value or "" for key, value in row.items()}
        for name in filter(None, map(name_key, values.get(_NAMES_COLUMN, "").split("|"))):
            row_name = name_key(values["name"])
            if names.setdefault(name, row_name) != row_name or name in own - {row_name}:
                raise SceneError(
                    f"Expected each class once in {path}, found '{name}' for two classes; remove one of them from "
                    f"the column {_NAMES_COLUMN}."
                )
    return names
