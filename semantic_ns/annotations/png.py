"""Plain label images (one channel of ids, as PNG or as a numpy array) and a list of classes of the user.

Pixels with a void id of the list are those that nobody annotated: the images cannot tell them from ignored ones. A
negative number of an array is void, too.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from semantic_ns.annotations.mask_files import mask_files, mask_size, open_mask
from semantic_ns.annotations.pixel_values import classes_of_values, rule_of_files
from semantic_ns.annotations.records import MAX_PIXELS
from semantic_ns.annotations.regions import resize_nearest
from semantic_ns.annotations.types import UNLABELLED, AnnotatedImage, Annotations, Notes
from semantic_ns.dataparsers.scene import ImageSize
from semantic_ns.errors import SceneError
from semantic_ns.io.hdf5 import is_hdf5
from semantic_ns.io.images import read_label_image, told_as_scene_error
from semantic_ns.labels.class_table import ClassTable
from semantic_ns.labels.taxonomy import VOID

_ARRAY = ".npy"
_MASK_FOLDERS = ("SegmentationClassPNG", "SegmentationClass", "SegmentationClassNpy")


def label_images(labels: Path) -> list[Path]:
    """The label images of a folder (PNGs, or else numpy arrays), or the one file that is named.

    The folders of masks that `labelme2voc` writes come before its pictures of them.
    """
    if labels.is_file():
        return [labels]
    for name in _MASK_FOLDERS:
        if (labels / name).is_dir() and (found := mask_files(labels / name, (".png", _ARRAY))):
            return found
    return mask_files(labels) or mask_files(labels, (_ARRAY,))


def read_png(labels: Path, table: ClassTable, notes: Notes) -> Annotations:
    """Read label images whose pixels are ids of the table.

    Args:
        labels: folder of label images, or one of them.
        table: the classes.
        notes: notes of the reader.

    Raises:
        SceneError: if there is no label image; on reading an image, if it has several channels or an id that is not in
            the table (names the pixel), or if only a person can tell what 255 means.
    """
    paths = label_images(labels)
    if not paths:
        raise SceneError(f"Expected label images (PNG or .npy) in {labels}, found none; check the path.")
    return read_label_images(paths, table, notes)


def read_label_images(paths: Sequence[Path], table: ClassTable, notes: Notes) -> Annotations:
    """Read label images whose pixels are ids of the table, see `read_png`.

    Args:
        paths: the label images, all of them, since together they tell what 255 means.
        table: the classes.
        notes: notes of the reader.

    Raises:
        SceneError: if only a person can tell what 255 means; on reading an image, see `read_png`.
    """
    further: dict[int, int] = {}
    rule = rule_of_files([path for path in paths if not _is_array(path)], table)
    if rule.sentence is not None:
        notes.say(rule.sentence)
    if rule.label_map is not None:
        further = dict(rule.label_map.ids)
    names = {path: f"{path.stem}.png" if _is_array(path) else path.name for path in paths}
    return read_id_images(names, table, notes, further)


def read_id_images(
    names: Mapping[Path, str],
    table: ClassTable,
    notes: Notes,
    further: Mapping[int, int] = MappingProxyType({}),
    class_ids_of: Callable[[ndarray], ndarray] = np.asarray,
) -> Annotations:
    """Read images of ids of the table.

    Args:
        names: name of the colour image of each label image.
        table: the classes.
        notes: notes of the reader.
        further: ids of the table by other values that stand for them.
        class_ids_of: gives the ids of classes of what the pixels hold.

    Raises:
        SceneError: on reading an image, see `read_png`.
    """
    ids = sorted(entry.id for entry in table.entries)
    class_of_id = {**dict.fromkeys(table.void_ids, UNLABELLED), **{number: i for i, number in enumerate(ids)}}
    class_of_id |= {value: class_of_id[number] for value, number in further.items()}

    def tell(value: int) -> str:
        return f"ids of the class table {table.name}, found {value}"

    def read(path: Path, size: ImageSize) -> Int64[ndarray, "height width"]:
        if not _is_array(path):
            with open_mask(path, "label image"):
                ids = resize_nearest(class_ids_of(read_label_image(path)), size)
            return classes_of_values(ids, class_of_id, path, tell)
        ids = resize_nearest(_read_array(path), size)
        negative = {int(value): VOID for value in np.unique(ids[ids < 0])}
        return classes_of_values(ids, {**negative, **class_of_id}, path, tell)

    images = (
        AnnotatedImage(name, str(path), partial(read, path), partial(_size, path)) for path, name in names.items()
    )
    return Annotations(table, tuple(images), True, notes)


def _is_array(path: Path) -> bool:
    return path.suffix.lower() == _ARRAY or is_hdf5(path)


def _size(path: Path) -> ImageSize:
    if not _is_array(path):
        return mask_size(path)
    height, width = (read_label_image(path) if is_hdf5(path) else _open_array(path)).shape
    return width, height


def _open_array(path: Path) -> ndarray:
    """The array [height, width] of a file, which stays on the disk until it is used."""
    with told_as_scene_error(path, "array"):
        # A mapped file cannot be larger in memory than on the disk, and pickled objects are never loaded.
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        squeezed = array.squeeze() if array.ndim != 2 else array
    if squeezed.ndim != 2 or squeezed.dtype.kind not in "biuf" or not 0 < squeezed.size <= MAX_PIXELS:
        raise SceneError(
            f"Expected an array [height, width] of class ids at {path}, found {array.dtype} of shape {array.shape}; "
            "save one whole number per pixel."
        )
    return squeezed


def _read_array(path: Path) -> Int64[ndarray, "height width"]:
    if is_hdf5(path):
        return read_label_image(path)
    array = np.asarray(_open_array(path))
    with np.errstate(invalid="ignore"):
        ids = array.astype(np.int64)
    if (ids != array).any():
        raise SceneError(f"Expected whole numbers in the array at {path}, found fractions; save class ids.")
    return ids
