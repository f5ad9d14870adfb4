"""Where the rays of training pixels meet the surface that a model has found."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Int64
from numpy import ndarray
from torch import Tensor

from semantic_ns.datasets.training_depth import TrainingDepth
from semantic_ns.interfaces import RayGeneratorLike, SemanticModelLike, TrainingDataLike
from semantic_ns.propagation.surface_graph import SurfacePoints
from semantic_ns.surface.maps import SurfaceMaps


def have_one_size(datamanager: TrainingDataLike) -> bool:
    """Whether all training images have one height and one width, as `SurfaceMaps` have."""
    cameras = datamanager.train_dataset.cameras
    return len(cameras.height.unique()) == 1 and len(cameras.width.unique()) == 1


@dataclass(frozen=True, eq=False)
class PixelPoints:
    """Points on the surface that training pixels show.

    Attributes:
        model: The model, with `unit_positions`.
        ray_generator: A function that gives the rays of (camera, row, column).
        known_depth: The depth of the images, which stands in for the rendered one where it is known.
    """

    model: SemanticModelLike
    ray_generator: RayGeneratorLike
    known_depth: TrainingDepth | None

    @classmethod
    def of(cls, model: SemanticModelLike, datamanager: TrainingDataLike, depth: TrainingDepth | None) -> "PixelPoints":
        """Those of the training images, by a depth of them where it is known, between the planes of the rays."""
        known = None if depth is None else depth.between(model.bounds.near, model.bounds.far)
        return cls(model, datamanager.train_ray_generator, known)

    def to_unit(self, positions: Tensor) -> Tensor:
        """Positions [N, 3] in scene units in the unit cube of the model."""
        with torch.no_grad():
            return self.model.unit_positions(positions.to(self.model.device)).cpu()

    def in_scene(self, pixels: Int64[ndarray, "rays 3"], depths: Float32[ndarray, "rays"]) -> Float32[Tensor, "rays 3"]:
        """The points at distances along the unit rays of pixels (frame, row, column), scene units."""
        rays = self.ray_generator(torch.from_numpy(pixels))
        distance = torch.from_numpy(depths)[:, None].to(rays.origins.device)
        return rays.origins + rays.directions * distance

    def in_unit_cube(
        self, pixels: Int64[ndarray, "rays 3"], depths: Float32[ndarray, "rays"]
    ) -> Float32[ndarray, "rays 3"]:
        """The same points in the unit cube."""
        return self.to_unit(self.in_scene(pixels, depths)).contiguous().numpy()

    def depths_of(
        self, maps: SurfaceMaps, pixels: Int64[ndarray, "rays 3"], colors: Float32[ndarray, "rays 3"]
    ) -> Float32[ndarray, "rays"]:
        """Distance along the unit ray of any pixels of given colours, scene units, see `SurfaceMaps.at`."""
        depths, _ = maps.at(pixels, colors)
        return self._where_known(pixels, depths)

    def _where_known(
        self, pixels: Int64[ndarray, "rays 3"], depths: Float32[ndarray, "rays"]
    ) -> Float32[ndarray, "rays"]:
        if self.known_depth is None:
            return depths
        return self.known_depth.where_known(torch.from_numpy(pixels), torch.from_numpy(depths)).numpy()

    def of_maps(self, maps: SurfaceMaps) -> SurfacePoints:
        """The points of all pixels of the maps, at their known depth: maps of a run of before may hold others."""
        positions = []
        for frame, depth in enumerate(maps.depths):
            pixels = maps.pixels_of(np.arange(frame * depth.size, (frame + 1) * depth.size))
            positions.append(self.in_unit_cube(pixels, self._where_known(pixels, depth.reshape(-1))))
        return SurfacePoints(np.concatenate(positions), maps.colors.reshape(-1, 3), maps.normals.reshape(-1, 3))
