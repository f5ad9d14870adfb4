"""One label space for many scenes, by the names of their classes."""

from collections.abc import Sequence
from dataclasses import replace

from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs

from semantic_ns.dataparsers import metadata as keys
from semantic_ns.errors import SceneError
from semantic_ns.labels.class_table import ClassEntry, ClassTable, voc_color
from semantic_ns.labels.label_map import LabelMap
from semantic_ns.labels.taxonomy import Taxonomy

Color = tuple[int, int, int]


def key_of(name: str) -> str:
    """What spellings of one class have in common: case, and which blanks, `_` and `-` separate words, do not matter."""
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())


def any_in_common(taxonomies: Sequence[Taxonomy]) -> bool:
    """Whether two of several scenes have a class in common."""
    keys_of_scenes = [{key_of(name) for name in taxonomy.names} for taxonomy in taxonomies]
    return len(set().union(*keys_of_scenes)) < sum(map(len, keys_of_scenes))


def common_taxonomy(taxonomies: Sequence[Taxonomy]) -> Taxonomy:
    """The classes of several scenes together, each name once.

    The ids are those of the scenes where these agree on them, else 1, 2, ... in the order in which the names come; void
    is then 0. Of classes with one colour only the first keeps it, for scenes number their colours on their own.

    Raises:
        SceneError: if no scene has a class.
    """
    entries: dict[str, ClassEntry] = {}
    ids: dict[str, set[int]] = {}
    for taxonomy in taxonomies:
        for number, name, color, is_thing in zip(
            taxonomy.source_ids, taxonomy.names, taxonomy.colors, taxonomy.is_thing, strict=True
        ):
            entries.setdefault(key_of(name), ClassEntry(number, name, color, is_thing))
            ids.setdefault(key_of(name), set()).add(number)
    if not entries:
        raise SceneError("Expected classes in at least one scene, found none; give label images or a class table.")
    void = {taxonomy.void_source_id for taxonomy in taxonomies}
    numbers = [number for found in ids.values() for number in found]
    agree = len(set(numbers)) == len(numbers) == len(entries) and len(void) == 1
    chosen = list(entries.values())
    if agree:
        chosen.sort(key=lambda entry: entry.id)
    return Taxonomy(
        source_ids=tuple(entry.id for entry in chosen) if agree else tuple(range(1, len(chosen) + 1)),
        names=tuple(entry.name for entry in chosen),
        colors=_distinct([entry.color for entry in chosen]),
        is_thing=tuple(entry.is_thing for entry in chosen),
        void_source_id=void.pop() if agree else 0,
    )


def _distinct(colors: Sequence[Color]) -> tuple[Color, ...]:
    """The colours, those that come again replaced by unused ones as long as there are any."""
    unused = [color for color in map(voc_color, range(1, 256)) if color not in colors]
    found: dict[Color, None] = {}
    result = []
    for color in colors:
        result.append(unused.pop(0) if color in found and unused else color)
        found[color] = None
    return tuple(result)


def map_to(scene: Taxonomy, common: Taxonomy) -> LabelMap:
    """From the ids of a scene to those of another label space, by name; what that does not have becomes void."""
    ids = {key_of(name): number for name, number in zip(common.names, common.source_ids, strict=True)}
    void = common.void_source_id
    targets = {number: ids.get(key_of(name), void) for name, number in zip(scene.names, scene.source_ids, strict=True)}
    entries = tuple(map(ClassEntry, common.source_ids, common.names, common.colors, common.is_thing))
    table = ClassTable("the label space of the run", entries, frozenset(common.void_source_ids))
    return LabelMap("the label space of the run by name", table, targets | dict.fromkeys(scene.void_source_ids, void))


def unknown_names(scene: Taxonomy, common: Taxonomy) -> tuple[str, ...]:
    """Names of the scene's classes that another label space does not have."""
    known = {key_of(name) for name in common.names}
    return tuple(name for name in scene.names if key_of(name) not in known)


def in_label_space(outputs: DataparserOutputs, common: Taxonomy) -> DataparserOutputs:
    """A scene whose labels are read in another label space."""
    scene: Taxonomy = outputs.metadata[keys.TAXONOMY]
    to_common = map_to(scene, common)
    from_images: LabelMap | None = outputs.metadata.get(keys.LABEL_MAP)
    if from_images is None:
        label_map = to_common
    else:
        # It may lead to further classes of its table, which no label image of the scene shows.
        absent = dict.fromkeys(set(from_images.ids.values()) - to_common.ids.keys(), common.void_source_id)
        label_map = from_images.then(replace(to_common, ids={**to_common.ids, **absent}))
    return replace(outputs, metadata=outputs.metadata | {keys.TAXONOMY: common, keys.LABEL_MAP: label_map})
