"""What single images give: features for matching, colours and classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from semantic_ns.backbones.pyramids import PlainPyramid, PretrainedPyramid, padded, resized
from semantic_ns.methods.gsnerf_small.sizes import Sizes


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
