"""Masks whose pixel values stand for classes, as numbers or as colours."""

import contextlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Int, Int64
from numpy import ndarray

from semantic_ns.annotations.mask_files import open_mask
from semantic_ns.errors import SceneError
from semantic_ns.io.images import read_label_image
from semantic_ns.labels.class_table import MAX_ID, ClassTable
from semantic_ns.labels.mask_values import MaskRule, rule_of_masks


def rule_of_files(paths: Iterable[Path], table: ClassTable) -> MaskRule:
    """What the value 255 means in the masks of a folder, see `rule_of_masks`; it takes every one to tell.

    Args:
        paths: the masks; those that cannot be read are left to whoever uses them.
        table: what the ids mean.

    Raises:
        SceneError: if only a person can tell.
    """
    present: set[int] = set()
    for path in paths:
        with contextlib.suppress(SceneError), open_mask(path, "label image"):
            present |= set(_distinct(read_label_image(path)).tolist())
    return rule_of_masks(table, present)


def _distinct(values: Int64[ndarray, "height width"]) -> Int64[ndarray, "distinct"]:
    """The values that occur, each once."""
    # Counting takes a tenth of the time of sorting, which `unique` does.
    is_small = values.size and values.min() >= 0 and values.max() <= MAX_ID
    return np.flatnonzero(np.bincount(values.ravel())) if is_small else np.unique(values)


def classes_of_values(
    values: Int[ndarray, "height width"],
    class_of_value: Mapping[int, int],
    path: Path,
    tell: Callable[[int], str],
) -> Int64[ndarray, "height width"]:
    """Look up the class of every pixel.

    Args:
        values: the pixels of the mask.
        class_of_value: what each value stands for.
        path: the mask, for the error.
        tell: a value and where it should have been found, for the error.

    Raises:
        SceneError: if a value stands for nothing; the sentence names the first such pixel.
    """
    known = np.array(sorted(class_of_value))
    places = np.searchsorted(known, values).clip(max=len(known) - 1)
    is_unknown = known[places] != values
    if is_unknown.any():
        row, column = np.argwhere(is_unknown)[0]
        raise SceneError(
            f"Expected only {tell(int(values[row, column]))} at row {row}, column {column} of {path} "
            f"({is_unknown.sum()} pixels in all are unknown); correct the mask or add what is missing."
        )
    return np.array([class_of_value[value] for value in known.tolist()])[places]
