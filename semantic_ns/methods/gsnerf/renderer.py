"""The renderer of GSNeRF: colours along rays, and classes at their surface (Chou et al. 2024, section 3.2)."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from semantic_ns.methods.gsnerf.compat import Compat
from semantic_ns.methods.gsnerf.point_features import FEATURE_CHANNELS, VIEW_CHANNELS
from semantic_ns.multi_view.attention import ViewTransformer

TOKEN_WIDTH = 32
NUM_LAYERS = 4
ANGLE_CHANNELS = 9
RAY_DIVISOR = 8
"""The number of samples of a ray must be a multiple of it."""
_NUM_HEAD_VIEWS = 8
"""Views for which the published class head is made; its hidden layers have that size for any number of views."""


def start_positive(network: nn.Module) -> None:
    """Initialise linear layers: weights uniform in -a..a, biases a, where a = 1 / sqrt(inputs)."""
    for layer in network.modules():
        if isinstance(layer, nn.Linear):
            bound = layer.in_features**-0.5
            nn.init.uniform_(layer.weight, -bound, bound)
            nn.init.constant_(layer.bias, bound)


class RayAutoEncoder(nn.Module):
    """Density of the samples of a ray from their global tokens, by a 1D auto-encoder along the ray."""

    def __init__(self) -> None:
        super().__init__()
        w = TOKEN_WIDTH
        down, up = ((w, 2 * w), (2 * w, 4 * w), (4 * w, 4 * w)), ((4 * w, 4 * w), (8 * w, 2 * w), (4 * w, w))
        self.down = nn.ModuleList(nn.Conv1d(a, b, 3, padding=1) for a, b in down)
        self.up = nn.ModuleList(nn.ConvTranspose1d(a, b, 4, 2, 1) for a, b in up)
        self.last = nn.Conv1d(2 * w, w, 3, padding=1)
        self.density = nn.Sequential(
            nn.Linear(w, w), nn.ELU(), nn.Linear(w, w // 2), nn.ELU(), nn.Linear(w // 2, 1), nn.ReLU()
        )
        start_positive(self.density)

    def forward(self, tokens: Float[Tensor, "rays samples width"]) -> Float[Tensor, "rays samples"]:
        """Densities, 0 or more; the number of samples is a multiple of 8."""
        maps = [tokens.mT]
        for down in self.down:
            maps.append(F.max_pool1d(F.elu(down(maps[-1])), 2))
        current = maps.pop()
        for up in self.up:
            # The last of the skips is the input itself.
            current = torch.cat([maps.pop(), F.elu(up(current))], dim=1)
        return self.density(F.elu(self.last(current)).mT)[..., 0]


class ColorRenderer(nn.Module):
    """Densities of samples, and how much each source has a share in their colour."""

    def __init__(self) -> None:
        super().__init__()
        width = TOKEN_WIDTH
        self.views = ViewTransformer(VIEW_CHANNELS, 2 * FEATURE_CHANNELS, width, NUM_LAYERS)
        self.density = RayAutoEncoder()
        self.blend = nn.Sequential(
            nn.Linear(width + ANGLE_CHANNELS, width), nn.ELU(), nn.Linear(width, width // 2), nn.ELU(),
            nn.Linear(width // 2, 1),
        )  # fmt: skip
        start_positive(self.blend)

    def forward(
        self,
        views: Float[Tensor, "views inputs rays samples"],
        moments: Float[Tensor, "moments rays samples"],
        angles: Float[Tensor, "views rays samples 9"],
        is_visible: Bool[Tensor, "views rays samples"],
    ) -> tuple[Float[Tensor, "rays samples"], Float[Tensor, "views rays samples"]]:
        """Densities, and the share of each view in the colour of a sample.

        Args:
            views: numbers of each view at each sample.
            moments: mean and variance of the image features over the views.
            angles: codes of the angles between the ray and those of the sources, see `angle_code`.
            is_visible: which views see a sample.
        """
        shape = is_visible.shape[1:]
        mask = is_visible.flatten(1)
        whole, tokens = self.views(views.flatten(2).mT, moments.flatten(1).mT, mask)
        scores = self.blend(torch.cat([tokens, angles.flatten(1, 2)], dim=-1))[..., 0]
        shares = scores.masked_fill(~mask, -1e9).softmax(dim=0)
        return self.density(whole.unflatten(0, shape)), shares.unflatten(1, shape)


class ClassRenderer(nn.Module):
    """Class logits of the surface point of each ray.

    Args:
        num_classes: number of classes, without void.
        num_views: number of views that the weights are made for, where views are concatenated.
        compat: restored defects.
    """

    def __init__(self, num_classes: int, num_views: int = _NUM_HEAD_VIEWS, compat: Compat | None = None) -> None:
        super().__init__()
        self.compat = compat or Compat()
        width, around = TOKEN_WIDTH, 9 * num_classes
        self.views = ViewTransformer(around + 1, 2 * around, width, NUM_LAYERS)
        num_tokens = num_views + 1 if self.compat.concatenated_views else 2
        hidden = width * (num_tokens if self.compat.concatenated_views else _NUM_HEAD_VIEWS + 1)
        self.head = nn.Sequential(
            nn.Linear(width * num_tokens, hidden), nn.ELU(), nn.Linear(hidden, hidden // 2), nn.ELU(),
            nn.Linear(hidden // 2, num_classes),
        )  # fmt: skip

    def forward(
        self,
        around: Float[Tensor, "views around rays"],
        is_inside: Bool[Tensor, "views rays"],
        is_visible: Bool[Tensor, "views rays"],
    ) -> Float[Tensor, "rays classes"]:
        """Logits of rays.

        Args:
            around: semantic features of 3x3 pixels around where each view sees the point.
            is_inside: whether the point lies in the image of a view.
            is_visible: whether it sees the point.
        """
        moments = torch.cat([around.mean(dim=0), around.var(dim=0, correction=0)]).mT
        views = torch.cat([around, is_inside[:, None].to(around.dtype)], dim=1).mT
        whole, tokens = self.views(views, moments, is_visible)
        if self.compat.concatenated_views:
            joined = torch.cat([whole, *tokens], dim=-1)
        else:
            weight = is_visible[..., None].to(tokens.dtype)
            mean = (weight * tokens).sum(dim=0) / weight.sum(dim=0).clamp(min=1)
            joined = torch.cat([whole, mean], dim=-1)
        logits = self.head(joined)
        return logits.relu() if self.compat.relu_logits else logits
