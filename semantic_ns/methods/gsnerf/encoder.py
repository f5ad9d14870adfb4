"""The 2D network of GSNeRF: a U-Net for semantic features, and a feature pyramid for cost volumes and colours."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from semantic_ns.multi_view.convolutions import UNet

IMAGE_MEAN, IMAGE_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of the colours of ImageNet."""
UNET_WIDTHS = (8, 16, 32, 64, 128)
"""Channels at 1, 1/2, 1/4, ... of the resolution."""
PYRAMID_WIDTH = 32
LEVEL_CHANNELS = (8, 16, 32)
"""Channels of the features at 1, 1/2 and 1/4 of the resolution."""


@dataclass(frozen=True, eq=False)
class EncodedViews:
    """What the 2D network makes of V images by themselves.

    Attributes:
        images: the images, 0..1, at their own resolution.
        levels: features at 1, 1/2 and 1/4 of the resolution of the network (which can be slightly larger than that of
            the images); the first are also those of the colours, f^I.
        classes: semantic features f^S at the resolution of the network.
        logits: class logits of each image by itself.
    """

    images: Float[Tensor, "views 3 height width"]
    levels: tuple[Float[Tensor, "views c0 h0 w0"], Float[Tensor, "views c1 h1 w1"], Float[Tensor, "views c2 h2 w2"]]
    classes: Float[Tensor, "views classes h0 w0"]
    logits: Float[Tensor, "views classes h0 w0"]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, chosen: Int[Tensor, "chosen"]) -> "EncodedViews":
        fine, middle, coarse = (level[chosen] for level in self.levels)
        return EncodedViews(self.images[chosen], (fine, middle, coarse), self.classes[chosen], self.logits[chosen])

    @classmethod
    def stack(cls, parts: Sequence["EncodedViews"]) -> "EncodedViews":
        """One list of images out of several."""
        fine, middle, coarse = (torch.cat(level) for level in zip(*(part.levels for part in parts), strict=True))
        images, classes, logits = (
            torch.cat([getattr(part, name) for part in parts]) for name in ("images", "classes", "logits")
        )
        return cls(images, (fine, middle, coarse), classes, logits)


class TwoWayUNet(UNet):
    """A U-Net that also gives the maps of its way down."""

    def both_ways(self, image: Float[Tensor, "images inputs height width"]) -> tuple[list[Tensor], Tensor]:
        """Maps of the way down, the finest first, and the decoded map at the finest resolution."""
        maps = [self.first(image)]
        for down in self.down:
            maps.append(down(maps[-1]))
        decoded = maps[-1]
        for up, merge, skip in zip(self.up, self.merge, maps[-2::-1], strict=True):
            decoded = merge(torch.cat([skip, up(decoded)], dim=1))
        return maps, decoded


class FeaturePyramid(nn.Module):
    """Features at three resolutions from the maps of an encoder (Lin et al. 2017; sizes of Chou et al. 2024).

    Args:
        inputs: channels of the maps at 1, 1/2 and 1/4 of the resolution.
    """

    def __init__(self, inputs: Sequence[int]) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(width, PYRAMID_WIDTH, 1) for width in inputs)
        self.smooth = nn.ModuleList(nn.Conv2d(PYRAMID_WIDTH, width, 3, padding=1) for width in LEVEL_CHANNELS[:2])

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Features at 1, 1/2 and 1/4 of the resolution: `LEVEL_CHANNELS` channels."""
        fine, middle, coarse = (lateral(one) for lateral, one in zip(self.lateral, maps, strict=True))
        middle = middle + _twice(coarse)
        fine = fine + _twice(middle)
        return self.smooth[0](fine), self.smooth[1](middle), coarse


def _twice(image: Tensor) -> Tensor:
    return F.interpolate(image, scale_factor=2, mode="bilinear", align_corners=True)


class Encoder2D(nn.Module):
    """The plain U-Net of the released code, which needs no other package, with its feature pyramid.

    Args:
        num_classes: number of classes, without void.
        normalizes: whether mean and deviation of ImageNet are taken out of colours.
    """

    def __init__(self, num_classes: int, normalizes: bool = True) -> None:
        super().__init__()
        self.normalizes = normalizes
        self.unet = TwoWayUNet(3, UNET_WIDTHS)
        self.pyramid = FeaturePyramid(UNET_WIDTHS[:3])
        self.classes = nn.Conv2d(UNET_WIDTHS[0], num_classes, 1)
        self.logits = nn.Conv2d(num_classes, num_classes, 1)

    def forward(self, images: Float[Tensor, "views 3 height width"]) -> EncodedViews:
        """Features of images in 0..1.

        Images whose size is no multiple of 16 are made slightly larger. As image coordinates go from 0 to 1, nothing
        has to be told of it.
        """
        inputs = _divisible(images, self.unet.divisor)
        if self.normalizes:
            mean, deviation = (inputs.new_tensor(part)[:, None, None] for part in (IMAGE_MEAN, IMAGE_DEVIATION))
            inputs = (inputs - mean) / deviation
        maps, decoded = self.unet.both_ways(inputs)
        classes = self.classes(decoded)
        return EncodedViews(images, self.pyramid(maps[:3]), classes, self.logits(classes))


def _divisible(images: Tensor, divisor: int) -> Tensor:
    height, width = images.shape[-2:]
    if height % divisor == 0 and width % divisor == 0:
        return images
    size = (height + -height % divisor, width + -width % divisor)
    return F.interpolate(images, size, mode="bilinear", align_corners=False)
