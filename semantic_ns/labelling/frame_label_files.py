"""Label images and class probabilities of frames, as this package writes them, read as annotations."""

from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from jaxtyping import Int16
from numpy import ndarray

from semantic_ns.annotations.png import read_label_images
from semantic_ns.annotations.regions import resize_nearest
from semantic_ns.annotations.types import AnnotatedImage, Annotations, Notes
from semantic_ns.dataparsers.scene import ImageSize
from semantic_ns.io.images import told_as_scene_error
from semantic_ns.labels.class_table import ClassTable
from semantic_ns.labels.probability_files import read_most_likely_ids
from semantic_ns.labels.taxonomy import Taxonomy


def read_frame_label_files(paths: Sequence[Path], table: ClassTable) -> Annotations:
    """Read label images, and of probabilities (see `probability_files`) the most likely class of each pixel.

    Args:
        paths: The files.
        table: The classes.

    Returns:
        An image for each file, in the order of the files.

    Raises:
        SceneError: if only a person can tell what 255 means; on reading an image, see `read_label_images` and
            `read_probabilities`.
    """
    notes = Notes()
    if table.encoding_note is not None:
        notes.say(table.encoding_note)
    arrays = [path for path in paths if _holds_probabilities(path)]
    of_arrays = set(arrays)
    label_images = [path for path in paths if path not in of_arrays]
    found = dict(zip(label_images, read_label_images(label_images, table, notes).images, strict=True))
    found |= zip(arrays, _read_probabilities(arrays, table), strict=True)
    return Annotations(table, tuple(found[path] for path in paths), True, notes)


def _holds_probabilities(path: Path) -> bool:
    if path.suffix != ".npy":
        return path.suffix == ".npz"
    with told_as_scene_error(path, "array"):
        return np.load(path, mmap_mode="r", allow_pickle=False).ndim == 3


def _read_probabilities(paths: Sequence[Path], table: ClassTable) -> list[AnnotatedImage]:
    taxonomy = Taxonomy.from_table(table, (entry.id for entry in table.entries))

    @lru_cache(1)  # the size is asked for first, and then the content
    def most_likely(path: Path) -> Int16[ndarray, "height width"]:
        return taxonomy.encode(read_most_likely_ids(path, taxonomy), str(path))

    def size_of(path: Path) -> ImageSize:
        height, width = most_likely(path).shape
        return width, height

    def read(path: Path, size: ImageSize) -> Int16[ndarray, "_height _width"]:
        return resize_nearest(most_likely(path), size)

    return [AnnotatedImage(path.name, str(path), partial(read, path), partial(size_of, path)) for path in paths]
