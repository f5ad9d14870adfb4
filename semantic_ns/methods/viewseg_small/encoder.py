"""What single images give: classes, a guess of their depth, and the features that the field reads."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from semantic_ns.backbones.pyramids import PlainPyramid, PretrainedPyramid, padded, resized
from semantic_ns.methods.viewseg_small.sizes import Sizes
from semantic_ns.multi_view.convolutions import UNet, begin_at_0

_USUAL_LOG_DEPTH, _USUAL_LOG_STD = 0.6, -1.5


@dataclass(frozen=True, eq=False)
class Encoded:
    """What the encoder makes of V images by themselves.

    Attributes:
        images: the images, 0..1.
        half: features at 1/2 of the resolution.
        quarter: features at 1/4 of the resolution.
        logits: class logits of each image.
        log_depth: logarithm of the depth of each image in metres, guessed from it alone.
        log_std: logarithm of the error of that logarithm.
        field: features for the field, projected to its width.
    """

    images: Float[Tensor, "views 3 height width"]
    half: Float[Tensor, "views narrow h2 w2"]
    quarter: Float[Tensor, "views wide h4 w4"]
    logits: Float[Tensor, "views classes h2 w2"]
    log_depth: Float[Tensor, "views h4 w4"]
    log_std: Float[Tensor, "views h4 w4"]
    field: Float[Tensor, "views channels h4 w4"]

    @cached_property
    def probabilities(self) -> Float[Tensor, "views classes h2 w2"]:
        """Class probabilities of each image."""
        return self.logits.softmax(dim=1)

    def _parts(self) -> tuple[Tensor, ...]:
        return self.images, self.half, self.quarter, self.logits, self.log_depth, self.log_std, self.field

    def __getitem__(self, chosen: Int[Tensor, "chosen"]) -> "Encoded":
        return Encoded(*(part[chosen] for part in self._parts()))

    @classmethod
    def stack(cls, images: Sequence["Encoded"]) -> "Encoded":
        """One list of images out of several."""
        return cls(*(torch.cat(parts) for parts in zip(*(image._parts() for image in images), strict=True)))


class Encoder(nn.Module):
    """Classes, depth and features for the field from one image.

    Sampling between pixels commutes with the projection to the width of the field, which is therefore done once for
    each image and not for each sample.
    """

    def __init__(self, sizes: Sizes, num_classes: int) -> None:
        super().__init__()
        narrow, wide = sizes.encoder_widths
        first = sizes.geometry_widths[0]
        self.pyramid = (PretrainedPyramid if sizes.encoder == "lite0" else PlainPyramid)(narrow, wide)
        self.coarse_logits, self.fine_logits = nn.Conv2d(wide, num_classes, 1), nn.Conv2d(narrow, num_classes, 1)
        self.geometry = UNet(wide, sizes.geometry_widths)
        self.depth = nn.Conv2d(first, 2, 1)
        begin_at_0(self.depth)
        self.field = nn.Conv2d(wide + first, sizes.width, 1)

    def forward(self, images: Float[Tensor, "views 3 height width"]) -> Encoded:
        """Features of images in 0..1."""
        half, quarter = self._maps(images)
        height, width = quarter.shape[-2:]
        geometry = self.geometry(padded(quarter, self.geometry.divisor))[0][..., :height, :width]
        depth, std = self.depth(geometry).unbind(dim=1)
        field = self.field(torch.cat([quarter, geometry], dim=1))
        logits = self._logits(half, quarter)
        return Encoded(images, half, quarter, logits, depth + _USUAL_LOG_DEPTH, std + _USUAL_LOG_STD, field)

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
