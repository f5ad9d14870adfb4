"""From the classes of a network to those of a scene or of a class table, by name."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Int, Integer
from numpy import ndarray
from torch import Tensor

from semantic_ns.errors import SceneError
from semantic_ns.labels.class_table import VOID_NAMES, ClassEntry, ClassTable, voc_color
from semantic_ns.labels.label_map import LabelMap, void_id_of
from semantic_ns.labels.label_spaces import SPACES, ids_of_names, name_key, table_of
from semantic_ns.labels.taxonomy import Taxonomy

_SYNONYMS = re.compile("[,;]")
_NUM_NAMES_SHOWN = 12
_CUSTOMARY_VOID = 255
_MAX_UINT8 = 255


@dataclass(frozen=True)
class WrittenClasses:
    """The classes of predictions, and what stands for them in files.

    Attributes:
        entries: K classes, with the ids by which probabilities name them.
        image_ids: id of each class in label images.
        void_id: id of void in label images.
    """

    entries: tuple[ClassEntry, ...]
    image_ids: tuple[int, ...]
    void_id: int

    @classmethod
    def of_scene(cls, taxonomy: Taxonomy, label_map: LabelMap | None) -> "WrittenClasses":
        """The classes of a scene, in label images by the ids that its own ones hold.

        Of several ids that mean a class in the scene's label images the least serves. A class that no id means cannot
        be written.

        Raises:
            SceneError: if no id means void in the scene's label images.
        """
        entries = tuple(map(ClassEntry, taxonomy.source_ids, taxonomy.names, taxonomy.colors, taxonomy.is_thing))
        if label_map is None:
            return cls(entries, taxonomy.source_ids, taxonomy.void_source_id)
        first: dict[int, int] = {}
        for image_id in sorted(number for number in label_map.ids if number >= 0):
            first.setdefault(label_map.ids[image_id], image_id)
        void = next((first[number] for number in taxonomy.void_source_ids if number in first), None)
        if void is None:
            raise SceneError(
                f"Expected an id that means void in the scene's label images ({label_map.name}), found none; pass a "
                "class table with a void id by --classes-of FILE."
            )
        known = tuple(entry for entry in entries if entry.id in first)
        return cls(known, tuple(first[entry.id] for entry in known), void)

    @classmethod
    def of_table(cls, table: ClassTable) -> "WrittenClasses":
        """The classes of a table, by its ids."""
        entries = tuple(sorted(table.entries, key=lambda entry: entry.id))
        return cls(entries, tuple(entry.id for entry in entries), void_id_of(table))

    @classmethod
    def of_names(cls, names: Sequence[str]) -> "WrittenClasses":
        """The classes of a network, numbered by its channels; a name that occurs again gets its number.

        A channel whose name means void, such as `unlabeled`, is no class.
        """
        seen: set[str] = set()
        entries = []
        for number, name in enumerate(names):
            if _means_void(name):
                continue
            own = name.strip()
            while not name_key(own) or name_key(own) in seen:
                own = f"{own} {number}".strip()
            seen.add(name_key(own))
            entries.append(ClassEntry(number, own, voc_color(number % 255 + 1), is_thing=True))
        void_id = _CUSTOMARY_VOID if len(names) <= _CUSTOMARY_VOID else len(names)
        return cls(tuple(entries), tuple(entry.id for entry in entries), void_id)

    def label_image(self, labels: Integer[ndarray, "height width"]) -> Integer[ndarray, "height width"]:
        """Classes -1..K-1 as ids of label images: uint8, or uint16 where there is an id above 255."""
        ids = np.array([*self.image_ids, self.void_id])
        return ids[labels].astype(np.uint8 if ids.max() <= _MAX_UINT8 else np.uint16)

    def color_image(self, labels: Integer[ndarray, "height width"]) -> Integer[ndarray, "height width 3"]:
        """The display colour of each class as uint8; void is black."""
        return np.array([*(entry.color for entry in self.entries), (0, 0, 0)], np.uint8)[labels]

    def to_json(self) -> dict[str, Any]:
        """The content of `classes.json`: what the ids in the label images mean."""
        rows = sorted(zip(self.image_ids, self.entries, strict=True), key=lambda row: row[0])
        return {
            "void_id": self.void_id,
            "classes": [
                {"id": number, "name": entry.name, "color": list(entry.color), "is_thing": entry.is_thing}
                for number, entry in rows
            ],
        }


@dataclass(frozen=True, eq=False)
class ClassMapping:
    """Which of K classes each of the C channels of a network means.

    Attributes:
        names: names of the channels.
        targets: class 0..K-1 of each channel, -1 for void.
        written: the classes.
    """

    names: tuple[str, ...]
    targets: Int[ndarray, "channels"]
    written: WrittenClasses

    @property
    def unknown(self) -> tuple[str, ...]:
        """Names of channels that mean void."""
        return tuple(name for name, target in zip(self.names, self.targets, strict=True) if target < 0)

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of classes that no channel means."""
        found = set(self.targets.tolist())
        return tuple(entry.name for number, entry in enumerate(self.written.entries) if number not in found)

    def merge(self, probabilities: Float32[Tensor, "channels rows columns"]) -> Float32[Tensor, "merged rows columns"]:
        """Probabilities of the K classes, each the sum over its channels, and then of each channel that means void."""
        targets = torch.from_numpy(self.targets)
        merged = torch.zeros(len(self.written.entries), *probabilities.shape[1:])
        merged.index_add_(0, targets[targets >= 0], probabilities[targets >= 0])
        return torch.cat([merged, probabilities[targets < 0]])

    def labels(self, merged: Float32[ndarray, "rows columns merged"]) -> Int[ndarray, "rows columns"]:
        """The most likely class of each pixel, -1 where it means void."""
        best = merged.argmax(axis=-1)
        return np.where(best < len(self.written.entries), best, -1)

    def distributions(
        self, merged: Float32[ndarray, "rows columns merged"]
    ) -> Float32[ndarray, "rows columns classes"]:
        """The distribution over the K classes at each pixel, 0 where its label is void."""
        known = merged[..., : len(self.written.entries)]
        total = known.sum(axis=-1, keepdims=True)
        is_known = (self.labels(merged) >= 0)[..., None] & (total > 0)
        return np.where(is_known, known / np.where(total > 0, total, 1), 0).astype(np.float32)

    def sentences(self, target: str) -> list[str]:
        """What becomes of classes without a counterpart."""
        said = []
        unknown = [name for name in self.unknown if not _means_void(name)]
        if unknown:
            said.append(
                f"Void, since {target} has no class of that name: {len(unknown)} of the network's "
                f"{len(self.names)} classes ({_listed(unknown)})."
            )
        if self.missing:
            said.append(
                f"Never predicted, since the network has no class of that name: {len(self.missing)} of the "
                f"{len(self.written.entries)} classes of {target} ({_listed(self.missing)})."
            )
        return said


