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

_MOST_POINTS = 2_400_000
"""Pixels over all images from which voxels are made, about; of more, every n-th one along rows and columns is."""
MOST_KEPT = 256 * 2**20
"""Bytes of what pixels show that are kept, and of their voxels: those of some 400 images of 320x240."""
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
        most_kept: bytes of what pixels show that are kept; that of further images is found anew each time.

    Attributes:
        gaussians: the Gaussians.
        views: the training images.
        is_near: those that are of the scene, see `are_near`.
    """

    @torch.no_grad()
    def __init__(
        self, gaussians: Gaussians, views: Sequence[View], is_antialiased: bool = False, most_kept: int = MOST_KEPT
    ) -> None:
        self.gaussians, self.views = gaussians, views
        self.is_near = are_near(gaussians.means)
        near = gaussians.means[self.is_near]
        self._low = near.amin(dim=0)
        self._side = float((near.amax(dim=0) - self._low).max().clamp(min=1e-6))
        self._is_antialiased, self._memory = is_antialiased, FrameMemory()
        self._kept: dict[int, SeenPixels] = {}
        self._room = most_kept

    @torch.no_grad()
    def pixels(self, frame: int) -> SeenPixels:
        """What the pixels of an image show."""
        found = self._kept.get(frame)
        if found is None:
            found = SeenPixels.of(self.gaussians, self.views[frame], self._is_antialiased, self._memory)
            num_bytes = 2 * found.depths.numel() * found.depths.element_size()
            if num_bytes <= self._room:
                self._kept[frame] = found
                self._room -= num_bytes
        return found

    def in_unit_cube(
        self, frame: int, rows: Int[Tensor, "*pixels"], columns: Int[Tensor, "*pixels"]
    ) -> Float[Tensor, "*pixels 3"]:
        """Where pixels of an image lie in the cube around the near Gaussians; outside it where they show nothing."""
        depths = self.pixels(frame).depths[rows, columns]
        points = in_world(self.views[frame].camera, rows, columns, depths)
        found = (points - self._low) / self._side * 0.998 + 0.001
        return torch.where((depths > 0)[..., None], found, -1.0)

    @cached_property
    def points(self) -> SurfacePoints:
        """Points of every n-th pixel, with the colours of the images."""
        parts: tuple[list[ndarray], ...] = [], [], []
        for frame, view in enumerate(self.views):
            rows, columns = self._swept(frame)
            places = self.in_unit_cube(frame, rows, columns)
            is_inside = ((places >= 0) & (places < 1)).all(dim=-1)
            for part, values in zip(parts, (places, view.color[rows, columns], normals_of(places)), strict=True):
                part.append(values[is_inside].numpy())
        return SurfacePoints(*(np.concatenate(part) for part in parts))

    def points_of(self, frame: int) -> SurfacePoints:
        """What all pixels of an image show, row by row; outside the cube where they show nothing."""
        view = self.views[frame]
        places = self.in_unit_cube(frame, *_pixels_of(frame, view.camera, 1))
        parts = places, view.color, normals_of(places)
        return SurfacePoints(*(part.reshape(-1, 3).contiguous().numpy() for part in parts))

    def voxels_of(self, frame: int, graph: SurfaceGraph) -> Int32[ndarray, "_pixels"]:
        """The voxel that each pixel of an image shows, row by row, -1 for none."""
        rows, columns = _pixels_of(frame, self.views[frame].camera, 1)
        return graph.voxels.at(self.in_unit_cube(frame, rows, columns).reshape(-1, 3).contiguous().numpy())

    def looks(self, graph: SurfaceGraph) -> tuple[Float32[ndarray, "voxels channels"], Bool[ndarray, "voxels"]]:
        """Features of the voxels in the images, see `appearance.described`, and which voxels any image shows."""

        def images() -> Iterator[tuple[Tensor, Tensor, ndarray]]:
            for frame in chosen_frames(len(self.views)):
                rows, columns = (axis.reshape(-1) for axis in self._swept(frame))
                numbers = graph.voxels.at(self.in_unit_cube(frame, rows, columns).contiguous().numpy())
                yield self.views[frame].color, torch.stack([columns, rows], dim=-1) + 0.5, numbers

        features, is_seen = mean_features(room_features().at, images(), graph.num_nodes)
        return described(graph, features, is_seen), is_seen

    def _swept(self, frame: int) -> tuple[Tensor, Tensor]:
        """Rows and columns [H, W] of every n-th pixel of an image."""
        sizes = [(view.camera.height, view.camera.width) for view in self.views]
        return _pixels_of(frame, self.views[frame].camera, sweep_stride(sizes, _MOST_POINTS))


def are_near(means: Float[Tensor, "gaussians 3"]) -> Bool[Tensor, "gaussians"]:
    """Which Gaussians are of the scene, and not a few far away, by which its voxels would become too large.

    Those are near that lie in the box of the middle 96 % along each axis, or no farther from it than it is wide.
    """
    is_finite = means.isfinite().all(dim=1)
    bounds = np.quantile(means[is_finite].numpy(), [_FEW, 1 - _FEW], axis=0)
    low, high = (torch.from_numpy(bound).float() for bound in bounds)
    margin = (high - low).max()
    return is_finite & ((means >= low - margin) & (means <= high + margin)).all(dim=1)


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
