"""What a network that was trained on many rooms sees in an image: features, and classes of furnished rooms."""

from functools import cache
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from semantic_ns.backbones.pyramids import PretrainedPyramid, PyramidSegmenter

BUILT_IN = Path(__file__).parent / "built_in_weights"
"""Folder of the weights that come with the package."""
_WEIGHTS = BUILT_IN / "rooms-small.pt"
_ENCODER = "network.encoder."
_PARTS = ("pyramid.", "coarse_logits.", "fine_logits.")
_WIDTH = 256
"""Pixels; as wide as images were when the weights were trained."""


class RoomFeatures(PyramidSegmenter):
    """The encoder of `rooms-small`, the weights of `gsnerf-small` that come with the package. It is not trained on.

    Its maps are those of EfficientNet-Lite0 (Tan and Le 2019), trained on photographs, brought together over scales by
    layers that were trained on rendered rooms.
    """

    def __init__(self) -> None:
        super().__init__()
        content = torch.load(_WEIGHTS, map_location="cpu", weights_only=True)["state"]
        state = {name.removeprefix(_ENCODER): value.float() for name, value in content.items() if _ENCODER in name}
        (num_classes, narrow), (_, wide) = (state[f"{name}_logits.weight"].shape[:2] for name in ("fine", "coarse"))
        self.pyramid = PretrainedPyramid(narrow, wide)
        self.coarse_logits, self.fine_logits = nn.Conv2d(wide, num_classes, 1), nn.Conv2d(narrow, num_classes, 1)
        self.load_state_dict({name: value for name, value in state.items() if name.startswith(_PARTS)})
        self.requires_grad_(False)
        self.num_channels = narrow + wide + num_classes

    @torch.no_grad()
    def forward(self, images: Float[Tensor, "images 3 height width"]) -> tuple[Tensor, Tensor, Tensor]:
        """Features at 1/2 and at 1/4 of the resolution, and class probabilities at 1/2, see `PyramidSegmenter`.

        Args:
            images: RGB in 0..1.
        """
        half, quarter = self.maps(images)
        return half, quarter, self.logits_of(half, quarter).softmax(dim=1)

    @torch.no_grad()
    def at(
        self, image: Float[Tensor, "height width 3"], xy: Float[Tensor, "pixels 2"]
    ) -> Float[Tensor, "pixels channels"]:
        """Features and class probabilities at places of one image, bilinear; `num_channels` together.

        Args:
            image: RGB in 0..1. A wider one is made smaller first, to the width that the weights were trained with.
            xy: places (x, y) in pixels, pixel centres at +0.5.
        """
        height, width = image.shape[:2]
        smaller = image.permute(2, 0, 1)[None]
        if width > _WIDTH:
            smaller = resized_by_area(smaller, (max(1, round(height * _WIDTH / width)), _WIDTH))
        xy = xy * torch.tensor([smaller.shape[-1] / width, smaller.shape[-2] / height])
        values = []
        for part, step in zip(self(smaller), (2, 4, 2), strict=True):
            # The last row and column of a map may reach beyond the image, so that lengths alone do not say the scale.
            where = 2 * xy / (step * torch.tensor([part.shape[-1], part.shape[-2]])) - 1
            values.append(
                nn.functional.grid_sample(part, where[None, None], padding_mode="border", align_corners=False)
            )
        return torch.cat([value[0, :, 0] for value in values]).T


@cache
def room_features() -> RoomFeatures:
    """The network; read once a process."""
    with torch.random.fork_rng(devices=[]):  # layers draw values that are then replaced: a training's draws stay
        return RoomFeatures().eval()


def resized_by_area(images: Float[Tensor, "images channels height width"], size: tuple[int, int]) -> Tensor:
    """Smaller images (rows, columns): each pixel is the mean over the pixels that it covers."""
    return nn.functional.interpolate(images, size, mode="area")
