"""Class tables: which id in a label image means which class, under which name and colour."""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from semantic_ns.errors import SceneError
from semantic_ns.io.text import read_json, read_text_of_any_encoding

TABLES_FOLDER = Path(__file__).parent / "tables"
BUILT_IN_TABLES = ("replica", "nyu40", "nyu13", "scannet20", "viewseg37")
VOID_NAME = "void"
VOID_NAMES = frozenset({VOID_NAME, "unlabeled", "unlabelled", "ignore", "ignored", "unknown"})
"""Names of what is no class, compared without case and outer blanks."""
STUFF_NAMES = frozenset({"wall", "floor", "ceiling"})
MAX_ID = 65535  # label images have 8 or 16 bits
_CUSTOMARY_VOID_IDS = frozenset({0, 255})
_WORDS_FOR_TRUTH = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


@dataclass(frozen=True)
class ClassEntry:
    """One class: id in the label image, name, display colour (r, g, b in 0..255), countable thing or stuff."""

    id: int
    name: str
    color: tuple[int, int, int]
    is_thing: bool


@dataclass(frozen=True)
class ClassTable:
    """All classes that a label image may hold, and the ids that mean void (neither trained nor scored).

    Attributes:
        name: name of the table, or the file that it comes from.
        entries: the classes, in the order of the table.
        void_ids: ids that mean void.
        has_declared_void: whether the table itself says what is void; otherwise `void_ids` are the customary ones.
        void_names: names in the table, other than `void`, that were taken for void.
        has_given_ids: whether the table says the id of each class; otherwise names alone are numbered from 0.
        encoding_note: sentence on the encoding of the file where it was guessed; None otherwise.

    Raises:
        SceneError: if two classes share an id or a name (compared without case and outer blanks), if an id is both
            class and void, or if an id does not fit 16 bits. The sentence names the table.
    """

    name: str
    entries: tuple[ClassEntry, ...]
    void_ids: frozenset[int]
    has_declared_void: bool = True
    void_names: tuple[str, ...] = ()
    has_given_ids: bool = True
    encoding_note: str | None = None

    def __post_init__(self) -> None:
        ids = [entry.id for entry in self.entries]
        for number, count in Counter(ids).items():
            if count > 1 or number in self.void_ids:
                raise SceneError(f"Expected each class id once in {self.name}, found id {number} twice; renumber one.")
        self._refuse_equal_names()
        for number in (*ids, *self.void_ids):
            if not 0 <= number <= MAX_ID:
                raise SceneError(f"Expected class ids 0..{MAX_ID} in {self.name}, found {number}; renumber the class.")

    def _refuse_equal_names(self) -> None:
        first_of_name: dict[str, ClassEntry] = {}
        for entry in self.entries:
            name = entry.name.strip().casefold()
            if not name:
                raise SceneError(f"Expected a name for class {entry.id} in {self.name}, found none; name the class.")
            first = first_of_name.setdefault(name, entry)
            if first is not entry:
                found = f"'{entry.name}' for ids {first.id} and {entry.id}"
                if first.name != entry.name:
                    found = f"'{first.name}' for id {first.id} and '{entry.name}' for id {entry.id}"
                    found += ", which differ in case"
                raise SceneError(f"Expected one name per class in {self.name}, found {found}; rename one of them.")

    @classmethod
    def load(cls, name_or_path: str | Path) -> "ClassTable":
        """A table of the package (one of `BUILT_IN_TABLES`) or the user's own CSV, JSON or text file.

        A text file holds one name per line, with the ids 0, 1, 2, ... in order, or the same as a CSV file.

        Raises:
            SceneError: if there is no such table or file, or if the file cannot be understood (names the line).
        """
        if str(name_or_path) in BUILT_IN_TABLES:
            return cls.from_csv(TABLES_FOLDER / f"{name_or_path}.csv", str(name_or_path))
        path = Path(name_or_path)
        if path.suffix.lower() == ".csv":
            return cls.from_csv(path)
        if path.suffix.lower() == ".json":
            return cls.from_json(path)
        if path.suffix.lower() == ".txt":
            text, note = read_text_of_any_encoding(path)
            lines = [line.strip() for line in text.splitlines() if line.strip()]
            has_header = bool(lines) and {"id", "name"} <= set(lines[0].replace(" ", "").split(","))
            if has_header:
                return cls.from_csv(path)
            return replace(cls.from_list(lines, None, str(path)), encoding_note=note)
        raise SceneError(
            f"Expected a class table that is one of {', '.join(BUILT_IN_TABLES)} or a .csv, .json or .txt file, found "
            f"'{name_or_path}'; choose one of these."
        )

    @classmethod
    def from_csv(cls, path: Path, name: str | None = None) -> "ClassTable":
        """Read a table with one header row: `id,name` and, if wanted, `r,g,b` (0..255) and `is_thing` (0 or 1).

        A row named `void`, `unlabeled`, `unlabelled`, `ignore`, `ignored` or `unknown` marks a void id; without one, 0
        and 255 are void where no class has them. Classes without a colour get the PASCAL VOC colour of their place in
        the table; wall, floor and ceiling are stuff by default. Values may also be separated by semicolons or tabs, as
        spreadsheets write them in some countries.

        Raises:
            SceneError: if the file cannot be read or understood (names the line), or two classes share id or name.
        """
        text, note = read_text_of_any_encoding(path)
        separator = _separator(text)
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True)
        name = name or str(path)
        entries: list[ClassEntry] = []
        try:
            columns = {(column or "").strip() for column in reader.fieldnames or ()}
            if not {"id", "name"} <= columns:
                raise SceneError(
                    f"Expected the columns id,name[,r,g,b][,is_thing] at line 1 of {path}, found "
                    f"'{','.join(sorted(columns))}'; add the header row."
                )
            for row in reader:
                where = f"line {reader.line_num} of {path}"
                values: dict[str, Any] = {
                    (key or "").strip(): value.strip() for key, value in row.items() if isinstance(value, str)
                }
                if None in row or len(values) < len(columns):
                    raise SceneError(f"Expected {len(columns)} values at {where}, found another number; correct it.")
                if all(channel in columns for channel in "rgb"):
                    values["color"] = [values[channel] for channel in "rgb"]
                entries.append(_parse_entry(values, len(entries), where))
        except csv.Error as error:
            raise SceneError(
                f"Expected comma separated values in {path}, found a mistake at line {reader.reader.line_num} ("
                f"{error}); correct the line."
            ) from error
        return replace(_split_off_void(name, entries), encoding_note=note)

    @classmethod
    def from_json(cls, path: Path) -> "ClassTable":
        """Read a table: a list of names or of `{id, name, color?, is_thing?}`, or `{"classes": list, "void_id"?: id}`.

        A dictionary of names by id, or of ids by name, serves as well as a list. Names alone get the ids 0, 1, 2, ...
        in order. Void, colours and stuff as in `from_csv`; `void_id` (a number or a list of numbers) says it outright.
        The `classes.json` of `sns-export-labels` is such a file.

        Raises:
            SceneError: if the file cannot be read or understood (names the line), or two classes share id or name.
        """
        content = read_json(path)
        void_id = None
        if isinstance(content, dict) and isinstance(content.get("classes"), list | dict):
            void_id, content = content.get("void_id"), content["classes"]
        return cls.from_list(content, void_id, str(path))

    @classmethod
    def from_list(cls, classes: Any, void_id: Any, where: str) -> "ClassTable":
        """A table from parsed JSON, see `from_json`; `where` names the source in errors and becomes the name.

        Raises:
            SceneError: if the list or one of its entries cannot be understood, or two classes share id or name.
        """
        if isinstance(classes, dict):
            classes = _list_of_dictionary(classes)
        if not isinstance(classes, list) or not classes:
            raise SceneError(
                f"Expected a list of classes, each a name or {{id, name, color, is_thing}}, in {where}, found "
                f"{'an empty list' if classes == [] else type(classes).__name__}; list the classes."
            )
        entries = [
            _parse_entry({"id": i, "name": item} if isinstance(item, str) else item, i, f"class number {i} of {where}")
            for i, item in enumerate(classes)
        ]
        has_given_ids = not all(isinstance(item, str) for item in classes)
        if void_id is None:
            return replace(_split_off_void(where, entries), has_given_ids=has_given_ids)
        given = void_id if isinstance(void_id, list) else [void_id]
        void_ids = {_parse_int(number, 0, MAX_ID, f"void id of {where}") for number in given}
        void_ids |= {entry.id for entry in entries if _is_void(entry)}
        classes = tuple(entry for entry in entries if not _is_void(entry))
        return cls(where, classes, frozenset(void_ids), void_names=_names_of_void(entries), has_given_ids=has_given_ids)

    @classmethod
    def of_numbers(cls, ids: Iterable[int], where: str) -> "ClassTable":
        """A table for label images without names of classes: each id but 255 is a class `class_<id>`.

        Args:
            ids: every id that occurs; 0 and 255 alone are two classes, see `mask_values`.
            where: the source, for errors, which becomes the name.
        """
        present = set(ids)
        numbers = {0, 1} if present == _CUSTOMARY_VOID_IDS else present - {255}
        return cls.from_list([{"id": number, "name": f"class_{number}"} for number in sorted(numbers)], None, where)

    @classmethod
    def from_replica_info(cls, path: Path) -> "ClassTable":
        """The class list of a Replica scene's `info_semantic.json`; id 0 is void, colours are those of `replica.csv`.

        Raises:
            SceneError: if the file cannot be read or has no list `classes` of {id, name}.
        """
        content = read_json(path)
        table = cls.from_list(content.get("classes") if isinstance(content, dict) else None, [0], str(path))
        entries = tuple(
            ClassEntry(entry.id, entry.name, voc_color(entry.id), entry.name not in STUFF_NAMES)
            for entry in table.entries
        )
        return cls(str(path), entries, table.void_ids)


