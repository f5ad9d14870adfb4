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
    def forward(self, images: Float[Tensor, "images 3 height width"]) -> list[Float[Tensor, "images _ _ _"]]:
        """Features at 1/2 and at 1/4 of the resolution, and class probabilities at 1/2; `num_channels` together.

        Args:
            images: RGB in 0..1. Wider ones are made smaller first, to the width that the weights were trained with.
        """
        height, width = images.shape[-2:]
        if width > _WIDTH:
            images = resized_by_area(images, (max(1, round(height * _WIDTH / width)), _WIDTH))
        half, quarter = self._maps(images)
        return [half, quarter, self._logits(half, quarter).softmax(dim=1)]


@cache
def room_features() -> RoomFeatures:
    """The network; read once a process."""
    return RoomFeatures().eval()


def resized_by_area(images: Float[Tensor, "images channels height width"], size: tuple[int, int]) -> Tensor:
    """Smaller images (rows, columns): each pixel is the mean over the pixels that it covers."""
    return nn.functional.interpolate(images, size, mode="area")
