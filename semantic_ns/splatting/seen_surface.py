"""The surface of Gaussians as training images show it: where each pixel lies, and which Gaussian it shows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int, Int32
from numpy import ndarray
from torch import Tensor

from semantic_ns.backbones.room_features import room_features
from semantic_ns.propagation.appearance import chosen_frames, described, mean_features
from semantic_ns.propagation.surface_graph import SurfaceGraph, SurfacePoints
from semantic_ns.splatting.composite import Tiles
from semantic_ns.splatting.fit import View
from semantic_ns.splatting.frame_memory import FrameMemory
from semantic_ns.splatting.project import Gaussians, PinholeCamera, project
from semantic_ns.surface.sweep import normals_of, sweep_stride, swept_pixels

_MOST_POINTS = 1_200_000
"""Pixels over all images from which voxels are made, about; of more, every n-th one along rows and columns is."""
_FEW = 0.02
"""Share of Gaussians at either end of an axis that may be far away from the others."""


@dataclass(frozen=True, eq=False)
class SeenPixels:
    """What the pixels of one image show.

    Attributes:
        middles: the Gaussian in which half of the light of each pixel has been stopped, -1 where less is.
        depths: planar depth, that of the image where it is known, else that of the mean of the Gaussian; 0 for none.
    """

    middles: Int32[Tensor, "height width"]
    depths: Float32[Tensor, "height width"]

    @classmethod
    def of(cls, gaussians: Gaussians, view: View, is_antialiased: bool, memory: FrameMemory) -> "SeenPixels":
        """Those of one view; masked pixels show nothing."""
        camera = view.camera
        projected = project(gaussians, camera, is_antialiased=is_antialiased, memory=memory)
        middles = Tiles.of(projected, camera.height, camera.width, memory).middles()
        if view.mask is not None:
            middles = middles.where(view.mask, -1)
        depths = projected.depths[middles.clamp(min=0)].where(middles >= 0, 0.0)
        if view.depth is not None:
            is_known = view.depth > 0 if view.mask is None else (view.depth > 0) & view.mask
            depths = torch.where(is_known, view.depth, depths)
        return cls(middles, depths)


class SeenSurface:
    """Points of the surface that all pixels of the training images show.

    Args:
        gaussians: the Gaussians.
        views: the training images.
        is_antialiased: whether the Gaussians were trained in gsplat's antialiased mode.

    Attributes:
        gaussians: the Gaussians.
        is_near: those that are of the scene, see `are_near`.
        seen: what the pixels of each image show.
    """

    @torch.no_grad()
    def __init__(self, gaussians: Gaussians, views: Sequence[View], is_antialiased: bool = False) -> None:
        self.gaussians, self._views = gaussians, views
        self.is_near = are_near(gaussians.means)
        near = gaussians.means[self.is_near]
        self._low = near.amin(dim=0)
        self._side = float((near.amax(dim=0) - self._low).max().clamp(min=1e-6))
        memory = FrameMemory()
        self.seen = [SeenPixels.of(gaussians, view, is_antialiased, memory) for view in views]

    def in_unit_cube(
        self, frame: int, rows: Int[Tensor, "*pixels"], columns: Int[Tensor, "*pixels"]
    ) -> Float[Tensor, "*pixels 3"]:
        """Where pixels of an image lie in the cube around the near Gaussians; outside it where they show nothing."""
        depths = self.seen[frame].depths[rows, columns]
        points = in_world(self._views[frame].camera, rows, columns, depths)
        found = (points - self._low) / self._side * 0.998 + 0.001
        return torch.where((depths > 0)[..., None], found, -1.0)

    @cached_property
    def points(self) -> SurfacePoints:
        """Points of every n-th pixel, with the colours of the images."""
        parts: tuple[list[ndarray], ...] = [], [], []
        for frame, (rows, columns) in enumerate(self._swept()):
            places = self.in_unit_cube(frame, rows, columns)
            is_inside = ((places >= 0) & (places < 1)).all(dim=-1)
            for part, values in zip(
                parts, (places, self._colors(frame)[rows, columns], normals_of(places)), strict=True
            ):
                part.append(values[is_inside].numpy())
        return SurfacePoints(*(np.concatenate(part) for part in parts))

    def voxels_of_pixels(self, graph: SurfaceGraph) -> list[Int32[ndarray, "_pixels"]]:
        """The voxel that each pixel of each image shows, row by row, -1 for none."""
        found = []
        for frame, view in enumerate(self._views):
            rows, columns = _pixels_of(frame, view.camera, 1)
            places = self.in_unit_cube(frame, rows, columns)
            found.append(graph.voxels.at(places.reshape(-1, 3).contiguous().numpy()))
        return found

    def looks(
        self, graph: SurfaceGraph, of_pixels: Sequence[Int32[ndarray, "_pixels"]]
    ) -> tuple[Float32[ndarray, "voxels channels"], Bool[ndarray, "voxels"]]:
        """Features of the voxels in the images, see `appearance.described`, and which voxels any image shows.

        Args:
            graph: the voxels.
            of_pixels: what `voxels_of_pixels` gives.
        """
        swept = list(self._swept())

        def images() -> Iterator[tuple[Tensor, Tensor, ndarray]]:
            for frame in chosen_frames(len(self._views)):
                rows, columns = (axis.reshape(-1) for axis in swept[frame])
                places = torch.stack([columns, rows], dim=-1) + 0.5
                numbers = of_pixels[frame][(rows * self._views[frame].camera.width + columns).numpy()]
                yield self._colors(frame), places, numbers

        features, is_seen = mean_features(room_features().at, images(), graph.num_nodes)
        return described(graph, features, is_seen), is_seen

    def _swept(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Rows and columns [H, W] of every n-th pixel of each image."""
        cameras = [view.camera for view in self._views]
        stride = sweep_stride([(camera.height, camera.width) for camera in cameras], _MOST_POINTS)
        return (_pixels_of(frame, camera, stride) for frame, camera in enumerate(cameras))

    def _colors(self, frame: int) -> Float32[Tensor, "height width 3"]:
        return self._views[frame].color


def are_near(means: Float[Tensor, "gaussians 3"]) -> Bool[Tensor, "gaussians"]:
    """Which Gaussians are of the scene, and not a few far away, by which its voxels would become too large.

    Those are near that lie in the box of the middle 96 % along each axis, or no farther from it than it is wide.
    """
    low, high = (torch.from_numpy(bound).float() for bound in np.quantile(means.numpy(), [_FEW, 1 - _FEW], axis=0))
    margin = (high - low).max()
    return ((means >= low - margin) & (means <= high + margin)).all(dim=1)


def in_world(
    camera: PinholeCamera,
    rows: Int[Tensor, "*pixels"],
    columns: Int[Tensor, "*pixels"],
    depths: Float[Tensor, "*pixels"],
) -> Float[Tensor, "*pixels 3"]:
    """Points at planar depths of the centres of pixels."""
    fx, fy, cx, cy = camera.lens
    x, y = (columns + 0.5 - cx) / fx * depths, (rows + 0.5 - cy) / fy * depths
    return (torch.stack([x, y, depths], dim=-1) - camera.w2c[:, 3]) @ camera.w2c[:, :3]


def _pixels_of(frame: int, camera: PinholeCamera, stride: int) -> tuple[Tensor, Tensor]:
    pixels = swept_pixels(frame, (camera.height, camera.width), stride)
    return pixels[..., 1], pixels[..., 2]
