"""The classes of a scene whose label images people made: sizes that differ, masks of 0 and 255, ids that start at 1."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from semantic_ns.dataparsers import scene
from semantic_ns.errors import SceneError
from semantic_ns.io.images import read_label_image
from semantic_ns.labels.borders import Borders
from semantic_ns.labels.class_table import ClassTable
from semantic_ns.labels.label_map import LabelMap
from semantic_ns.labels.label_spaces import map_to_space
from semantic_ns.labels.mask_values import doubt_about_first_id, rule_of_masks
from semantic_ns.labels.taxonomy import enumerate_ids

_MOST_UNNAMED = 256
"""Ids of label images that are named by their numbers where no class table is found."""
_MOST_COMPARED = 8
"""Label images whose borders are looked at, evenly spread."""
ASPECT_TOLERANCE = 0.02
"""Largest difference in width / height between a label image and its image, as a share."""


@dataclass(frozen=True)
class SceneLabels:
    """What the label images of a scene mean.

    Attributes:
        classes: classes of the scene.
        label_map: map from the ids in the images to those of the classes; None where they are the same.
        notes: what was read otherwise than it stands in the files, as sentences.
        doubts: what may be wrong with the ids, which sns-doctor looks into, as sentences.
        are_numbered: whether no names of classes were found, so that they are called `class_<id>`.
        rule: how values are read that are no ids of the table, which names the label map; None where no map is needed.
    """

    classes: scene.SceneClasses
    label_map: LabelMap | None
    notes: tuple[str, ...]
    doubts: tuple[str, ...] = ()
    are_numbered: bool = False
    rule: str | None = None


def read_scene_labels(
    frames: Sequence[scene.FrameFiles],
    sizes: Sequence[scene.ImageSize],
    table: ClassTable | None,
    folder: Path,
    label_space: str,
    all_classes: bool,
) -> SceneLabels:
    """Read every label image once and say what the ids mean.

    Args:
        frames: files of every frame.
        sizes: width and height of each image.
        table: class table of the scene; None names each id that occurs `class_<id>`.
        folder: folder of the scene, for errors.
        label_space: label space of the classes, see `map_to_space`.
        all_classes: whether the scene has every class of the table; else those that some label image holds.

    Raises:
        SceneError: if a label image cannot be read, has other proportions than its image or serves two images, or if
            an id is unknown, none is a class, or only a person can tell what the values mean.
    """
    _refuse_shared(frames)
    labels = scene.read_label_ids(frames)
    num_resized = _num_resized(frames, labels.sizes, sizes)
    named = table
    table = named or _numbered(labels.present, folder)
    rule = rule_of_masks(table, labels.present, is_partial=all_classes)
    to_space = map_to_space(label_space, table)
    label_map = to_space if rule.label_map is None else rule.label_map.then(to_space)
    classes = scene.classes_of_ids(frames, labels, table, folder, label_map, all_classes)
    notes = [
        _told_of_numbers(table) if named is None else None,
        table.encoding_note,
        f"{num_resized} label images have another size than their images and are resized by nearest neighbours"
        if num_resized
        else None,
        f"the class {' and the class '.join(table.void_names)} of {table.name} is void" if table.void_names else None,
        rule.sentence if rule.label_map is None else None,  # else it is the name of the map, which is said anyway
    ]
    doubts = [None if rule.label_map else doubt_about_first_id(table, labels.present), _doubt_about_borders(frames)]
    return SceneLabels(
        classes=classes,
        label_map=label_map,
        notes=tuple(note for note in notes if note),
        doubts=tuple(doubt for doubt in doubts if doubt),
        are_numbered=named is None,
        rule=rule.sentence if rule.label_map is not None else None,
    )


def _numbered(present: frozenset[int], folder: Path) -> ClassTable:
    """The table of a scene without names of classes."""
    if len(present) > _MOST_UNNAMED:
        raise SceneError(
            f"Expected names of classes for the label images of {folder}, found none, and {len(present)} different ids "
            "in them, which may be those of instances or colours; list the classes in a file classes.txt beside them, "
            "or pass a table by --classes."
        )
    return ClassTable.of_numbers(present, f"the label images of {folder}")


def _told_of_numbers(table: ClassTable) -> str:
    numbers = enumerate_ids(entry.id for entry in table.entries)
    return (
        f"no names of classes were found, so the ids {numbers} are called class_<id>; a file classes.txt beside the "
        "scene, or --classes, gives them names"
    )


def _doubt_about_borders(frames: Sequence[scene.FrameFiles]) -> str | None:
    """What speaks for label images that were interpolated, as a sentence."""
    borders = Borders.of_some([frame.label for frame in frames if frame.label], read_label_image, _MOST_COMPARED)
    return borders.sentence() if borders.are_interpolated else None


def _refuse_shared(frames: Sequence[scene.FrameFiles]) -> None:
    image_of_label: dict[Path, Path] = {}
    for frame in frames:
        if frame.label is None:
            continue
        other = image_of_label.setdefault(frame.label, frame.image)
        if other != frame.image:
            raise SceneError(
                f"Expected one image for the label image {frame.label}, found {other} and {frame.image}; give each "
                "frame a semantics_path."
            )


def _num_resized(
    frames: Sequence[scene.FrameFiles],
    label_sizes: Sequence[scene.ImageSize | None],
    sizes: Sequence[scene.ImageSize],
) -> int:
    num_resized = 0
    for frame, label_size, size in zip(frames, label_sizes, sizes, strict=True):
        if label_size is None or label_size == size:
            continue
        if abs(label_size[0] * size[1] / (label_size[1] * size[0]) - 1) > ASPECT_TOLERANCE:
            is_turned = label_size == size[::-1]
            hint = "resize it with nearest neighbours"
            if is_turned:
                hint = "it may be that of the picture as its EXIF orientation turns it: turn it to the stored pixels"
            raise SceneError(
                f"Expected a label image of {size[0]}x{size[1]} like its colour image, or in proportion, at "
                f"{frame.label}, found {label_size[0]}x{label_size[1]}; {hint}."
            )
        num_resized += 1
    return num_resized
