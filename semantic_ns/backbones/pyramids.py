"""Pyramids of features of an image at two resolutions."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from semantic_ns.backbones import efficientnet_lite
from semantic_ns.multi_view.convolutions import UNet, conv2d


class PretrainedPyramid(nn.Module):
    """Maps of EfficientNet-Lite0, brought to one width and added up (Lin et al. 2017); its weights are fixed.

    Nothing stands between its maps and the sum but one linear layer each: behind a U-Net with norms, classes took ten
    times the steps to learn.

    Args:
        narrow: channels at 1/2 of the resolution.
        wide: channels at 1/4 of the resolution.
    """

    divisor = efficientnet_lite.DIVISOR

    def __init__(self, narrow: int, wide: int) -> None:
        super().__init__()
        first, *others = efficientnet_lite.CHANNELS
        self.trunk = efficientnet_lite.EfficientNetLite0().requires_grad_(False)
        self.lateral = nn.ModuleList(nn.Conv2d(channels, wide, 1) for channels in others)
        self.mix = nn.Sequential(nn.LeakyReLU(0.01), conv2d(wide, wide))
        self.detail = nn.Conv2d(3, narrow, 5, 2, 2)
        self.first, self.down = nn.Conv2d(first, narrow, 1), nn.Conv2d(wide, narrow, 1)
        self.sharpen = nn.Sequential(nn.LeakyReLU(0.01), conv2d(narrow, narrow))

    def forward(self, images: Float[Tensor, "images 3 height width"]) -> tuple[Tensor, Tensor]:
        """Maps of images in 0..1 at 1/2 and at 1/4 of the resolution."""
        with torch.no_grad():
            first, *others = self.trunk(images)
        size = others[0].shape[-2:]
        summed = sum(resized(lateral(level), size) for lateral, level in zip(self.lateral, others, strict=True))
        quarter = self.mix(summed)
        larger = resized(self.down(quarter), first.shape[-2:])
        return self.sharpen(self.first(first) + self.detail(images - 0.5) + larger), quarter


class PlainPyramid(nn.Module):
    """The same maps from a U-Net that knows nothing at first."""

    def __init__(self, narrow: int, wide: int) -> None:
        super().__init__()
        self.unet = UNet(3, (narrow, wide, 96, 128), stem_stride=2)
        self.divisor = self.unet.divisor

    def forward(self, images: Float[Tensor, "images 3 height width"]) -> tuple[Tensor, Tensor]:
        """Maps of images in 0..1 at 1/2 and at 1/4 of the resolution."""
        half, quarter, *_ = self.unet(images - 0.5)
        return half, quarter


def resized(image: Float[Tensor, "images channels rows columns"], size: Sequence[int]) -> Tensor:
    """An image at another size (rows, columns), bilinear."""
    if tuple(image.shape[-2:]) == tuple(size):
        return image
    return F.interpolate(image, tuple(size), mode="bilinear", align_corners=False)


def padded(image: Float[Tensor, "images channels height width"], divisor: int) -> Tensor:
    """An image that goes on to the right and below until its size can be divided."""
    height, width = image.shape[-2:]
    if height % divisor == 0 and width % divisor == 0:
        return image
    return F.pad(image, (0, -width % divisor, 0, -height % divisor), mode="replicate")
