"""Rays of undistorted perspective cameras, as nerfstudio's ``Cameras`` makes them by some fifty small operations."""

from typing import no_type_check

import numpy as np
from numba import prange

from semantic_ns.kernels.compilation import inlined_part, kernel


@inlined_part
@no_type_check
def _direction(c2w, x, y):
    """World direction of a point of the image plane z = -1, and its length before it is normalised to 1."""
    dx = c2w[0, 0] * x + c2w[0, 1] * y - c2w[0, 2]
    dy = c2w[1, 0] * x + c2w[1, 1] * y - c2w[1, 2]
    dz = c2w[2, 0] * x + c2w[2, 1] * y - c2w[2, 2]
    norm = np.sqrt(dx * dx + dy * dy + dz * dz)
    return dx / norm, dy / norm, dz / norm, norm


@kernel
@no_type_check
def perspective_rays(c2w, intrinsics, indices, origins, directions, pixel_area, norms):
    """Fill the rays through the centres of the pixels ``indices`` [N, 3] (camera, row, column).

    ``c2w`` [cameras, 3, 4] camera to world with x right, y up, z backward; ``intrinsics`` [cameras, 4] fx fy cx cy.
    """
    for n in prange(indices.shape[0]):
        camera = indices[n, 0]
        fx, fy = intrinsics[camera, 0], intrinsics[camera, 1]
        x = (np.float32(indices[n, 2]) + np.float32(0.5) - intrinsics[camera, 2]) / fx
        y = -(np.float32(indices[n, 1]) + np.float32(0.5) - intrinsics[camera, 3]) / fy
        ax, ay, az, norm = _direction(c2w[camera], x, y)
        rx, ry, rz, _ = _direction(c2w[camera], x + np.float32(1) / fx, y)
        dx, dy, dz, _ = _direction(c2w[camera], x, y - np.float32(1) / fy)
        to_right = (ax - rx) * (ax - rx) + (ay - ry) * (ay - ry) + (az - rz) * (az - rz)
        down = (ax - dx) * (ax - dx) + (ay - dy) * (ay - dy) + (az - dz) * (az - dz)
        for axis in range(3):
            origins[n, axis] = c2w[camera, axis, 3]
        directions[n, 0], directions[n, 1], directions[n, 2] = ax, ay, az
        pixel_area[n, 0] = np.sqrt(to_right * down)
        norms[n, 0] = norm
