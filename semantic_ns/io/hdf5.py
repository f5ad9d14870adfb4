"""HDF5 files with one array each, as Hypersim keeps images and trajectories."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jaxtyping import Shaped
from numpy import ndarray

from semantic_ns.errors import SceneError

_SUFFIXES = frozenset({".hdf5", ".h5"})
_ARRAY = "dataset"
MAX_VALUES = 2**28
"""Numbers in the largest array that is read: 268 million. A small file can announce any number."""


def is_hdf5(path: Path) -> bool:
    """Whether the name is that of an HDF5 file."""
    return path.suffix.lower() in _SUFFIXES


def read_hdf5(path: Path, kind: str) -> Shaped[ndarray, "*shape"]:
    """The numbers in an HDF5 file: its array `dataset`.

    Args:
        path: the file.
        kind: what it should hold, for the error, for example "label image".

    Raises:
        SceneError: if the file is missing, damaged, truncated, holds no array of numbers named `dataset`, or
            a larger one than `MAX_VALUES`.
    """
    with _opened(path, kind) as array:
        return array[()]


def hdf5_shape(path: Path, kind: str) -> tuple[int, ...]:
    """Shape of the array that `read_hdf5` gives, from the header alone; errors as there."""
    with _opened(path, kind) as array:
        return array.shape


@contextmanager
def _opened(path: Path, kind: str) -> Iterator[Any]:
    import h5py

    if not path.is_file():
        raise SceneError(f"Expected a {kind} at {path}, found none; restore the file.")
    try:
        with h5py.File(path, "r") as file:
            array = file.get(_ARRAY)
            if not isinstance(array, h5py.Dataset) or array.dtype.kind not in "iuf":
                raise SceneError(
                    f"Expected an array of numbers named '{_ARRAY}' in the {kind} {path}, found "
                    f"{', '.join(sorted(file)) or 'nothing'}; write it under this name."
                )
            if (array.size or 0) > MAX_VALUES:
                raise SceneError(
                    f"Expected at most {MAX_VALUES} numbers in the {kind} {path}, found the shape {array.shape}; make "
                    "it smaller."
                )
            yield array
    except (OSError, RuntimeError, KeyError) as error:
        raise SceneError(
            f"Expected a complete {kind} at {path}, found one that cannot be read ({str(error)[:120]}); it is damaged "
            "or truncated, so write it again."
        ) from error
