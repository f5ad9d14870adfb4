"""Labels that a session begins with: kept beside the journal, and brought onto a surface; `import_files` reads them.

They are weak evidence beneath the marks of people, see `solver.Anchors`.
"""

import hashlib
import json
import zipfile
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Int16
from numpy import ndarray

from semantic_ns.errors import SceneError
from semantic_ns.io.writing import replacing, write_errors_as_scene_error
from semantic_ns.labelling.packed_labels import PackedLabels
from semantic_ns.labelling.solver import Anchors
from semantic_ns.labelling.surface import LabelSurface
from semantic_ns.labels.class_table import ClassEntry
from semantic_ns.propagation.posterior import LEAST_NOISE, vote_strength

FOLDER = "imports"
"""Folder beside the journal that holds what was imported."""
DEFAULT_WEIGHT = 1e-4
"""Of weights a factor of ten apart, the one with the smallest loss against the best one over all mistakes that were
tried: a larger one shows predictions better before the first mark, and holds on to classes that are always mistaken."""
NO_LABEL = -1
_NUM_DIGITS = 16


@dataclass(frozen=True, eq=False)
class ImportedLabels:
    """Label images of the frames of a session.

    Attributes:
        name: Where they are from.
        images: Their ids, -1 for no class.
        classes: The classes that occur in them.
    """

    name: str
    images: PackedLabels
    classes: tuple[ClassEntry, ...]

    @classmethod
    def of(
        cls, name: str, ids: Int16[ndarray, "frames height width"], classes: tuple[ClassEntry, ...]
    ) -> "ImportedLabels":
        """The labels of an array."""
        return cls(name, PackedLabels.of(ids, *ids.shape[1:]), classes)

    @property
    def ids(self) -> Int16[ndarray, "frames height width"]:
        """All images as one array, which takes the room of all pixels."""
        return np.stack(list(self.images))

    @cached_property
    def checksum(self) -> str:
        """What tells these labels from others."""
        content = json.dumps([self.images.shape, [[entry.id, entry.name] for entry in self.classes]])
        found = hashlib.sha256(content.encode())
        for image in self.images:
            found.update(image.astype("<i2").tobytes())
        return found.hexdigest()

    def anchors(self, surface: LabelSurface, weight: float) -> Anchors:
        """What the labels say of the voxels of a surface.

        A voxel of which any pixel has a label has the given weight, however many pixels show it: they are mostly wrong
        together. The shares of its classes are those of its pixels.

        Args:
            surface: The surface.
            weight: Weight of a voxel beside that of a voxel with a mark.
        """
        stride = surface.stride
        rows, columns = (
            np.minimum(np.arange(0, n, stride) + stride // 2, n - 1) for n in (self.images.height, self.images.width)
        )
        known = np.array([entry.id for entry in self.classes])
        shape = surface.graph.num_nodes, len(known)
        votes = np.zeros(shape[0] * shape[1])
        for image, voxels in zip(self.images, surface.pixel_voxels, strict=True):
            ids = image[np.ix_(rows, columns)]
            is_known = (voxels >= 0) & (ids != NO_LABEL)
            places = voxels[is_known].astype(np.int64) * shape[1] + np.searchsorted(known, ids[is_known])
            used, counts = np.unique(places, return_counts=True)
            votes[used] += counts
        votes = votes.reshape(shape)
        counts = votes.sum(axis=1)
        weights = np.where(counts > 0, weight * vote_strength(LEAST_NOISE), 0.0)
        return Anchors(weights, (votes / np.maximum(counts, 1)[:, None]).astype(np.float32))

    def keep(self, folder: Path) -> None:
        """Write them into a session's folder, where `kept_import` finds them.

        Raises:
            SceneError: if they cannot be written.
        """
        path = _path(folder, self.checksum)
        classes = [[entry.id, entry.name, list(entry.color), entry.is_thing] for entry in self.classes]
        header = np.frombuffer(json.dumps({"name": self.name, "classes": classes}).encode(), np.uint8)
        with (
            write_errors_as_scene_error(path),
            replacing(path) as temporary,
            zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive,
        ):
            with archive.open("header.npy", "w") as part:
                np.lib.format.write_array(part, header, allow_pickle=False)
            self.images.write(archive, "ids")


def kept_import(folder: Path, checksum: str) -> ImportedLabels:
    """The labels of a checksum that a session imported before.

    Raises:
        SceneError: if they are gone or damaged.
    """
    path = _path(folder, checksum)
    try:
        with zipfile.ZipFile(path) as archive:
            with archive.open("header.npy") as part:
                header = json.loads(np.lib.format.read_array(part, allow_pickle=False).tobytes().decode())
            classes = tuple(ClassEntry(n, name, tuple(color), thing) for n, name, color, thing in header["classes"])
            found = ImportedLabels(header["name"], PackedLabels.read(archive, "ids"), classes)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise _refusal(path, f"that they cannot be read ({error})") from error
    if found.checksum != checksum:
        raise _refusal(path, "others")
    return found


def _refusal(path: Path, found: str) -> SceneError:
    return SceneError(
        f"Expected the imported labels of the session at {path}, found {found}; put a copy back, or give what "
        "they came from with --import again."
    )


def _path(folder: Path, checksum: str) -> Path:
    return folder / FOLDER / f"{checksum[:_NUM_DIGITS]}.npz"
