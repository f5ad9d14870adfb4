"""Columns of marks, kept in a file beside the journal, so that a session with many marks opens quickly.

The file belongs to one factored system: its name has a hash of everything that the columns follow from. It is no more
than a help: a record that is cut off or damaged, or a disk that is full, costs the time to compute the column again.
It grows with each part of each mark; at a start the columns of what is not in force any more are dropped.
"""

import contextlib
import hashlib
import threading
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int32, UInt8
from numpy import ndarray

from semantic_ns.errors import SceneError
from semantic_ns.io.writing import replacing
from semantic_ns.labelling.surface import LabelSurface

_VERSION = 2
_MOST_BYTES = 2_000_000_000
_MOST_FILES = 4
"""Of surfaces of several sizes, with and without imported labels."""


_MOST_SPARE = 64
"""Columns of marks that are not in force that are kept at a start, for when they come back: the last ones."""
_WRITING = threading.Lock()
_WRITERS: dict[Path, object] = {}
"""Of each path who opened it last: others do not write there any more."""


class Column(NamedTuple):
    """What a solver keeps of one observation.

    Attributes:
        mass: Its share on each connected part of the surface.
        means: The mean of its column over each piece.
        deviations: The column, less these means.
        nearness: How near each voxel is to it.
    """

    mass: Float64[ndarray, "parts"]
    means: Float64[ndarray, "pieces"]
    deviations: Float32[ndarray, "voxels"]
    nearness: UInt8[ndarray, "voxels"]


class ColumnFile:
    """Columns of one system, in records of one size.

    Of several for one path in a process, only the one that was made last writes.

    Args:
        path: The file, which is made when the first column is kept.
        num_parts: Connected parts of the surface.
        num_pieces: Pieces of the surface.
        num_voxels: Voxels of the surface.
    """

    def __init__(self, path: Path, num_parts: int, num_pieces: int, num_voxels: int) -> None:
        self._path = path
        self._record = np.dtype(
            [
                ("key", "V32"),
                ("crc32", "<u4"),
                ("mass", "<f8", (num_parts,)),
                ("means", "<f8", (num_pieces,)),
                ("deviations", "<f4", (num_voxels,)),
                ("nearness", "u1", (num_voxels,)),
            ]
        )
        self._records: ndarray = np.empty(0, self._record)
        self._places: dict[bytes, int] = {}
        self._count = 0
        self._is_open = True
        with _WRITING:
            _WRITERS[path.absolute()] = self._token = object()
            try:
                for begun in path.parent.glob(f".{path.name}.*.tmp"):  # by a process that was killed
                    begun.unlink()
                self._count = path.stat().st_size // self._record.itemsize if path.is_file() else 0
                if self._count:
                    self._records = np.memmap(path, self._record, "r", shape=(self._count,))
                    self._places = {key.tobytes(): place for place, key in enumerate(self._records["key"])}
            except (OSError, ValueError):
                self._is_open = False

    def get(self, voxels: Int32[ndarray, "voxels"]) -> Column | None:
        """The column of an observation of some voxels; None if it is not there, or damaged."""
        key = _key(voxels)
        place = self._places.get(key)
        if place is None:
            return None
        record = self._records[place]
        column = Column(*(np.array(record[name]) for name in Column._fields))
        return column if _checksum(key, column) == record["crc32"] else None

    def keep(self, observations: Iterable[Int32[ndarray, "_voxels"]]) -> None:
        """Drop all columns but those of some observations and a few others, the last ones that came.

        The file is replaced by a smaller one once that is whole, or stays as it is.
        """
        used = {_key(voxels) for voxels in observations}
        with _WRITING, contextlib.suppress(OSError, ValueError, SceneError):
            if not self._is_open or _WRITERS.get(self._path.absolute()) is not self._token or not self._count:
                return
            records = np.memmap(self._path, self._record, "r", shape=(self._count,))
            places = {key.tobytes(): place for place, key in enumerate(records["key"])}  # of each the last one
            spare = [place for key, place in places.items() if key not in used]
            dropped = set(sorted(spare)[: max(0, len(spare) - _MOST_SPARE)])
            kept = sorted(set(places.values()) - dropped)
            if len(kept) == self._count:
                return
            with replacing(self._path) as temporary, temporary.open("wb") as file:
                for place in kept:
                    file.write(records[place : place + 1].view(np.uint8).data)
            self._count = len(kept)
            self._records = np.memmap(self._path, self._record, "r", shape=(self._count,)) if kept else records[:0]
            self._places = {key.tobytes(): place for place, key in enumerate(self._records["key"])}

    def put(self, voxels: Int32[ndarray, "voxels"], column: Column) -> None:
        """Keep a column, if there is room."""
        if not self._is_open or (self._count + 1) * self._record.itemsize > _MOST_BYTES:
            return
        record = np.zeros(1, self._record)
        key = _key(voxels)
        record["key"], record["crc32"] = np.void(key), _checksum(key, column)
        for name, values in column._asdict().items():
            record[name] = values
        with _WRITING:
            if _WRITERS.get(self._path.absolute()) is not self._token:
                self._is_open = False
                return
            try:
                if self._count == 0:
                    _forget_oldest(self._path)
                with self._path.open("r+b" if self._path.exists() else "xb") as file:
                    file.seek(self._count * self._record.itemsize)  # over a record that was cut off
                    file.write(record.tobytes())
                self._count += 1
            except OSError:
                self._is_open = False


def column_path(
    folder: Path, surface: LabelSurface, beneath: Sequence[ndarray] = (), constants: Sequence[int | float] = ()
) -> Path:
    """Where the columns of a surface are kept.

    Args:
        folder: The folder of the session.
        surface: The surface.
        beneath: What the labels beneath the marks say of the voxels.
        constants: Those of the solver.
    """
    graph, clusters = surface.graph, surface.clusters
    arrays = (graph.neighbours, graph.weights, clusters.numbers, clusters.sizes, *beneath)
    described = [(array.shape, array.dtype.str) for array in arrays]
    found = hashlib.sha256(f"{_VERSION} {described} {surface.stride} {list(constants)}".encode())
    for array in arrays:
        found.update(np.ascontiguousarray(array).tobytes())
    return folder / f"columns_{found.hexdigest()[:16]}.bin"


def _key(voxels: Int32[ndarray, "voxels"]) -> bytes:
    return hashlib.sha256(voxels.tobytes()).digest()


def _checksum(key: bytes, column: Column) -> int:
    found = zlib.crc32(key)
    for values in column:
        found = zlib.crc32(np.ascontiguousarray(values).tobytes(), found)
    return found


def _forget_oldest(path: Path) -> None:
    """Remove the columns of systems that were not used lately."""
    others = sorted(path.parent.glob("columns_*.bin"), key=lambda one: one.stat().st_mtime)
    for one in others[: max(0, len(others) - _MOST_FILES + 1)]:
        with contextlib.suppress(OSError):
            one.unlink()
