"""Pixels, points and surfaces of a pinhole camera. OpenCV axes, pixel centres at +0.5, intrinsics fx, fy, cx, cy."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from numpy import ndarray

_LARGEST_BEND = 0.02
_CROSS = ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))
_SQUARE = ((0, 0), *((row, column) for row in (-1, 0, 1) for column in (-1, 0, 1) if row or column))


@dataclass(frozen=True)
class Pixels:
    """Pixels by the number of their image in a stack of images, row and column."""

    image: Int[ndarray, "points"]
    row: Int[ndarray, "points"]
    column: Int[ndarray, "points"]

    def __getitem__(self, chosen: Bool[ndarray, "points"]) -> "Pixels":
        return Pixels(self.image[chosen], self.row[chosen], self.column[chosen])

    def of(self, images: Shaped[ndarray, "images height width"]) -> Shaped[ndarray, "points"]:
        """The values at the pixels."""
        return images[self.image, self.row, self.column]

    def are_inner(self, size: tuple[int, int]) -> Bool[ndarray, "points"]:
        """Whether the pixels have eight neighbours in an image of `size` = (width, height)."""
        width, height = size
        return (self.row > 0) & (self.row < height - 1) & (self.column > 0) & (self.column < width - 1)

    def moved(self, row: int, column: int) -> "Pixels":
        """The pixels so many rows and columns on."""
        return Pixels(self.image, self.row + row, self.column + column)

    def around(
        self, images: Shaped[ndarray, "images height width"], steps: Sequence[tuple[int, int]]
    ) -> Shaped[ndarray, "steps points"]:
        """The values so many rows and columns on, for several such steps; pixels and places lie inside the images."""
        _, height, width = images.shape
        # One number for each place: an index of three parts would be worked out anew for every step.
        place = (self.image * height + self.row) * width + self.column
        return np.stack([images.reshape(-1).take(place + (row * width + column)) for row, column in steps])


@dataclass(frozen=True)
class Surface:
    """What depth says about the surface at some pixels.

    Attributes:
        inverse: 1 / planar depth, 0 where unknown; affine in the pixel on a plane.
        by_column: its change per column.
        by_row: its change per row.
        is_plane: whether depth is known here and at four neighbours and 1 / depth bends by no more than 2 %, so
            that there is neither an edge nor a crease.
    """

    inverse: Float[ndarray, "points"]
    by_column: Float[ndarray, "points"]
    by_row: Float[ndarray, "points"]
    is_plane: Bool[ndarray, "points"]

    @classmethod
    def at(
        cls,
        pixels: Pixels,
        depth: Float[ndarray, "images height width"],
        intrinsics: Float[ndarray, "images 4"],
        factor: float = 1.0,
        ray_power: int = 0,
        step: int = 1,
    ) -> "Surface":
        """The surface at pixels of images whose planar depth is `depth * factor * |ray|^ray_power`.

        Args:
            pixels: positions at least `step` pixels inside the image.
            depth: values of the images, 0 where unknown.
            intrinsics: intrinsics of the images.
            factor: factor of the formula above.
            ray_power: exponent of the formula above.
            step: distance in pixels of the neighbours; larger ones bear more noise.
        """
        steps = [(row * step, column * step) for row, column in _CROSS]
        values = pixels.around(depth, steps).astype(np.float64) * factor
        if ray_power:
            cross = [pixels.moved(row, column) for row, column in steps]
            values *= np.stack([np.linalg.norm(rays(place, intrinsics), axis=-1) for place in cross]) ** ray_power
        is_known = (values > 0).all(axis=0)
        middle, up, down, left, right = 1 / np.where(values > 0, values, np.inf)
        bend = np.maximum(np.abs(up + down - 2 * middle), np.abs(left + right - 2 * middle))
        is_plane = is_known & (bend <= _LARGEST_BEND * middle)
        return cls(middle, (right - left) / (2 * step), (down - up) / (2 * step), is_plane)

    def normals(self, pixels: Pixels, intrinsics: Float[ndarray, "images 4"]) -> Float[ndarray, "points 3"]:
        """Unit normals in the camera frame, towards the camera: the plane n.X = 1 has 1/z = n.(x, y, 1)."""
        along_xy = intrinsics[pixels.image, :2] * np.stack([self.by_column, self.by_row], axis=-1)
        along_z = self.inverse - (along_xy * rays(pixels, intrinsics)[:, :2]).sum(axis=1)
        normal = -np.concatenate([along_xy, along_z[:, None]], axis=1)
        return normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)


def are_inside_regions(pixels: Pixels, labels: Int[ndarray, "images height width"]) -> Bool[ndarray, "points"]:
    """Whether inner pixels and their eight neighbours have one label."""
    own, *others = pixels.around(labels, _SQUARE)
    return np.logical_and.reduce([other == own for other in others])


def rays(pixels: Pixels, intrinsics: Float[ndarray, "images 4"]) -> Float[ndarray, "points 3"]:
    """Direction of the ray through each pixel centre in the camera frame, z = 1; times planar depth it is the point.

    Its length is the distance along the ray per planar depth.
    """
    fx, fy, cx, cy = intrinsics[pixels.image].T
    x, y = (pixels.column + 0.5 - cx) / fx, (pixels.row + 0.5 - cy) / fy
    return np.stack([x, y, np.ones_like(x)], axis=-1)


def project(points: Float[ndarray, "points 3"], intrinsics: Float[ndarray, "points 4"]) -> Float[ndarray, "points 2"]:
    """Column and row in pixels of points of the camera frame; without meaning behind the camera."""
    z = np.where(points[:, 2] > 0, points[:, 2], 1.0)
    return intrinsics[:, :2] * points[:, :2] / z[:, None] + intrinsics[:, 2:]
