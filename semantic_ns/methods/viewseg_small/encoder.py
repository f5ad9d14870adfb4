"""What single images give: classes, a guess of their depth, and the features that the field reads."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from semantic_ns.backbones.pyramids import EncodedImages, PyramidSegmenter, padded
from semantic_ns.methods.viewseg_small.sizes import Sizes
from semantic_ns.multi_view.convolutions import UNet, begin_at_0

_USUAL_LOG_DEPTH, _USUAL_LOG_STD = 0.6, -1.5


@dataclass(frozen=True, eq=False)
class Encoded(EncodedImages):
    """What the encoder makes of V images by themselves.

    Attributes:
        log_depth: logarithm of the depth of each image in metres, guessed from it alone.
        log_std: logarithm of the error of that logarithm.
        field: features for the field, projected to its width.
    """

    log_depth: Float[Tensor, "views h4 w4"]
    log_std: Float[Tensor, "views h4 w4"]
    field: Float[Tensor, "views channels h4 w4"]


class Encoder(PyramidSegmenter):
    """Classes, depth and features for the field from one image.

    Sampling between pixels commutes with the projection to the width of the field, which is therefore done once for
    each image and not for each sample.
    """

    def __init__(self, sizes: Sizes, num_classes: int) -> None:
        super().__init__()
        narrow, wide = sizes.encoder_widths
        first = sizes.geometry_widths[0]
        self.pyramid = self.pyramid_of(sizes.encoder, narrow, wide)
        self.coarse_logits, self.fine_logits = nn.Conv2d(wide, num_classes, 1), nn.Conv2d(narrow, num_classes, 1)
        self.geometry = UNet(wide, sizes.geometry_widths)
        self.depth = nn.Conv2d(first, 2, 1)
        begin_at_0(self.depth)
        self.field = nn.Conv2d(wide + first, sizes.width, 1)

    def forward(self, images: Float[Tensor, "views 3 height width"]) -> Encoded:
        """Features of images in 0..1."""
        half, quarter = self.maps(images)
        height, width = quarter.shape[-2:]
        geometry = self.geometry(padded(quarter, self.geometry.divisor))[0][..., :height, :width]
        depth, std = self.depth(geometry).unbind(dim=1)
        field = self.field(torch.cat([quarter, geometry], dim=1))
        logits = self.logits_of(half, quarter)
        return Encoded(images, half, quarter, logits, depth + _USUAL_LOG_DEPTH, std + _USUAL_LOG_STD, field)
