"""What the dataparsers share: validation of a scene's files, its classes, and the metadata handed on."""

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeVar

import numpy as np
from jaxtyping import Integer
from numpy import ndarray

from semantic_ns.dataparsers import metadata as keys
from semantic_ns.dataparsers.known_label_ids import IdsInImage, KnownLabelIds
from semantic_ns.errors import SceneError
from semantic_ns.io.console import announce
from semantic_ns.io.image_names import names_of_images
from semantic_ns.io.images import ImageHeader, color_image_header, read_label_image
from semantic_ns.labels.class_table import MAX_ID, ClassTable
from semantic_ns.labels.label_map import LabelMap
from semantic_ns.labels.mask_values import reason_for_unknown
from semantic_ns.labels.taxonomy import Taxonomy, enumerate_ids
from semantic_ns.run_paths import SCENE_VARIABLE

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

ImageSize = tuple[int, int]
"""Width, height."""


@dataclass(frozen=True)
class FrameFiles:
    """The files of one frame.

    Attributes:
        image: colour image.
        label: label image, None where there is none.
        depth: planar depth image, None where there is none.
        label_export_name: where the label image is or would be, relative to the scene folder, with `/`.
    """

    image: Path
    label: Path | None
    depth: Path | None
    label_export_name: str


@dataclass(frozen=True)
class SceneClasses:
    """The classes of a scene, and for each frame whether its label image holds one that is not void."""

    taxonomy: Taxonomy
    is_labelled: tuple[bool, ...]


def announce_scene(
    parser_name: str, where: str, classes: SceneClasses, label_map: LabelMap | None, split_sentence: str
) -> None:
    """Tell the user what of a scene is used: the folder, the classes and how they came about, and the split."""
    mapped = "" if label_map is None else f" ({label_map.name})"
    announce(
        parser_name, f"{where}, {classes.taxonomy.num_classes} classes{mapped}, split {split_sentence}", is_routine=True
    )


def require_folder(path: Path) -> None:
    """Raise a SceneError unless `path` is a folder."""
    if not path.is_dir():
        found = "a file" if path.exists() else "nothing"
        raise SceneError(
            f"Expected the folder of a scene at {path}, found {found}; check --data, or for a trained run whose scene "
            f"has moved name its folder in the environment variable {SCENE_VARIABLE}."
        )


def folder_name(folder: Path) -> str:
    """Name of a folder as it was given, also where it is a link to one of another name."""
    return folder.name if folder.name not in ("", "..") else folder.resolve().name


def find_upwards(folder: Path, name: str) -> Path | None:
    """The file `name` in a folder or the nearest one above it, as given or else where links lead; None without one."""
    for start in (folder.absolute(), folder.resolve()):
        for place in (start, *start.parents):
            if (place / name).is_file():
                return place / name
    return None


def image_headers(images: Sequence[Path]) -> list[ImageHeader]:
    """What the header of each image says.

    Raises:
        SceneError: if an image cannot be read.
    """
    return _in_parallel(color_image_header, images)


def common_image_size(images: Sequence[Path]) -> ImageSize:
    """Size of all images, read from their headers.

    Raises:
        SceneError: if an image cannot be read, or two differ in size.
    """
    sizes = [header.size for header in image_headers(images)]
    for path, size in zip(images, sizes, strict=True):
        if size != sizes[0]:
            raise SceneError(
                f"Expected all images of a scene to have one size, found {_times(sizes[0])} in {images[0]} and "
                f"{_times(size)} in {path}; resize the images or split the scene."
            )
    return sizes[0]


@dataclass(frozen=True)
class LabelIds:
    """What the label images of a scene hold: the ids and the size (width, height) of each, None without an image."""

    ids: tuple[frozenset[int] | None, ...]
    sizes: tuple[ImageSize | None, ...]

    @property
    def present(self) -> frozenset[int]:
        """The ids of all images."""
        return frozenset().union(*(ids for ids in self.ids if ids is not None))


