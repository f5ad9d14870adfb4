"""Which class each channel of a network means: from class lists, configurations and the metadata of files."""

import ast
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semantic_ns.errors import SceneError
from semantic_ns.labels.class_table import VOID_NAME, ClassTable


@dataclass(frozen=True)
class ClassNames:
    """The classes that a source lists, by ascending id.

    Attributes:
        where: the source, for errors.
        names: names of the classes.
        with_void: the same with the rows that mean void at their places, for networks that have channels for them.
    """

    where: str
    names: tuple[str, ...]
    with_void: tuple[str, ...]

    def of_channels(self, num_channels: int, model: Path) -> tuple[str, ...]:
        """The name of each channel of a network.

        Raises:
            SceneError: if the network has another number of classes.
        """
        for names in (self.names, self.with_void):
            if len(names) == num_channels:
                return names
        raise SceneError(
            f"Expected as many classes in {self.where} as the network {model} has channels, {num_channels}, found "
            f"{len(self.names)}; pass the list that the network was trained with by --classes."
        )


def read_class_names(path: Path) -> ClassNames:
    """A class table, as CSV, JSON, or a text file of one name per line; channels are in the order of the ids.

    Raises:
        SceneError: if the file is missing or cannot be understood.
    """
    table = ClassTable.load(path)
    rows = {entry.id: entry.name for entry in table.entries}
    with_void = rows | (dict.fromkeys(table.void_ids, VOID_NAME) if table.has_declared_void else {})
    return ClassNames(
        str(path), tuple(rows[number] for number in sorted(rows)), tuple(with_void[n] for n in sorted(with_void))
    )


def names_of_mapping(names: Any, where: str) -> ClassNames:
    """The names in a list, or in a dictionary by channel, as in `id2label` of `transformers`.

    Raises:
        SceneError: if they are none.
    """
    if isinstance(names, Mapping):
        try:
            by_channel = {int(channel): name for channel, name in names.items()}
        except (TypeError, ValueError):
            by_channel = {}
        # A gap would leave a channel without a name.
        has_every = set(by_channel) == set(range(len(names)))
        names = [by_channel[channel] for channel in range(len(names))] if has_every else []
    if not isinstance(names, list | tuple) or not names or not all(isinstance(name, str) for name in names):
        raise SceneError(
            f"Expected a name for each channel 0, 1, 2, ... in {where}, found something else; pass a list of names by "
            "--classes."
        )
    return ClassNames(where, tuple(names), tuple(names))


def names_in_metadata(metadata: Mapping[str, str], where: str) -> ClassNames | None:
    """The classes that the metadata of a file lists as JSON or as a Python literal; None where it lists none.

    Raises:
        SceneError: if what it lists cannot be understood.
    """
    for key in ("classes", "names", "id2label"):
        if key in metadata:
            return names_of_mapping(_parsed(metadata[key]), f"{key} of {where}")
    return None


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
