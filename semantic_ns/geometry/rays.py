"""Rays of cameras, in few operations where the cameras are simple."""

from typing import Any

import torch
from jaxtyping import Float, Int64
from nerfstudio.cameras.cameras import Cameras, CameraType
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.model_components.ray_generators import RayGenerator
from torch import Tensor


def are_simple(cameras: Cameras) -> bool:
    """Whether the formula here knows these cameras: perspective without distortion, one batch axis at most."""
    return (
        len(cameras.shape) <= 1
        and cameras.times is None
        and not cameras.metadata
        and bool((cameras.camera_type == CameraType.PERSPECTIVE.value).all())
        and (cameras.distortion_params is None or not bool(cameras.distortion_params.any()))
    )


def intrinsics_of(cameras: Cameras) -> Float[Tensor, "cameras 4"]:
    """``fx fy cx cy`` of each camera, in pixels."""
    return torch.cat([x.reshape(-1, 1) for x in (cameras.fx, cameras.fy, cameras.cx, cameras.cy)], dim=1).float()


def poses_of(cameras: Cameras) -> Float[Tensor, "cameras 3 4"]:
    """Camera to world with x right, y up, z backward."""
    return cameras.camera_to_worlds.reshape(-1, 3, 4).float().contiguous()


def perspective_rays(
    poses: Float[Tensor, "cameras 3 4"], intrinsics: Float[Tensor, "cameras 4"], indices: Int64[Tensor, "rays 3"]
) -> RayBundle:
    """Rays through the centres of pixels, equal to ``Cameras.generate_rays`` for simple cameras.

    Args:
        poses: poses as of :func:`poses_of`, on the device of the result.
        intrinsics: intrinsics as of :func:`intrinsics_of`.
        indices: camera, row and column of each pixel.
    """
    make = _rays_by_kernel if poses.device.type == "cpu" else rays_by_formula
    origins, directions, pixel_area, norms = make(poses, intrinsics, indices)
    return RayBundle(
        origins=origins,
        directions=directions,
        pixel_area=pixel_area,
        camera_indices=indices[:, :1],
        metadata={"directions_norm": norms},
    )


_Rays = tuple[Float[Tensor, "rays 3"], Float[Tensor, "rays 3"], Float[Tensor, "rays 1"], Float[Tensor, "rays 1"]]
"""Origins, unit directions, areas of pixels at distance 1, and lengths of the directions before that was made 1."""


def _rays_by_kernel(poses: Tensor, intrinsics: Tensor, indices: Tensor) -> _Rays:
    from semantic_ns.geometry import rays_numba

    num_rays = indices.shape[0]
    origins, directions = torch.empty(num_rays, 3), torch.empty(num_rays, 3)
    pixel_area, norms = torch.empty(num_rays, 1), torch.empty(num_rays, 1)
    rays_numba.perspective_rays(
        poses.numpy(), intrinsics.numpy(), indices.contiguous().numpy(),
        origins.numpy(), directions.numpy(), pixel_area.numpy(), norms.numpy(),
    )  # fmt: skip
    return origins, directions, pixel_area, norms


def rays_by_formula(
    poses: Float[Tensor, "cameras 3 4"], intrinsics: Float[Tensor, "cameras 4"], indices: Int64[Tensor, "rays 3"]
) -> _Rays:
    """The rays of the kernel, on any device and without asking it for anything."""
    pose, (focal, centre) = poses[indices[:, 0]], intrinsics[indices[:, 0]].view(-1, 2, 2).unbind(dim=1)
    pixel = indices[:, 1:].flip(-1).float() + 0.5  # column, row
    x, y = ((pixel - centre) / focal).unsqueeze(-1).unbind(dim=1)
    columns = pose.unbind(dim=-1)
    # Of the pixel, of the one to its right and of the one below.
    axis = columns[0] * x - columns[1] * y - columns[2]
    points = torch.stack([axis, axis + columns[0] / focal[:, :1], axis - columns[1] / focal[:, 1:]])
    norms = points.norm(dim=-1, keepdim=True)
    units = points / norms
    sides = (units[1:] - units[:1]).norm(dim=-1, keepdim=True)
    return columns[3].contiguous(), units[0], sides[0] * sides[1], norms[0]


def rays_of_image(cameras: Cameras) -> RayBundle:
    """All rays of the only camera, [H, W], for which :func:`are_simple` holds."""
    height, width = int(cameras.height.reshape(-1)[0]), int(cameras.width.reshape(-1)[0])
    poses = poses_of(cameras)
    axes = (torch.arange(length, device=poses.device) for length in (height, width))
    rows, columns = torch.meshgrid(*axes, indexing="ij")
    indices = torch.stack([torch.zeros_like(rows), rows, columns], dim=-1).view(-1, 3)
    return perspective_rays(poses, intrinsics_of(cameras), indices).reshape((height, width))


def lengths_per_depth(cameras: Cameras, generator: RayGenerator, index: int) -> Float[Tensor, "height width"]:
    """Distance along the ray of each pixel of a camera per planar depth.

    Args:
        cameras: Cameras.
        generator: What gives their rays.
        index: Which camera.
    """
    height, width = (int(size[index]) for size in (cameras.height, cameras.width))
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    pixels = torch.stack([torch.full_like(rows, index), rows, columns], dim=-1)
    return generator(pixels.view(-1, 3)).metadata["directions_norm"].view(height, width)


class FastRayGenerator(RayGenerator):
    """nerfstudio's ray generator, by a kernel (CPU) or a few operations where the cameras are simple.

    The rays are on the device of the cameras, wherever the indices are.
    """

    def __init__(self, cameras: Cameras) -> None:
        super().__init__(cameras)
        self.image_coords = self.image_coords.to(cameras.camera_to_worlds.device)
        self._is_simple = are_simple(cameras)
        if self._is_simple:
            self._poses, self._intrinsics = poses_of(cameras), intrinsics_of(cameras)

    def forward(self, ray_indices: Int64[Tensor, "rays 3"]) -> Any:
        """A ray bundle [rays] through the pixels (camera, row, column)."""
        ray_indices = ray_indices.to(self.image_coords.device)
        if self._is_simple:
            return perspective_rays(self._poses, self._intrinsics, ray_indices)
        return super().forward(ray_indices)
