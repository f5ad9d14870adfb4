"""Small Gaussians in an antialiased image: the opacities of gsplat, the light that they stop, and their gradients."""

import math
from dataclasses import replace

import pytest
import torch
from gsplat.cuda._torch_impl import _fully_fused_projection, _quat_scale_to_covar_preci

from semantic_ns.splatting.project import Gaussians, PinholeCamera, every_nth, project
from semantic_ns.splatting.rasterize import rasterize
from support.random_gaussians import CAMERA, in_doubles, random_gaussians


def test_opacities_are_those_of_gsplat() -> None:
    gaussians, _ = random_gaussians(300)
    smaller = replace(gaussians, scales=0.2 * gaussians.scales)
    for given in (gaussians, smaller):
        wanted = in_doubles(given)
        view, (fx, fy, cx, cy) = torch.eye(4, dtype=torch.float64), CAMERA.lens.double()
        view[:3] = CAMERA.w2c.double()
        lens = torch.tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=torch.float64)
        covariances, _ = _quat_scale_to_covar_preci(wanted.quats, wanted.scales, compute_preci=False)
        assert covariances is not None
        *_, factors = _fully_fused_projection(
            wanted.means, covariances, view[None], lens[None], CAMERA.width, CAMERA.height, calc_compensations=True
        )
        assert factors is not None
        found = project(given, CAMERA, is_antialiased=True)
        is_visible = found.reach[:, 0] > 0
        expected = (wanted.opacities * factors[0]).float()
        torch.testing.assert_close(found.opacities[is_visible], expected[is_visible], atol=1e-5, rtol=1e-4)
        assert bool((found.opacities[is_visible] < 0.9 * given.opacities[is_visible]).any())
        # What is visible without it and lies in the image, but is not visible with it, would be fainter than 1/255.
        plain = project(given, CAMERA)
        is_inside = ((plain.at > 0) & (plain.at < torch.tensor([CAMERA.width, CAMERA.height]))).all(dim=1)
        is_fainter = (plain.reach[:, 0] > 0) & is_inside & ~is_visible
        assert bool((expected[is_fainter] < 1.02 / 255).all())


def one_gaussian(scale: float, opacity: float) -> tuple[Gaussians, PinholeCamera]:
    """One round Gaussian two units before the middle of an image of 64x64 pixels, of 32 pixels for each unit."""
    lens = torch.tensor([64.0, 64.0, 32.0, 32.0])
    camera = PinholeCamera(torch.eye(4)[:3], lens, 64, 64)
    mean, quat = torch.tensor([[0.0, 0.0, 2.0]]), torch.tensor([[1.0, 0.0, 0.0, 0.0]])
    return Gaussians(mean, quat, torch.full((1, 3), scale), torch.tensor([opacity])), camera


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_a_gaussian_stops_as_much_light_however_coarse_the_pixels(stride: int) -> None:
    gaussian, camera = one_gaussian(2 / 32, 0.9)  # of a standard deviation of two pixels of the finest image
    expected = 0.9 * 2 * math.pi * 2**2
    classic, smooth = (
        float(rasterize(gaussian, torch.ones(1, 1), every_nth(camera, stride), is_antialiased=mode)[2].sum())
        * stride**2
        for mode in (False, True)
    )
    assert smooth == pytest.approx(expected, rel=0.06)  # ends where alpha is 1/255
    assert classic > smooth
    if stride == 4:
        assert classic > 1.5 * expected


def test_a_gaussian_without_extent_stops_no_light_and_has_no_gradient() -> None:
    gaussian, camera = one_gaussian(0.0, 0.9)
    image, depth, opacity = rasterize(gaussian, torch.ones(1, 1), camera, is_antialiased=True)
    assert not bool(image.any() or depth.any() or opacity.any())
    given = gaussian.means, gaussian.quats, gaussian.scales, gaussian.opacities
    parts = [part.clone().requires_grad_() for part in given]
    _, _, opacity = rasterize(Gaussians(*parts), torch.ones(1, 1), camera, is_antialiased=True)
    opacity.sum().backward()
    for part in parts:
        assert part.grad is not None
        assert not bool(part.grad.any())


def test_a_long_thin_gaussian_keeps_the_light_that_doubles_give_it() -> None:
    gaussian, camera = one_gaussian(1.0, 0.8)
    quats = torch.tensor([[math.cos(math.pi / 8), 0.0, 0.0, math.sin(math.pi / 8)]])
    # In pixels 320 by 0.1, at 45 degrees, of which a c - b^2 before the blur would lose nearly all digits.
    needle = replace(gaussian, quats=quats, scales=torch.tensor([[10.0, 0.1 / 32, 1e-6]]))
    found = project(needle, camera, is_antialiased=True)
    long, thin = 320.0**2, 0.1**2
    factor = math.sqrt(long * thin / ((long + 0.3) * (thin + 0.3)))
    assert float(found.reach[0, 0]) > 0
    assert float(found.opacities[0]) == pytest.approx(0.8 * factor, rel=1e-3)
