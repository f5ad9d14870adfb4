"""Pyramids of features of an image at two resolutions."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Literal, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from semantic_ns.backbones import efficientnet_lite
from semantic_ns.multi_view.convolutions import UNet, conv2d

EncoderName = Literal["lite0", "unet"]
"""lite0 is EfficientNet-Lite0, which was trained on photographs, unet a U-Net that was not."""
_SECOND_LOOK = 0.3
"""Weight of the classes that a segmenter sees in a rendered image."""


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


_Encoded = TypeVar("_Encoded", bound="EncodedImages")  # tests check annotations function by function, without Self


@dataclass(frozen=True, eq=False)
class EncodedImages:
    """What an encoder makes of V images by themselves. Each field has one entry for each image.

    Attributes:
        images: colours 0..1.
        half: features at 1/2 of the resolution.
        quarter: features at 1/4 of the resolution.
        logits: class logits.
    """

    images: Float[Tensor, "views 3 height width"]
    half: Float[Tensor, "views narrow h2 w2"]
    quarter: Float[Tensor, "views wide h4 w4"]
    logits: Float[Tensor, "views classes h2 w2"]

    @cached_property
    def probabilities(self) -> Float[Tensor, "views classes h2 w2"]:
        """Class probabilities of each image."""
        return self.logits.softmax(dim=1)

    def _parts(self) -> list[Tensor]:
        return [getattr(self, one.name) for one in fields(self)]

    def __getitem__(self: _Encoded, chosen: Int[Tensor, "chosen"]) -> _Encoded:  # noqa: PYI019
        return type(self)(*(part[chosen] for part in self._parts()))

    @classmethod
    def stack(cls: type[_Encoded], images: Sequence[_Encoded]) -> _Encoded:  # noqa: PYI019
        """One list of images out of several."""
        return cls(*(torch.cat(parts) for parts in zip(*(image._parts() for image in images), strict=True)))


class PyramidSegmenter(nn.Module):
    """Class logits of images from the two maps of a pyramid; subclasses build the three layers."""

    pyramid: PretrainedPyramid | PlainPyramid
    coarse_logits: nn.Conv2d
    fine_logits: nn.Conv2d

    @staticmethod
    def pyramid_of(name: EncoderName, narrow: int, wide: int) -> PretrainedPyramid | PlainPyramid:
        """A pyramid with so many channels at 1/2 and at 1/4 of the resolution."""
        return (PretrainedPyramid if name == "lite0" else PlainPyramid)(narrow, wide)

    def segment(self, images: Float[Tensor, "views 3 height width"]) -> Float[Tensor, "views classes h2 w2"]:
        """Class logits of images in 0..1 by themselves, at 1/2 of the resolution."""
        return self.logits_of(*self.maps(images))

    def with_second_look(
        self, logits: Float[Tensor, "views classes height width"], images: Float[Tensor, "views 3 height width"]
    ) -> Float[Tensor, "views classes height width"]:
        """Class logits of rendered images, to which the segmenter adds what it takes their colours for.

        What no source sees has colours that a decoder guesses, and shapes that go on: they say more of its class than
        the sources do. A product of experts (Hinton 2002), with a weight below 1 because both saw the same sources.

        Args:
            logits: what the sources say.
            images: rendered colours; those outside 0..1 are brought into it.
        """
        seen = resized(self.segment(images.clamp(0, 1)), images.shape[-2:])
        return logits.log_softmax(dim=1) + _SECOND_LOOK * seen.log_softmax(dim=1)

    def maps(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Maps at 1/2 and at 1/4 of the resolution, of images padded to what the pyramid can halve."""
        height, width = images.shape[-2:]
        maps = self.pyramid(padded(images, self.pyramid.divisor))
        half, quarter = (
            level[..., : -(-height // step), : -(-width // step)] for level, step in zip(maps, (2, 4), strict=True)
        )
        return half, quarter

    def logits_of(self, half: Tensor, quarter: Tensor) -> Tensor:
        """Class logits of these maps, at 1/2 of the resolution."""
        return resized(self.coarse_logits(quarter), half.shape[-2:]) + self.fine_logits(half)
