"""A segmenter looks once more at what sources have been rendered to."""

import pytest
import torch
from torch.nn import functional as F

from semantic_ns.methods.gsnerf_small.encoder import Encoder
from semantic_ns.methods.gsnerf_small.sizes import Sizes


@torch.no_grad()
@pytest.mark.parametrize("size", [(32, 48), (21, 34)])
def test_a_second_look_is_a_product_of_experts(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    encoder = Encoder(Sizes(encoder="unet"), 5).eval()
    images, logits = torch.rand(2, 3, *size), 3 * torch.randn(2, 5, *size)
    found = encoder.with_second_look(logits, images).softmax(dim=1)
    seen = F.interpolate(encoder.segment(images), size, mode="bilinear", align_corners=False)
    for image, row, column in ((0, 0, 0), (1, 11, 30), (0, 20, 7)):
        first, second = (values[image, :, row, column].softmax(dim=0) for values in (logits, seen))
        product = first * second**0.3
        torch.testing.assert_close(found[image, :, row, column], product / product.sum())


@torch.no_grad()
def test_colours_outside_their_range_are_seen_as_its_ends() -> None:
    torch.manual_seed(0)
    encoder = Encoder(Sizes(encoder="unet"), 5).eval()
    images, logits = 3 * torch.rand(1, 3, 24, 32) - 1, torch.zeros(1, 5, 24, 32)
    torch.testing.assert_close(
        encoder.with_second_look(logits, images), encoder.with_second_look(logits, images.clamp(0, 1))
    )