def map_to_written(names: Sequence[str], written: WrittenClasses, ids: Mapping[str, int], where: str) -> ClassMapping:
    """Match channels with classes by their names.

    Args:
        names: names of the channels; one may list synonyms, parted by commas or semicolons, of which the first counts
            that is known.
        written: the classes.
        ids: id of the class that each name leads to, by `name_key`.
        where: what the classes are those of, for the error.

    Raises:
        SceneError: if no channel has a counterpart.
    """
    place_of_id = {entry.id: place for place, entry in enumerate(written.entries)}
    found = [_first_known(name, ids) for name in names]
    targets = np.array([-1 if number is None else place_of_id.get(number, -1) for number in found], np.int64)
    if (targets < 0).all():
        raise SceneError(
            f"Expected a class of the network among those of {where} ({_listed(e.name for e in written.entries)}), "
            f"found no common name with {_listed(names)}; pass a class table with those ids and a column from of the "
            "network's names by --classes-of FILE, or keep the network's classes by --classes-of model."
        )
    return ClassMapping(tuple(names), targets, written)


def map_to_scene(names: Sequence[str], taxonomy: Taxonomy, label_map: LabelMap | None, scene: str) -> ClassMapping:
    """Match channels with the classes of a scene; names are as in `map_to_written`.

    Raises:
        SceneError: if the scene has no classes, or none in common with the network.
    """
    if not taxonomy.num_classes:
        raise SceneError(
            f"Expected classes in the scene {scene}, found neither label images nor a list of classes; write the "
            "network's own classes by --classes-of model, or name a class table by --classes-of FILE."
        )
    written = WrittenClasses.of_scene(taxonomy, label_map)
    return map_to_written(names, written, {name_key(entry.name): entry.id for entry in written.entries}, scene)


def map_to_table(names: Sequence[str], space: str) -> ClassMapping:
    """Match channels with the classes of a label space or a file, see `label_spaces`; names are as in `map_to_written`.

    Raises:
        SceneError: if there is no such space or file, it has no void id, or no class in common with the network.
    """
    if space not in SPACES and Path(space).suffix.lower() not in (".csv", ".json"):
        raise SceneError(
            f"Expected --classes-of to be scene, model, {', '.join(SPACES)} or a class table (.csv or .json), found "
            f"'{space}'; choose one of these."
        )
    table = table_of(space)
    return map_to_written(names, WrittenClasses.of_table(table), ids_of_names(space, table), space)


def keep_classes(names: Sequence[str]) -> ClassMapping:
    """Each channel is a class of its own, or void where its name says so.

    Raises:
        SceneError: if all names mean void.
    """
    written = WrittenClasses.of_names(names)
    if not written.entries:
        raise SceneError(
            f"Expected a class of the network other than void, found {_listed(names)}; pass the names of its channels "
            "by --classes."
        )
    place_of_channel = {number: place for place, number in enumerate(written.image_ids)}
    targets = np.array([place_of_channel.get(number, -1) for number in range(len(names))], np.int64)
    return ClassMapping(tuple(names), targets, written)


def _means_void(name: str) -> bool:
    return name.strip().casefold() in VOID_NAMES


def _first_known(name: str, ids: Mapping[str, int]) -> int | None:
    return next((ids[key] for key in map(name_key, (name, *_SYNONYMS.split(name))) if key in ids), None)


def _listed(names: Iterable[str]) -> str:
    every = list(names)
    shown = ", ".join(every[:_NUM_NAMES_SHOWN])
    return shown if len(every) <= _NUM_NAMES_SHOWN else f"{shown}, ... ({len(every)} in all)"
