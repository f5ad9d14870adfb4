"""Rays by our kernel against nerfstudio's ``Cameras``."""

import pytest
import torch
from nerfstudio.cameras.cameras import Cameras, CameraType
from nerfstudio.cameras.rays import RayBundle

from semantic_ns.geometry.rays import FastRayGenerator, are_simple, rays_of_image
from support.cameras import make_cameras
from support.reference import assert_same_with_any_number_of_threads


def assert_same_rays(a: RayBundle, b: RayBundle) -> None:
    assert a.shape == b.shape
    for name in ("origins", "directions", "camera_indices"):
        torch.testing.assert_close(getattr(a, name), getattr(b, name), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(a.pixel_area, b.pixel_area, rtol=1e-3, atol=1e-7)
    torch.testing.assert_close(a.metadata["directions_norm"], b.metadata["directions_norm"])


@pytest.mark.parametrize("num_rays", [0, 1, 77])
def test_rays_of_pixels_equal_nerfstudios(num_rays: int) -> None:
    cameras = make_cameras()
    torch.manual_seed(num_rays)
    indices = (torch.rand(num_rays, 3) * torch.tensor([3, 24, 32])).long()
    ours = FastRayGenerator(cameras)(indices)
    assert_same_rays(ours, cameras.generate_rays(indices[:, :1], coords=indices[:, 1:] + 0.5))


def test_rays_of_an_image_equal_nerfstudios() -> None:
    camera = make_cameras()[1:2]
    assert are_simple(camera)
    assert_same_rays(rays_of_image(camera), camera.generate_rays(camera_indices=0, keep_shape=True))


@pytest.mark.parametrize("cameras", [make_cameras(CameraType.FISHEYE), make_cameras(distortion=0.1)])
def test_other_cameras_are_left_to_nerfstudio(cameras: Cameras) -> None:
    indices = torch.tensor([[2, 3, 4], [0, 23, 31]])
    assert not are_simple(cameras)
    ours = FastRayGenerator(cameras)(indices)
    assert_same_rays(ours, cameras.generate_rays(indices[:, :1], coords=indices[:, 1:] + 0.5))


def test_any_number_of_threads_gives_the_same_rays() -> None:
    def everything() -> list[torch.Tensor]:
        rays = rays_of_image(make_cameras()[0:1])
        return [rays.origins, rays.directions, rays.pixel_area]

    assert_same_with_any_number_of_threads(everything)
