"""Frames whose holes are filled where they lie, and features that are not copied."""

import pytest
import torch
from torch import Tensor

from semantic_ns.geometry.pull_and_push import pull_and_push
from semantic_ns.splatting.frame_memory import FrameMemory
from semantic_ns.splatting.rasterize import draw, fill_light, rasterize
from support.random_gaussians import CAMERA, random_gaussians


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (2, 2), (7, 6), (13, 9), (33, 64)])
@pytest.mark.parametrize("channels", [1, 3, 11])
def test_the_kernel_fills_holes_as_pooling_and_interpolation_do(size: tuple[int, int], channels: int) -> None:
    generator = torch.Generator().manual_seed(size[0])
    opacity = torch.rand(size, generator=generator) * (torch.rand(size, generator=generator) > 0.6)
    opacity[-1, 0] = 1.0
    image = opacity[..., None] * torch.rand((*size, channels), generator=generator)
    expected = pull_and_push(image.permute(2, 0, 1), opacity, is_saturated=False).permute(1, 2, 0)
    before = image.clone()
    torch.testing.assert_close(fill_light(image, opacity), expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(image, before)


def test_a_single_pixel_without_light_stays_dark() -> None:
    assert not bool(fill_light(torch.zeros(1, 1, 2), torch.zeros(1, 1)).any())


@pytest.mark.parametrize("fills_holes", [True, False])
def test_features_that_are_not_copied_are_drawn_to_the_bit_as_those_that_are(fills_holes: bool) -> None:
    gaussians, colors = random_gaussians(300)
    classes = torch.rand(300, 5, generator=torch.Generator().manual_seed(1)) - 0.5
    classes = classes.clamp(min=0)  # most classes of a Gaussian are 0
    image, depth, opacity = rasterize(gaussians, torch.cat([colors, classes], dim=1), CAMERA)
    if fills_holes:
        image = fill_light(image, opacity)

    def features_of(rows: Tensor) -> list[Tensor]:
        return [colors[rows]]

    found = draw(gaussians, features_of, CAMERA, FrameMemory(), more=classes, fills_holes=fills_holes)
    for one, other in zip(found, (image, depth, opacity), strict=True):
        assert torch.equal(one, other)
    assert 0.2 < float(opacity.mean()) < 0.99
