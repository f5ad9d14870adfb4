"""Maps of the surface that the training images show: where rays end, in which colour, and how it is turned."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.rays import RayBundle
from numpy import ndarray
from torch import Tensor

from semantic_ns.datasets.training_depth import TrainingDepth
from semantic_ns.interfaces import RayGeneratorLike, SemanticModelLike
from semantic_ns.surface import maps_numba as kernels
from semantic_ns.surface.sweep import normals_of, sweep, swept_pixels

MOST_KNOWN = 2
"""Pixels that are looked at where depth is known, over the rays that are rendered where it is not: with each come 28
bytes of maps, which checkpoints hold, too."""
_SOME = 8
"""Distance of the pixels by which the share of unknown ones is told."""


@dataclass(frozen=True)
class SurfaceMaps:
    """The surface at every `stride`-th pixel of the training images.

    Attributes:
        stride: Distance of two pixels, along rows and columns; the first row and column are in the maps.
        depths: Distance along the unit ray, scene units.
        colors: RGB in 0..1, rendered or those of the images.
        normals: Normals of the surface, unit length, towards either side, scene frame.
    """

    stride: int
    depths: Float32[ndarray, "frames height width"]
    colors: Float32[ndarray, "frames height width 3"]
    normals: Float32[ndarray, "frames height width 3"]

    def at(
        self, pixels: Int64[ndarray, "rays 3"], colors: Float32[ndarray, "rays 3"]
    ) -> tuple[Float32[ndarray, "rays"], Float32[ndarray, "rays 3"]]:
        """Depth and normal of image pixels (frame, row, column) of the given colours.

        Of the four pixels of the maps around each, the one that looks most like it: it is on the same side of an edge.
        """
        chosen = np.empty((len(pixels), 2), np.int64)
        kernels.nearest_alike(self.depths, self.colors, pixels, colors, self.stride, chosen)
        where = (pixels[:, 0], chosen[:, 0], chosen[:, 1])
        return self.depths[where], self.normals[where]

    def pixels_of(self, numbers: Int64[ndarray, "rays"]) -> Int64[ndarray, "rays 3"]:
        """Frame, row and column in the images of pixels of the maps.

        Args:
            numbers: The numbers of these pixels, counted frame by frame and row by row from 0.
        """
        frames, rows, columns = np.unravel_index(numbers, self.depths.shape)
        return np.stack([frames, rows * self.stride, columns * self.stride], axis=-1).astype(np.int64)


def render_maps(
    model: SemanticModelLike,
    ray_generator: RayGeneratorLike,
    cameras: Cameras,
    num_rays: int,
    known: TrainingDepth | None = None,
) -> SurfaceMaps:
    """Depth, colour and normals at every n-th pixel of the training images, as the model shows them now.

    Args:
        model: The model, which renders rays [height, width] at evaluation to `rgb` and `depth`.
        ray_generator: A function that gives the rays of (camera, row, column).
        cameras: The cameras of the images, which are all of one size.
        num_rays: The number of rays over all images, about; it decides n, see `sweep_stride`.
        known: The depth of the images, which stands in for the rendered one where it is known.
    """

    def describe(pixels: Int64[Tensor, "height width 3"], rays: RayBundle) -> list[ndarray]:
        outputs = model.get_outputs_for_camera_ray_bundle(rays)
        depth = outputs["depth"]
        if known is not None:
            depth = known.where_known(pixels, depth[..., 0])[..., None]
        normals = normals_of(rays.origins + rays.directions * depth)
        return [tensor.cpu().numpy() for tensor in (depth[..., 0], outputs["rgb"], normals)]

    stride, frames = sweep(model, ray_generator, cameras, num_rays, describe)
    return SurfaceMaps(stride, *(np.stack(maps) for maps in zip(*frames, strict=True)))


def maps_of_known_depth(
    model: SemanticModelLike,
    ray_generator: RayGeneratorLike,
    cameras: Cameras,
    num_rays: int,
    known: TrainingDepth,
    image_of: Callable[[int], Float[Tensor, "height width 3"]],
) -> SurfaceMaps:
    """Depth, normals and the colours of the images, where most depth is known: the model is asked for the rest alone.

    Nothing is rendered where depth is known, so that more pixels are looked at. Colours are those of the images, since
    their outlines are where those of the depth are; rendered ones are softer.

    Args:
        model: The model, which renders rays [1, pixels] at evaluation to `depth`.
        ray_generator: A function that gives the rays of (camera, row, column).
        cameras: The cameras of the images, which are all of one size.
        num_rays: The number of rays that are rendered over all images, about; at most `MOST_KNOWN` times as many
            pixels are looked at.
        known: The depth of the images.
        image_of: A function that gives the image of a number, RGB in 0..1.
    """

    def describe(pixels: Int64[Tensor, "height width 3"], rays: RayBundle) -> list[ndarray]:
        depth = known.where_known(pixels, torch.zeros(pixels.shape[:2], device=rays.origins.device))
        is_unknown = depth <= 0
        if is_unknown.any():
            rendered = model.get_outputs_for_camera_ray_bundle(rays[is_unknown].reshape((1, -1)))["depth"]
            depth[is_unknown] = rendered.reshape(-1).to(depth.device)
        frame, rows, columns = pixels.unbind(dim=-1)
        colors = image_of(int(frame[0, 0]))[rows, columns]
        normals = normals_of(rays.origins + rays.directions * depth[..., None])
        return [tensor.cpu().numpy() for tensor in (depth, colors, normals)]

    wanted = round(num_rays / max(1 - share_of_known(known, cameras), 1 / MOST_KNOWN))
    stride, frames = sweep(model, ray_generator, cameras, wanted, describe)
    return SurfaceMaps(stride, *(np.stack(maps) for maps in zip(*frames, strict=True)))


def share_of_known(known: TrainingDepth, cameras: Cameras) -> float:
    """The share of pixels whose depth is known, by every eighth one along rows and columns of images of one size."""
    size = int(cameras.height[0]), int(cameras.width[0])
    some = (swept_pixels(frame, size, _SOME) for frame in range(len(cameras)))
    return float(np.mean([(known.at(pixels) > 0).float().mean().item() for pixels in some]))
