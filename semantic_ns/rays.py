"""Rays of cameras, fast on the CPU where the cameras are simple."""

from typing import Any

import torch
from jaxtyping import Int64
from nerfstudio.cameras.cameras import Cameras, CameraType
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.model_components.ray_generators import RayGenerator
from torch import Tensor


def are_simple(cameras: Cameras) -> bool:
    """Whether a kernel knows these cameras: perspective without distortion, on the CPU, one batch axis at most."""
    return (
        cameras.camera_to_worlds.device.type == "cpu"
        and len(cameras.shape) <= 1
        and cameras.times is None
        and not cameras.metadata
        and bool((cameras.camera_type == CameraType.PERSPECTIVE.value).all())
        and (cameras.distortion_params is None or not bool(cameras.distortion_params.any()))
    )


def perspective_rays(cameras: Cameras, indices: Int64[Tensor, "rays 3"]) -> RayBundle:
    """Rays through the centres of pixels, equal to ``Cameras.generate_rays`` for simple cameras.

    Args:
        cameras: for which :func:`are_simple` holds.
        indices: camera, row and column of each pixel.
    """
    from semantic_ns.kernels import rays_numba

    num_rays = indices.shape[0]
    origins, directions = torch.empty(num_rays, 3), torch.empty(num_rays, 3)
    pixel_area, norms = torch.empty(num_rays, 1), torch.empty(num_rays, 1)
    intrinsics = torch.cat([x.reshape(-1, 1) for x in (cameras.fx, cameras.fy, cameras.cx, cameras.cy)], dim=1)
    rays_numba.perspective_rays(
        cameras.camera_to_worlds.reshape(-1, 3, 4).float().contiguous().numpy(), intrinsics.float().numpy(),
        indices.contiguous().numpy(), origins.numpy(), directions.numpy(), pixel_area.numpy(), norms.numpy(),
    )  # fmt: skip
    return RayBundle(
        origins=origins,
        directions=directions,
        pixel_area=pixel_area,
        camera_indices=indices[:, :1],
        metadata={"directions_norm": norms},
    )


def rays_of_image(cameras: Cameras) -> RayBundle:
    """All rays of the only camera, [H, W], for which :func:`are_simple` holds."""
    height, width = int(cameras.height.reshape(-1)[0]), int(cameras.width.reshape(-1)[0])
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    indices = torch.stack([torch.zeros_like(rows), rows, columns], dim=-1).view(-1, 3)
    return perspective_rays(cameras, indices).reshape((height, width))


class FastRayGenerator(RayGenerator):
    """nerfstudio's ray generator, by one kernel where the cameras are simple."""

    def __init__(self, cameras: Cameras) -> None:
        super().__init__(cameras)
        self._is_simple = are_simple(cameras)

    def forward(self, ray_indices: Int64[Tensor, "rays 3"]) -> Any:
        """A ray bundle [rays] through the pixels (camera, row, column)."""
        if self._is_simple and ray_indices.device.type == "cpu":
            return perspective_rays(self.cameras, ray_indices)
        return super().forward(ray_indices)
