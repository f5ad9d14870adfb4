"""Frames whose holes are filled where they lie, and features that are not copied."""

from typing import Literal

import pytest
import torch
from torch import Tensor

from semantic_ns.geometry.pull_and_push import pull_and_push
from semantic_ns.splatting.classes_numba import most_likely
from semantic_ns.splatting.frame_memory import FrameMemory
from semantic_ns.splatting.rasterize import _fill_in_place, draw, fill_light, rasterize
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


@pytest.mark.parametrize("fills", ["nothing", "features", "all"])
def test_features_that_are_not_copied_are_drawn_to_the_bit_as_those_that_are(
    fills: Literal["nothing", "features", "all"],
) -> None:
    gaussians, colors = random_gaussians(300)
    classes = torch.rand(300, 5, generator=torch.Generator().manual_seed(1)) - 0.5
    classes = classes.clamp(min=0)  # most classes of a Gaussian are 0
    image, depth, opacity = rasterize(gaussians, torch.cat([colors, classes], dim=1), CAMERA)
    filled, num_filled = fill_light(image, opacity), {"nothing": 0, "features": colors.shape[1], "all": None}[fills]
    expected = torch.cat([filled[..., :num_filled], image[..., filled[..., :num_filled].shape[2] :]], dim=2)

    def features_of(rows: Tensor) -> list[Tensor]:
        return [colors[rows]]

    found = draw(gaussians, features_of, CAMERA, FrameMemory(), more=classes, fills=fills)
    for one, other in zip(found, (expected, depth, opacity), strict=False):
        assert torch.equal(one, other)
    assert found.coarse.shape[:2] == ((0, 41) if fills == "nothing" else (14, 21))
    assert 0.2 < float(opacity.mean()) < 0.99


def labels_pixel_by_pixel(shares: Tensor, opacity: Tensor, least: float, least_share: float) -> Tensor:
    """The twin: the class of each pixel of shares whose holes are filled."""
    labels = torch.full(opacity.shape, -1)
    for y in range(len(shares)):
        for x in range(shares.shape[1]):
            values = [max(float(share), least) for share in shares[y, x]]
            if float(shares[y, x].sum()) > least_share * float(opacity[y, x]):
                labels[y, x] = values.index(max(values))
    return labels


@pytest.mark.parametrize("size", [(1, 1), (7, 6), (20, 30)])
@pytest.mark.parametrize("seed", [0, 1])
def test_classes_of_pixels_are_those_of_shares_whose_holes_are_filled(size: tuple[int, int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    opacity = torch.rand(size, generator=generator) ** 0.2
    opacity[torch.rand(size, generator=generator) > 0.8] = 0.01
    shares = torch.rand((*size, 4), generator=generator) ** 3
    shares[: size[0] // 3] *= torch.tensor([1.0, 0.0, 0.0, 0.0])
    shares[:, : size[1] // 3] *= 1e-3
    shares *= (opacity / shares.sum(dim=-1).clamp(min=1.0))[..., None]
    shares[-1, -1] = 0.0
    found = torch.empty(size, dtype=torch.int64)
    coarse = _fill_in_place(whole := shares.clone(), opacity, FrameMemory(), kept=0, last=0)
    most_likely(whole.numpy(), opacity.numpy(), coarse.numpy(), 1e-6, 1e-3, found.numpy())
    filled = fill_light(shares, opacity)
    assert torch.equal(found, labels_pixel_by_pixel(filled, opacity, 1e-6, 1e-3))
    as_it_is = torch.empty(size, dtype=torch.int64)
    most_likely(shares.numpy(), opacity.numpy(), shares[:0].numpy(), 1e-6, 1e-3, as_it_is.numpy())
    assert torch.equal(as_it_is, labels_pixel_by_pixel(shares, opacity, 1e-6, 1e-3))
    assert size == (1, 1) or not torch.equal(found, as_it_is)  # what lies around decides in some pixels
