"""The field of ViewSeg: colour, density and classes of points, from what the sources show of them.

Symbols: z_v the features of source v at a point, x the code of the point in the axes of a source.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from semantic_ns.methods.viewseg.encoder import FEATURES
from semantic_ns.multi_view.convolutions import begin_at_0

NUM_FREQUENCIES = 10
WIDTH = 128
NUM_VIEW_BLOCKS = 3
NUM_BRANCH_BLOCKS = 2


def position_code(positions: Float[Tensor, "*points 3"]) -> Float[Tensor, "*points 63"]:
    """x, sin 2^i x and cos 2^i x, i = 0..9."""
    scaled = positions[..., None, :] * 2.0 ** torch.arange(NUM_FREQUENCIES, device=positions.device)[:, None]
    return torch.cat([positions, scaled.sin().flatten(-2), scaled.cos().flatten(-2)], dim=-1)


def begin_he(layer: nn.Linear) -> nn.Linear:
    """A layer with normal weights of variance 2 / inputs and no bias at first (He et al. 2015)."""
    nn.init.normal_(layer.weight, std=math.sqrt(2 / layer.in_features))
    nn.init.zeros_(layer.bias)
    return layer


class ResidualBlock(nn.Module):
    """x + fc1(relu(fc0(relu(x)))), which changes nothing at first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc0, self.fc1 = begin_he(nn.Linear(width, width)), nn.Linear(width, width)
        begin_at_0(self.fc1)

    def forward(self, x: Float[Tensor, "*points width"]) -> Tensor:
        """The same shape."""
        return x + self.fc1(F.relu(self.fc0(F.relu(x))))


@dataclass(frozen=True, eq=False)
class PointInputs:
    """What V sources know of points.

    Attributes:
        code: code of the points in the axes of each source, with the direction of the ray if that is used.
        features: features of the sources at the points, projected by `ViewsegField.project` and without bias.
        is_seen: whether a point lies before the camera and inside its image.
    """

    code: Float[Tensor, "views points code"]
    features: Float[Tensor, "views points projected"]
    is_seen: Bool[Tensor, "views points"]


@dataclass(frozen=True, eq=False)
class FieldValues:
    """What is at points.

    Attributes:
        rgb: colours 0..1.
        raw_density: density per metre before the ReLU.
        logits: class logits.
    """

    rgb: Float[Tensor, "points 3"]
    raw_density: Float[Tensor, "points"]
    logits: Float[Tensor, "points classes"]


class ViewsegField(nn.Module):
    """Residual blocks for each view, the mean over the views, and a branch each for colour with density and classes.

    Args:
        num_classes: number of classes, without void.
        uses_directions: whether the direction of the ray is part of the code.
        is_released: the wiring of the released code, see `Compat.released_wiring`. Parameters are the same.
        is_masked: whether only views that see a point count in its mean.
    """

    def __init__(
        self, num_classes: int, uses_directions: bool = True, is_released: bool = False, is_masked: bool = True
    ) -> None:
        super().__init__()
        self.is_released, self.is_masked = is_released, is_masked
        inputs = 3 + 6 * NUM_FREQUENCIES + (3 if uses_directions else 0)
        self.lin_in = begin_he(nn.Linear(inputs, WIDTH))
        self.lin_z = nn.ModuleList(begin_he(nn.Linear(FEATURES, WIDTH)) for _ in range(NUM_VIEW_BLOCKS))
        self.of_view = nn.ModuleList(ResidualBlock(WIDTH) for _ in range(NUM_VIEW_BLOCKS))
        self.color_blocks, self.class_blocks = (
            nn.ModuleList(ResidualBlock(WIDTH) for _ in range(NUM_BRANCH_BLOCKS)) for _ in range(2)
        )
        self.color, self.classes = begin_he(nn.Linear(WIDTH, 4)), begin_he(nn.Linear(WIDTH, num_classes))

    def project(self, maps: Float[Tensor, "views 256 h4 w4"]) -> Float[Tensor, "views projected h4 w4"]:
        """Feature maps as this field reads them, without bias: once for each image in place of once for each sample.

        Bilinear sampling and a linear layer commute. The released wiring adds the three layers up, and so one sum of
        maps does; otherwise the maps of the three layers follow each other.
        """
        weights: list[Tensor] = [layer.weight for layer in self.lin_z if isinstance(layer, nn.Linear)]
        weight = torch.stack(weights).sum(dim=0) if self.is_released else torch.cat(weights)
        return F.conv2d(maps, weight[:, :, None, None])

    def forward(self, points: PointInputs) -> FieldValues:
        """Colour, density and classes of points."""
        biases: list[Tensor] = [layer.bias for layer in self.lin_z if isinstance(layer, nn.Linear)]
        x = self.lin_in(points.code)
        if self.is_released:
            x = x + points.features + torch.stack(biases).sum(dim=0)
        else:
            parts = points.features.split(WIDTH, dim=-1)
            for features, bias, block in zip(parts, biases, self.of_view, strict=True):
                x = block(x + features + bias)
        x = self._mean(x, points.is_seen)
        color, classes = self._branch(self.color_blocks, x), self._branch(self.class_blocks, x)
        raw = self.color(F.relu(color))
        return FieldValues(raw[:, :3].sigmoid(), raw[:, 3], self.classes(F.relu(classes)))

    def _branch(self, blocks: nn.ModuleList, x: Tensor) -> Tensor:
        for block in list(blocks)[-1:] if self.is_released else blocks:
            x = block(x)
        return x

    def _mean(self, x: Float[Tensor, "views points width"], is_seen: Tensor) -> Float[Tensor, "points width"]:
        """Mean over the views that see a point, over all where none does."""
        if not self.is_masked:
            return x.mean(dim=0)
        weight = (is_seen | ~is_seen.any(dim=0))[..., None].to(x.dtype)
        return (weight * x).sum(dim=0) / weight.sum(dim=0)