def read_label_ids(frames: Sequence[FrameFiles]) -> LabelIds:
    """Read every label image once; in a large scene those alone that have changed since it was last read.

    Raises:
        SceneError: if a label image cannot be read.
    """
    paths = [frame.label for frame in frames]
    present = [path for path in paths if path is not None]
    known, began_ns = KnownLabelIds(present), time.time_ns()
    spared = {path: known.find(path) for path in present}
    new = [path for path, one in spared.items() if one is None]
    read = dict(zip(new, _in_parallel(_read_ids, new), strict=True))
    found = {path: read[path] if one is None else one for path, one in spared.items()}
    if read:
        known.remember(found, began_ns)
    return LabelIds(
        tuple(None if path is None else found[path].ids for path in paths),
        tuple(None if path is None else found[path].size for path in paths),
    )


def _read_ids(path: Path) -> IdsInImage:
    raw = read_label_image(path)
    return IdsInImage(_ids_in(raw), (raw.shape[1], raw.shape[0]))


def read_classes(
    frames: Sequence[FrameFiles],
    size: ImageSize,
    table: ClassTable,
    folder: Path,
    label_map: LabelMap | None = None,
    any_label_size: bool = False,
    all_classes: bool = False,
) -> SceneClasses:
    """Read every label image once and fix the classes of the scene.

    Args:
        frames: every frame of the scene that is used, whatever its split.
        size: width and height of the colour images.
        table: what the ids mean; those of the images or, with a map, those that it gives (then its table).
        folder: the scene, for the error.
        label_map: map from the ids in the images to those of its table.
        any_label_size: whether label images may differ in size from their images.
        all_classes: whether the scene has every class of the table; else those that some label image holds.

    Raises:
        SceneError: if a label image cannot be read, differs in size from its image or holds an id outside the table
            or unknown to the map, or if no label image holds a class.
    """
    labels = read_label_ids(frames)
    if not any_label_size:
        for frame, label_size in zip(frames, labels.sizes, strict=True):
            _require_label_size(label_size, size, frame.label)
    return classes_of_ids(frames, labels, table, folder, label_map, all_classes)


def classes_without_labels(frames: Sequence[FrameFiles]) -> SceneClasses | None:
    """No class at all for a scene without a label image, None for one with some."""
    if any(frame.label is not None for frame in frames):
        return None
    return SceneClasses(Taxonomy.from_table(ClassTable("no class table", (), frozenset()), ()), (False,) * len(frames))


def classes_of_ids(
    frames: Sequence[FrameFiles],
    labels: LabelIds,
    table: ClassTable,
    folder: Path,
    label_map: LabelMap | None = None,
    all_classes: bool = False,
) -> SceneClasses:
    """Fix the classes of a scene by the ids in its label images; the arguments are those of `read_classes`.

    Raises:
        SceneError: if a label image holds an id outside the table or unknown to the map, or none holds a class.
    """
    table = table if label_map is None else label_map.table
    ids_of_frame = [
        frozenset() if ids is None else _known_ids(ids, labels, table, label_map, frame.label)
        for frame, ids in zip(frames, labels.ids, strict=True)
    ]
    present = {entry.id for entry in table.entries} if all_classes else frozenset().union(*ids_of_frame)
    taxonomy = Taxonomy.from_table(table, present)
    if not taxonomy.num_classes:
        num_labels = sum(ids is not None for ids in labels.ids)
        found = f"{num_labels} label images with void pixels only" if num_labels else "none"
        raise SceneError(
            f"Expected label images such as {folder / frames[0].label_export_name}, found "
            f"{found} for {len(frames)} images; add labels, train colour alone with `ns-train nerfacto`, or, in "
            "nerfstudio's format, let the run ask for labels of all classes of the table: --all-classes True."
        )
    return SceneClasses(taxonomy, tuple(bool(ids - table.void_ids) for ids in ids_of_frame))


