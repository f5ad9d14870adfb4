"""The network of Semantic-NeRF: NeRF's perceptron with a semantic branch (Zhi et al. 2021, figure 2)."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from nerfstudio.field_components.encodings import NeRFEncoding
from nerfstudio.field_components.mlp import MLP
from nerfstudio.field_components.spatial_distortions import SceneContraction
from torch import Tensor, nn

from semantic_ns.fields.semantic_head import SemanticHead

POSITION_SCALE_M = 10.0
"""Positions are divided by these metres before they are encoded."""
_POSITION_FREQUENCIES, _DIRECTION_FREQUENCIES = 10, 4
_NUM_LAYERS, _SKIP_LAYER = 8, 5


def sinusoidal_encoding(num_frequencies: int) -> NeRFEncoding:
    """From v in R^3 to sin(2^k v), cos(2^k v), k = 0 .. L - 1, and v itself: 6 L + 3 numbers.

    nerfstudio's encoding multiplies by 2 pi, which Semantic-NeRF does not; exponents lower by log2(2 pi) undo it. The
    order of the numbers is nerfstudio's (all sines, all cosines, v), not the paper's (v first): a permutation of the
    columns of the layers that follow, whose initial weights are all drawn alike.

    Args:
        num_frequencies: L.
    """
    lowest = -math.log2(2 * math.pi)
    return NeRFEncoding(3, num_frequencies, lowest, lowest + num_frequencies - 1, include_input=True)


@dataclass(frozen=True)
class FieldValues:
    """What a network says of samples."""

    raw_density: Float[Tensor, "*samples 1"]
    """Density per metre before noise and ReLU."""
    rgb: Float[Tensor, "*samples 3"]
    """Colour in [0, 1]."""
    semantic_features: Float[Tensor, "*samples width"] | None
    """What the last, linear layer `semantic_head` makes logits of; None without semantics."""


class SemanticNerfVanillaField(nn.Module):
    """One of the two networks, coarse and fine, of Zhi et al. 2021: 628 740 + 129 C parameters.

    nerfstudio's `NeRFField` is another network: its skip enters one layer earlier, its density passes a softplus, and
    between trunk and colour it has no linear layer. Its perceptron `MLP` is the trunk where the skip is at layer 5.

    Logits depend on position only, see no stop-gradient by default, and are linear in `semantic_features`; the renderer
    composites these and applies `semantic_head` once per ray, which is exact.

    Args:
        num_classes: classes C without void.
        hidden_dim: width of the trunk; the colour branch has half of it. The paper's is 256.
        semantic_width: width of the semantic hidden layer. The paper's is 128.
        use_semantics: whether samples get semantic features; the head is there either way.
        pass_semantic_gradients: whether the semantic loss reaches the trunk.
    """

    def __init__(
        self,
        num_classes: int,
        hidden_dim: int = 256,
        semantic_width: int = 128,
        use_semantics: bool = True,
        pass_semantic_gradients: bool = True,
    ) -> None:
        super().__init__()
        self.use_semantics = use_semantics
        self.pass_semantic_gradients = pass_semantic_gradients
        self.position_encoding = sinusoidal_encoding(_POSITION_FREQUENCIES)
        self.direction_encoding = sinusoidal_encoding(_DIRECTION_FREQUENCIES)
        self.trunk = MLP(
            in_dim=self.position_encoding.get_out_dim(),
            num_layers=_NUM_LAYERS,
            layer_width=hidden_dim,
            skip_connections=(_SKIP_LAYER,),
            out_activation=nn.ReLU(),
        )
        self.density = nn.Linear(hidden_dim, 1)
        self.semantic_trunk = nn.Sequential(nn.Linear(hidden_dim, semantic_width), nn.ReLU())
        self.semantic_head = nn.Linear(semantic_width, num_classes)
        self.feature = nn.Linear(hidden_dim, hidden_dim)
        self.color = nn.Sequential(
            nn.Linear(hidden_dim + self.direction_encoding.get_out_dim(), hidden_dim // 2),
            nn.ReLU(),
            nn.Linear(hidden_dim // 2, 3),
            nn.Sigmoid(),
        )
        self._contraction = SceneContraction(order=float("inf"))

    @property
    def head(self) -> SemanticHead:
        """What classes are made of; set it to have another linear layer in the place of the last one."""
        return SemanticHead(None, self.semantic_trunk, self.semantic_head)

    @head.setter
    def head(self, head: SemanticHead) -> None:
        self.semantic_head = head.linear

    def forward(self, positions_m: Float[Tensor, "rays samples 3"], directions: Float[Tensor, "rays 3"]) -> FieldValues:
        """Values of samples [rays, samples], in the precision of the positions also where layers are in a lower one.

        Args:
            positions_m: positions in metres, world axes.
            directions: unit view directions of the rays, world axes.
        """
        trunk = self.trunk(self.position_encoding(positions_m / POSITION_SCALE_M))
        encoded = self.direction_encoding(directions)[:, None].expand(-1, positions_m.shape[1], -1)
        features = None
        if self.use_semantics:
            features = self.semantic_trunk(trunk if self.pass_semantic_gradients else trunk.detach())
            features = features.to(positions_m.dtype)
        return FieldValues(
            raw_density=self.density(trunk).to(positions_m.dtype),
            rgb=self.color(torch.cat([self.feature(trunk), encoded], dim=-1)).to(positions_m.dtype),
            semantic_features=features,
        )

    def unit_positions(self, positions: Float[Tensor, "*bs 3"]) -> Float[Tensor, "*bs 3"]:
        """Positions in scene units to the unit cube, contracted outside the scene box: where labels may spread."""
        return (self._contraction(positions) + 2.0) / 4.0
