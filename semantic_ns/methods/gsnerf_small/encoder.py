"""What single images give: features for matching, colours and classes."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from semantic_ns.backbones.pyramids import EncodedImages, PyramidSegmenter
from semantic_ns.methods.gsnerf_small.sizes import Sizes


@dataclass(frozen=True, eq=False)
class Encoded(EncodedImages):
    """What the encoder makes of V source images by themselves.

    Attributes:
        match: features that are compared between views.
        appearance: features for colours.
    """

    match: Float[Tensor, "views match h4 w4"]
    appearance: Float[Tensor, "views match h2 w2"]


class Encoder(PyramidSegmenter):
    """Features for matching, colours and classes from one image."""

    def __init__(self, sizes: Sizes, num_classes: int) -> None:
        super().__init__()
        narrow, wide = sizes.encoder_widths
        self.pyramid = self.pyramid_of(sizes.encoder, narrow, wide)
        self.match = nn.Conv2d(wide, sizes.match_channels, 3, padding=1)
        self.appearance = nn.Conv2d(narrow, sizes.match_channels, 3, padding=1)
        self.coarse_logits, self.fine_logits = nn.Conv2d(wide, num_classes, 1), nn.Conv2d(narrow, num_classes, 1)

    def forward(self, images: Float[Tensor, "views 3 height width"]) -> Encoded:
        """Features of images in 0..1, padded to what the pyramid can halve."""
        half, quarter = self.maps(images)
        return Encoded(images, half, quarter, self.logits_of(half, quarter), self.match(quarter), self.appearance(half))