def require_training_labels(classes: SceneClasses, train: Iterable[int], where: Path) -> None:
    """Raise a SceneError unless some frame of the training split has a label image that is not all void."""
    train = list(train)
    if not any(classes.is_labelled[index] for index in train):
        raise SceneError(
            f"Expected a labelled image in the training split of {where}, found none among its {len(train)} images; "
            "label one of them or choose another split."
        )


def frame_names(frames: Iterable[FrameFiles]) -> dict[Path, str]:
    """The name of each frame of a scene by its image: that of its label image, or a longer one where two are equal."""
    labels = {frame.image: PurePosixPath(frame.label_export_name).stem for frame in frames}
    if len(set(labels.values())) == len(labels):
        return labels
    return dict(zip(labels, names_of_images(list(labels)), strict=True))


def frame_metadata(
    frames: Sequence[FrameFiles], names: Mapping[Path, str], depth_metres_per_unit: float
) -> keys.Metadata:
    """The metadata that lists one item per image of a split; `names` are those of `frame_names`."""
    result: keys.Metadata = {
        keys.FRAME_NAMES: [names[frame.image] for frame in frames],
        keys.LABEL_FILENAMES: [frame.label for frame in frames],
        keys.LABEL_EXPORT_NAMES: [frame.label_export_name for frame in frames],
    }
    if any(frame.depth is not None for frame in frames):
        result[keys.DEPTH_FILENAMES] = [frame.depth for frame in frames]
        result[keys.DEPTH_METRES_PER_UNIT] = depth_metres_per_unit
    return result


def scene_metadata(
    taxonomy: Taxonomy,
    split: str,
    metres_per_unit: float,
    near_far_m: tuple[float, float] | None,
    label_map: LabelMap | None = None,
) -> keys.Metadata:
    """The metadata that is the same in every split; `label_map` is that of `read_classes`."""
    ids = ", ".join(str(number) for number in taxonomy.void_source_ids)
    return {
        keys.TAXONOMY: taxonomy,
        keys.LABEL_MAP: label_map,
        keys.METRES_PER_UNIT: metres_per_unit,
        keys.SPLIT: split,
        keys.VOID_RULE: f"pixels whose label is void (id {ids}) are neither trained nor scored",
        keys.NEAR_FAR_M: near_far_m,
    }


def _require_label_size(label_size: ImageSize | None, size: ImageSize, path: Path | None) -> None:
    if label_size is not None and label_size != size:
        raise SceneError(
            f"Expected a label image of {_times(size)} like its colour image at {path}, found "
            f"{_times(label_size)}; resize it with nearest neighbours."
        )


def _ids_in(raw: Integer[ndarray, "height width"]) -> frozenset[int]:
    # Far faster than np.unique; 16-bit ids need 65536 bins at most.
    is_16_bit = raw.min() >= 0 and raw.max() <= MAX_ID
    ids = np.flatnonzero(np.bincount(raw.ravel())) if is_16_bit else np.unique(raw)
    return frozenset(ids.tolist())


def _known_ids(
    ids: frozenset[int], labels: LabelIds, table: ClassTable, label_map: LabelMap | None, path: Path | None
) -> frozenset[int]:
    """The ids of one label image as ids of the table, each of which must be known."""
    if label_map is not None:
        return frozenset(label_map.apply(np.array(sorted(ids), np.int64), str(path)).tolist())
    classes = {entry.id for entry in table.entries}
    unknown = ids - classes - table.void_ids
    if unknown:
        raise SceneError(
            f"Expected only ids of the class table {table.name} in the label image {path}, found "
            f"{enumerate_ids(unknown)}{reason_for_unknown(classes, labels.present)}; correct the image or pass a table "
            "with these ids by --classes."
        )
    return ids


def _times(size: ImageSize) -> str:
    return f"{size[0]}x{size[1]}"


def _in_parallel(function: Callable[[_Item], _Result], items: Sequence[_Item]) -> list[_Result]:
    # Decoding PNG releases the GIL. Results, and thus the first error, come in order.
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        return list(pool.map(function, items))
