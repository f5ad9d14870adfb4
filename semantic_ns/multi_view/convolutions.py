"""Blocks of convolutions, with norms that do not depend on the batch."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

_LEAK = 0.01


def group_norm(channels: int) -> nn.GroupNorm:
    """A norm over groups of 8 channels: unlike a batch norm it gives one image the same result in any batch."""
    return nn.GroupNorm(max(1, channels // 8), channels)


def conv2d(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """A 2D convolution that keeps the size (divided by the stride), a norm and a leaky ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False), group_norm(outputs), nn.LeakyReLU(_LEAK)
    )


def conv3d(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """A 3x3x3 convolution that keeps the size (divided by the stride), a norm and a leaky ReLU."""
    return nn.Sequential(nn.Conv3d(inputs, outputs, 3, stride, 1, bias=False), group_norm(outputs), nn.LeakyReLU(_LEAK))


def double_conv(inputs: int, outputs: int) -> nn.Sequential:
    """Two 3x3 convolutions, each with norm and activation."""
    return nn.Sequential(conv2d(inputs, outputs), conv2d(outputs, outputs))


def begin_at_0(layer: nn.Module) -> None:
    """Let a layer change nothing at first."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


class UNet(nn.Module):
    """A 2D U-Net (Ronneberger et al. 2015) that gives its decoded maps at all but the coarsest resolution.

    Args:
        inputs: channels of the image.
        widths: channels at each resolution, the finest first; each is half as fine as the one before.
        stem_stride: step of the first convolution; 2 lets the finest map have half the resolution of the image.
    """

    def __init__(self, inputs: int, widths: Sequence[int], stem_stride: int = 1) -> None:
        super().__init__()
        self.widths, self.stem_stride = tuple(widths), stem_stride
        first = conv2d(inputs, widths[0], 3 if stem_stride == 1 else 5, stem_stride)
        self.first = nn.Sequential(first, conv2d(widths[0], widths[0]))
        self.down = nn.ModuleList(nn.Sequential(conv2d(a, b, 5, 2), double_conv(b, b)) for a, b in pairwise(widths))
        pairs = list(pairwise(widths))[::-1]
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, 2) for a, b in pairs)
        self.merge = nn.ModuleList(double_conv(2 * a, a) for a, _ in pairs)

    @property
    def divisor(self) -> int:
        """The height and width of an image must be multiples of it."""
        return self.stem_stride * 2 ** (len(self.widths) - 1)

    def forward(self, image: Float[Tensor, "images inputs height width"]) -> list[Tensor]:
        """Decoded maps, the finest first, the last one being that of the coarsest resolution."""
        maps = [self.first(image)]
        for down in self.down:
            maps.append(down(maps[-1]))
        decoded = [maps.pop()]
        for up, merge in zip(self.up, self.merge, strict=True):
            decoded.append(merge(torch.cat([maps.pop(), up(decoded[-1])], dim=1)))
        return decoded[::-1]


class CostRegularizer(nn.Module):
    """A 3D U-Net over a cost volume, with additive skips (Chou et al. 2024; Gu et al. 2020).

    Args:
        inputs: channels of the volume.
        width: channels at the finest resolution.
    """

    def __init__(self, inputs: int, width: int = 8) -> None:
        super().__init__()
        w = width
        self.first = conv3d(inputs, w)
        self.down = nn.ModuleList(
            nn.Sequential(conv3d(a, b, 2), conv3d(b, b)) for a, b in ((w, 2 * w), (2 * w, 4 * w), (4 * w, 8 * w))
        )
        self.up = nn.ModuleList(
            nn.Sequential(
                nn.ConvTranspose3d(b, a, 3, 2, 1, output_padding=1, bias=False), group_norm(a), nn.LeakyReLU(_LEAK)
            )
            for a, b in ((4 * w, 8 * w), (2 * w, 4 * w), (w, 2 * w))
        )
        self.features, self.score = conv3d(w, w), nn.Sequential(conv3d(w, w), nn.Conv3d(w, 1, 3, padding=1, bias=False))

    def forward(
        self, volume: Float[Tensor, "batch inputs planes height width"]
    ) -> tuple[Float[Tensor, "batch features planes height width"], Float[Tensor, "batch planes height width"]]:
        """Features of the volume, and a score of each plane."""
        planes, height, width = volume.shape[2:]
        padding = [amount for length in (width, height, planes) for amount in (0, -length % 8)]
        maps = [self.first(F.pad(volume, padding))]
        for down in self.down:
            maps.append(down(maps[-1]))
        current = maps.pop()
        for up in self.up:
            current = maps.pop() + up(current)
        current = current[:, :, :planes, :height, :width]
        return self.features(current), self.score(current)[:, 0]
