"""Cameras without a scene."""

import torch
from nerfstudio.cameras.cameras import Cameras, CameraType


def make_cameras(camera_type: CameraType = CameraType.PERSPECTIVE, distortion: float = 0.0) -> Cameras:
    generator = torch.Generator().manual_seed(0)
    rotations = torch.linalg.qr(torch.randn(3, 3, 3, generator=generator))[0]
    return Cameras(
        camera_to_worlds=torch.cat([rotations, torch.randn(3, 3, 1, generator=generator)], dim=-1),
        fx=torch.tensor([[30.0], [25.0], [40.0]]),
        fy=torch.tensor([[31.0], [27.0], [39.0]]),
        cx=torch.tensor([[16.0], [15.3], [17.0]]),
        cy=torch.tensor([[12.0], [11.0], [12.9]]),
        width=32,
        height=24,
        distortion_params=torch.full((3, 6), distortion),
        camera_type=camera_type,
    )
