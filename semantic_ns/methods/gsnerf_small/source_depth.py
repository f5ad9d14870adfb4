"""Depth of each source from its own image and from how well the others agree with it."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from semantic_ns.backbones.pyramids import padded
from semantic_ns.geometry.views import ViewCameras, sweep_matrices
from semantic_ns.methods.gsnerf_small.cost_volume import MATCH_CHANNELS, Planes, reference_volume
from semantic_ns.methods.gsnerf_small.encoder import Encoded
from semantic_ns.methods.gsnerf_small.sizes import Sizes
from semantic_ns.multi_view.convolutions import UNet, begin_at_0, conv2d

_COST_SCALE = 4.0


@dataclass(frozen=True, eq=False)
class SourceDepth:
    """Depth of K sources.

    Attributes:
        planes: planes at 1/4 of the resolution.
        scores: their scores.
        coarse: depth that the planes give, metres.
        depth: depth at 1/2 of the resolution, metres.
        log_std: what the network takes for the relative error of it, as a logarithm.
    """

    planes: Planes
    scores: Float[Tensor, "views planes h4 w4"]
    coarse: Float[Tensor, "views h4 w4"]
    depth: Float[Tensor, "views h2 w2"]
    log_std: Float[Tensor, "views h2 w2"]


class DepthNetwork(nn.Module):
    """Depth of a source from its image and from how well the other sources agree with it on planes."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sizes, (narrow, wide) = sizes, sizes.encoder_widths
        first = sizes.depth_widths[0]
        self.reduce = nn.Sequential(nn.Linear(MATCH_CHANNELS, 16), nn.LeakyReLU(0.01), nn.Linear(16, 1))
        self.unet = UNet(sizes.num_planes + wide, sizes.depth_widths)
        self.scores = nn.Conv2d(first, sizes.num_planes, 3, padding=1)
        self.refine = nn.Sequential(conv2d(first + narrow + 1, 32), conv2d(32, 32), nn.Conv2d(32, 2, 1))
        begin_at_0(self.refine[-1])

    def forward(self, encoded: Encoded, cameras: ViewCameras) -> SourceDepth:
        """Depth of all sources; each is compared with all others, and an only one with itself."""
        sizes, count = self.sizes, len(cameras)
        height, width = encoded.match.shape[-2:]
        planes = Planes.between(sizes.near, sizes.far, sizes.num_planes, (count, height, width), encoded.match)
        colors = F.interpolate(encoded.images, (height, width), mode="area")
        depths = planes.logs()[0].exp()
        volumes = []
        for number in range(count):
            numbers = [other for other in range(count) if other != number] or [number]
            others = torch.tensor(numbers, device=encoded.match.device)
            matrices = sweep_matrices(cameras[others], cameras[number : number + 1])
            volume = reference_volume(
                encoded.match[number], colors[number], encoded.match[others], colors[others], matrices, depths
            )
            # Beside features of size 1 the costs must not be small, or depth is guessed from single images alone.
            volumes.append(_COST_SCALE * self.reduce(volume.permute(1, 2, 3, 0))[..., 0])
        inputs = torch.cat([torch.stack(volumes), encoded.quarter], dim=1)
        features = self.unet(padded(inputs, self.unet.divisor))[0][..., :height, :width]
        scores = self.scores(features)
        coarse = planes.depth(scores).depth
        size = encoded.half.shape[-2:]
        larger = F.interpolate(
            torch.cat([coarse.log()[:, None], features], dim=1), size, mode="bilinear", align_corners=False
        )
        change, log_std = self.refine(torch.cat([larger, encoded.half], dim=1)).unbind(dim=1)
        depth = (larger[:, 0] + torch.tanh(change)).exp()
        return SourceDepth(planes, scores, coarse, depth, log_std - 2)
