"""The surface of a session as a point cloud with the labels of its frames."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int16
from numpy import ndarray

from semantic_ns.export.point_files import Labelled, write_ply
from semantic_ns.labelling.surface import LabelSurface
from semantic_ns.labels.taxonomy import VOID, Taxonomy


class SurfaceCloud:
    """Takes the labels of frames, one after the other, and writes a point for each pixel of the maps of the surface.

    A point has the label of the training pixel that it was found by, so that cloud and label images agree. Parts that
    several frames see have the points of each.

    Args:
        surface: The surface.
    """

    def __init__(self, surface: LabelSurface) -> None:
        self._surface = surface
        count = len(surface.discs.positions)
        self._labels, self._confidence = np.full(count, VOID, np.int16), np.zeros(count, np.float32)

    def add(
        self, frame: int, labels: Int16[ndarray, "height width"], confidence: Float32[ndarray, "height width"]
    ) -> None:
        """Take the classes 0..C-1 of a frame, -1 for void, and how sure they are."""
        frames, rows, columns = self._surface.discs.pixels.T
        own = np.flatnonzero(frames == frame)
        self._labels[own] = labels[rows[own], columns[own]]
        self._confidence[own] = np.where(self._labels[own] == VOID, 0, confidence[rows[own], columns[own]])

    def write(self, folder: Path, taxonomy: Taxonomy) -> None:
        """Write `points.ply` in the colours of the images, and `points_classes.ply` in those of the classes."""
        discs, to_world = self._surface.discs, self._surface.world_from_scene
        linear, translation = to_world[:, :3], to_world[:, 3]
        rotation = linear / np.cbrt(np.linalg.det(linear))
        cloud = Labelled(
            discs.positions.astype(np.float64) @ linear.T + translation,
            (discs.normals.astype(np.float64) / 127 @ rotation.T).astype(np.float32),
            discs.colors,
            self._labels,
            self._confidence,
        )
        write_ply(folder / "points.ply", cloud, taxonomy)
        write_ply(folder / "points_classes.ply", replace(cloud, colors=cloud.class_colors(taxonomy)), taxonomy)