def _separator(text: str) -> str:
    """What separates the values of a table, by its header row."""
    header = text.partition("\n")[0]
    return next((sign for sign in (";", "\t") if sign in header and "," not in header), ",")


def voc_color(index: int) -> tuple[int, int, int]:
    """Colour of an index in the PASCAL VOC map: bits 0, 1, 2, then 3, 4, 5, ... fill r, g, b from the highest bit.

    Distinct for 0..255 (0 is black) and repeated above that.
    """
    channels = [0, 0, 0]
    for bit in range(8):
        channels[bit % 3] |= (index >> bit & 1) << (7 - bit // 3)
    return channels[0], channels[1], channels[2]


def _is_void(entry: ClassEntry) -> bool:
    return entry.name.strip().casefold() in VOID_NAMES


def _names_of_void(entries: Sequence[ClassEntry]) -> tuple[str, ...]:
    return tuple(entry.name for entry in entries if _is_void(entry) and entry.name.strip().casefold() != VOID_NAME)


def _split_off_void(name: str, entries: Sequence[ClassEntry]) -> ClassTable:
    void_ids = frozenset(entry.id for entry in entries if _is_void(entry))
    classes = tuple(entry for entry in entries if not _is_void(entry))
    customary = _CUSTOMARY_VOID_IDS - {entry.id for entry in classes}
    return ClassTable(name, classes, void_ids or customary, bool(void_ids), _names_of_void(entries))


def _list_of_dictionary(classes: Mapping[Any, Any]) -> list[Any]:
    """Classes by id (`{"3": "chair"}`) or by name (`{"chair": 3}`, `{"chair": {"id": 3}}`), as a list."""
    entries = []
    for key, value in classes.items():
        is_id = str(key).strip().isdigit()
        if isinstance(value, Mapping):
            entries.append({"id" if is_id else "name": key, **value})
        else:
            entries.append({"id": key, "name": value} if is_id else {"id": value, "name": key})
    return entries


def _parse_entry(values: Any, position: int, where: str) -> ClassEntry:
    if not isinstance(values, Mapping) or not isinstance(values.get("name"), str) or "id" not in values:
        raise SceneError(f"Expected an id and a name for {where}, found {values!r}; give both.")
    name = values["name"].strip()
    color = values.get("color") or voc_color(position % 255 + 1)
    if not isinstance(color, Sequence) or len(color) != 3:
        raise SceneError(f"Expected a colour of three numbers 0..255 for {where}, found {color!r}; correct it.")
    red, green, blue = (_parse_int(channel, 0, 255, f"colour of {where}") for channel in color)
    is_thing = values.get("is_thing", str(name.casefold() not in STUFF_NAMES))
    if str(is_thing).strip().lower() not in _WORDS_FOR_TRUTH:
        raise SceneError(f"Expected is_thing to be 0 or 1 for {where}, found {is_thing!r}; correct it.")
    number = _parse_int(values["id"], 0, MAX_ID, f"id of {where}")
    return ClassEntry(number, name, (red, green, blue), _WORDS_FOR_TRUTH[str(is_thing).strip().lower()])


def _parse_int(value: Any, low: int, high: int, what: str) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    is_number = isinstance(value, int | str) and not isinstance(value, bool)
    try:
        number = int(value) if is_number else None
    except ValueError:
        number = None
    if number is None or not low <= number <= high:
        raise SceneError(f"Expected a whole number {low}..{high} as {what}, found {value!r}; correct it.")
    return number
