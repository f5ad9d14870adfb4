"""What single images give: features for matching, colours and classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from semantic_ns.backbones import efficientnet_lite
from semantic_ns.methods.gsnerf_small.sizes import Sizes
from semantic_ns.multi_view.convolutions import UNet, conv2d


@dataclass(frozen=True, eq=False)
class Encoded:
    """What the encoder makes of V source images by themselves.

    Attributes:
        images: the images, 0..1.
        quarter: features at 1/4 of the resolution.
        half: features at 1/2 of the resolution.
        match: features that are compared between views.
        appearance: features for colours.
        logits: class logits of each image.
    """

    images: Float[Tensor, "views 3 height width"]
    quarter: Float[Tensor, "views wide h4 w4"]
    half: Float[Tensor, "views narrow h2 w2"]
    match: Float[Tensor, "views match h4 w4"]
    appearance: Float[Tensor, "views match h2 w2"]
    logits: Float[Tensor, "views classes h2 w2"]

    @cached_property
    def probabilities(self) -> Float[Tensor, "views classes h2 w2"]:
        """Class probabilities of each image."""
        return self.logits.softmax(dim=1)

    def _parts(self) -> tuple[Tensor, ...]:
        return self.images, self.quarter, self.half, self.match, self.appearance, self.logits

    def __getitem__(self, chosen: Int[Tensor, "chosen"]) -> "Encoded":
        return Encoded(*(part[chosen] for part in self._parts()))

    @classmethod
    def stack(cls, images: Sequence["Encoded"]) -> "Encoded":
        """One list of images out of several."""
        return cls(*(torch.cat(parts) for parts in zip(*(image._parts() for image in images), strict=True)))


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


class Encoder(nn.Module):
    """Features for matching, colours and classes from one image."""

    def __init__(self, sizes: Sizes, num_classes: int) -> None:
        super().__init__()
        narrow, wide = sizes.encoder_widths
        self.pyramid = (PretrainedPyramid if sizes.encoder == "lite0" else PlainPyramid)(narrow, wide)
        self.match = nn.Conv2d(wide, sizes.match_channels, 3, padding=1)
        self.appearance = nn.Conv2d(narrow, sizes.match_channels, 3, padding=1)
        self.coarse_logits, self.fine_logits = nn.Conv2d(wide, num_classes, 1), nn.Conv2d(narrow, num_classes, 1)

    def forward(self, images: Float[Tensor, "views 3 height width"]) -> Encoded:
        """Features of images in 0..1, padded to what the pyramid can halve."""
        half, quarter = self._maps(images)
        return Encoded(images, quarter, half, self.match(quarter), self.appearance(half), self._logits(half, quarter))

    def segment(self, images: Float[Tensor, "views 3 height width"]) -> Float[Tensor, "views classes h2 w2"]:
        """Class logits of images by themselves, at 1/2 of the resolution."""
        return self._logits(*self._maps(images))

    def _maps(self, images: Tensor) -> tuple[Tensor, Tensor]:
        height, width = images.shape[-2:]
        maps = self.pyramid(padded(images, self.pyramid.divisor))
        half, quarter = (
            level[..., : -(-height // step), : -(-width // step)] for level, step in zip(maps, (2, 4), strict=True)
        )
        return half, quarter

    def _logits(self, half: Tensor, quarter: Tensor) -> Tensor:
        return resized(self.coarse_logits(quarter), half.shape[-2:]) + self.fine_logits(half)


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
