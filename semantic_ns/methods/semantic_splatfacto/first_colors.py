"""The colours that Gaussians began with, to which those are drawn back that train on a CPU."""

from typing import Any

import torch
from jaxtyping import Float, Int
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor, nn


class FirstColors(nn.Module):
    """What a checkpoint keeps of them; none where Gaussians began at anything but depth images."""

    of_gaussians: Float[Tensor, "gaussians 3"]

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("of_gaussians", torch.zeros(0, 3))

    def begin(self, colors: Float[Tensor, "gaussians 3"]) -> None:
        """Draw colours back to these from now on."""
        self.of_gaussians = colors.clone()

    def held(
        self, colors: Float[Tensor, "gaussians 3"], camera: Cameras, num_images: int
    ) -> Float[Tensor, "gaussians 3"]:
        """The same colours, drawn back where there are first ones, see `splatting.held_colors`.

        Args:
            colors: colours of the Gaussians as a camera sees them.
            camera: that camera [1].
            num_images: number of images that train.
        """
        if not len(self.of_gaussians):
            return colors
        from semantic_ns.splatting.held_colors import held

        return held(colors, self.of_gaussians, int(camera.height) * int(camera.width), num_images)

    def split(self, rows: Int[Tensor, "rows"]) -> None:
        """Give the second halves of Gaussians, which come after all others, the colours of the first."""
        if len(self.of_gaussians):
            self.of_gaussians = torch.cat([self.of_gaussians, self.of_gaussians[rows]])

    def make_room(self, state_dict: dict[str, Any], prefix: str) -> None:
        """Take on the size that a checkpoint has; one of before has none, and gets none.

        Args:
            state_dict: all of the checkpoint.
            prefix: what names begin with there, such as ``first_colors.``.
        """
        given = state_dict.setdefault(prefix + "of_gaussians", torch.zeros(0, 3))
        self.of_gaussians = given.new_zeros(given.shape)
