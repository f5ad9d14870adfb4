"""Sparse points: those of a COLMAP model, or of the PLY file that a scene in nerfstudio's format names."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from torch import Tensor

from semantic_ns.dataparsers import colmap_model
from semantic_ns.dataparsers import metadata as keys
from semantic_ns.dataparsers.scene_source import SceneSource
from semantic_ns.errors import SceneError

_GREY = 128
_AXES, _COLORS = ("x", "y", "z"), ("red", "green", "blue")


@dataclass(frozen=True, eq=False)
class PointFile:
    """A PLY file of points, which is read where a method wants them.

    nerfstudio reads it by Open3D, which needs libraries of the system that a server may lack, and asks for it by an
    option of its own.

    Attributes:
        path: the file.
        transform: from the world of the poses in the scene's file to the scene, before scaling.
        scale: scene units per unit of that world.
    """

    path: Path
    transform: Float[Tensor, "3 4"]
    scale: float

    def read(self) -> dict[str, Tensor]:
        """The points in scene units, by the keys under which nerfstudio looks for them.

        Returns:
            `points3D_xyz` float32 [points, 3] and `points3D_rgb` uint8 [points, 3]; nothing without points.

        Raises:
            SceneError: if the file cannot be read, or has no coordinates.
        """
        import plyfile  # slow to import, and few methods want points

        try:
            elements = plyfile.PlyData.read(str(self.path))
            rows = elements["vertex"].data if "vertex" in elements else None
        except (OSError, ValueError, plyfile.PlyParseError) as error:
            raise SceneError(
                f"Expected a PLY file of sparse points at {self.path}, found one that cannot be read ({error}); export "
                "it again, or leave ply_file_path out of the scene's file."
            ) from error
        names = () if rows is None else rows.dtype.names or ()
        if rows is None or not set(_AXES) <= set(names):
            raise SceneError(
                f"Expected the coordinates x, y and z of vertices in {self.path}, found {', '.join(names) or 'none'}; "
                "export it again, or leave ply_file_path out of the scene's file."
            )
        if not len(rows):
            return {}
        points = torch.from_numpy(np.stack([rows[name].astype(np.float32) for name in _AXES], axis=1))
        moved = (points @ self.transform[:, :3].T + self.transform[:, 3]) * self.scale
        colors = np.full((len(rows), 3), _GREY, np.uint8)
        if set(_COLORS) <= set(names):
            given = np.stack([rows[name] for name in _COLORS], axis=1)
            is_share = np.issubdtype(given.dtype, np.floating)
            colors = np.clip(given * 255 if is_share else given, 0, 255).astype(np.uint8)
        return {"points3D_xyz": moved, "points3D_rgb": torch.from_numpy(colors)}


def sparse_points_of(source: SceneSource, meta: Mapping[str, Any], outputs: DataparserOutputs) -> keys.Metadata:
    """The sparse points of a scene as entries of its metadata; nothing where it has none.

    Args:
        source: where the scene lies; the points of a COLMAP model are read at once.
        meta: what the scene's file holds, with the path of the points whole.
        outputs: the scene, or a split of it, as its dataparser gives it.

    Raises:
        SceneError: if the points of a COLMAP model are damaged.
    """
    path, transform = meta.get("ply_file_path"), outputs.dataparser_transform
    if source.colmap_model is not None:
        return colmap_model.read_points(source.folder, source.colmap_model, transform, outputs.dataparser_scale)
    if not path:
        return {}
    applied = meta.get("applied_transform")
    if applied is not None:
        # That of the dataparser begins in the original world, from which this one leads to that of the poses.
        last = torch.tensor([[0.0, 0.0, 0.0, 1.0]], dtype=torch.float64)
        to_poses = torch.cat([torch.tensor(applied, dtype=torch.float64)[:3], last])
        transform = (transform.double() @ torch.linalg.inv(to_poses)).to(transform.dtype)
    # nerfstudio counts the scale that was applied to the poses twice.
    scale = float(outputs.dataparser_scale) / float(meta.get("applied_scale", 1))
    return {keys.POINT_FILE: PointFile(Path(path), transform, scale)}
