"""The instances of a scene as a file: voxels of things with their classes and ids."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int32
from numpy import ndarray

from semantic_ns.errors import SceneError
from semantic_ns.io.images import told_as_scene_error
from semantic_ns.io.writing import replacing

TABLE_FILE = "instances.npz"
_NAMES = ["class_ids", "ids", "positions"]


@dataclass(frozen=True, eq=False)
class InstanceTable:
    """Voxels of things.

    Attributes:
        positions: Where they lie, in the world of the data set's files.
        class_ids: Their classes, as the label images have them.
        ids: Their instances, from 1.
    """

    positions: Float64[ndarray, "voxels 3"]
    class_ids: Int32[ndarray, "voxels"]
    ids: Int32[ndarray, "voxels"]

    def write(self, path: Path) -> None:
        """Write a file of NumPy's arrays."""
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, positions=self.positions, class_ids=self.class_ids, ids=self.ids)

    @classmethod
    def read(cls, path: Path) -> "InstanceTable":
        """Read what `write` wrote.

        Args:
            path: The file, or its folder.

        Raises:
            SceneError: if there is no such file, or it is damaged or holds something else.
        """
        file = path / TABLE_FILE if path.is_dir() else path
        with told_as_scene_error(file, "file of instances"), np.load(file, allow_pickle=False) as arrays:
            if sorted(arrays) != _NAMES:
                raise SceneError(
                    f"Expected the arrays {', '.join(_NAMES)} in {file}, found {', '.join(sorted(arrays))}; name the "
                    "folder that sns-export instances wrote."
                )
            found = {name: arrays[name] for name in _NAMES}
        positions, class_ids, ids = found["positions"], found["class_ids"], found["ids"]
        kinds = [array.dtype.kind for array in (positions, class_ids, ids)]
        shapes = positions.shape == (len(ids), 3) and class_ids.shape == ids.shape == (len(ids),)
        if kinds != ["f", "i", "i"] or not shapes or not np.isfinite(positions).all() or (ids < 1).any():
            raise SceneError(
                f"Expected finite positions [N, 3] with class ids [N] and ids [N] from 1 in {file}, found "
                f"{positions.shape}, {class_ids.shape} and {ids.shape}; write it again with sns-export instances."
            )
        return cls(positions.astype(np.float64), class_ids.astype(np.int32), ids.astype(np.int32))
