"""Attention over the views that see a point (Chou et al. 2024; released code, see the table of layers in the docs)."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

NUM_HEADS = 4


class ViewAttention(nn.Module):
    """One layer: attention among the tokens of a point, then a small perceptron; each with residual and norm.

    Args:
        width: numbers of a token.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query, self.key, self.value, self.output = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.attention_norm, self.perceptron_norm = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.perceptron = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))

    def forward(
        self, tokens: Float[Tensor, "tokens points width"], is_key: Bool[Tensor, "tokens points"]
    ) -> Float[Tensor, "tokens points width"]:
        """New tokens; those that are no key are attended to by none."""
        query, key, value = (
            layer(tokens).unflatten(-1, (NUM_HEADS, -1)) for layer in (self.query, self.key, self.value)
        )
        # With so few tokens, products written out along the points are faster on a CPU than small matrices.
        scores = (query[:, None] * key).sum(dim=-1) * query.shape[-1] ** -0.5
        shares = scores.masked_fill(~is_key[None, :, :, None], -1e9).softmax(dim=1)
        attended = (shares[..., None] * value).sum(dim=1).flatten(2)
        tokens = self.attention_norm(tokens + self.output(attended))
        return self.perceptron_norm(tokens + self.perceptron(tokens))


class ViewTransformer(nn.Module):
    """Tokens of the views of a point, and one of all of them, that look at each other.

    Args:
        view_inputs: numbers known of a view at a point.
        global_inputs: numbers known of all views together at a point.
        width: numbers of a token.
        num_layers: number of attention layers.
    """

    def __init__(self, view_inputs: int, global_inputs: int, width: int, num_layers: int) -> None:
        super().__init__()
        self.view = nn.Linear(view_inputs, width)
        self.whole = nn.Sequential(nn.Linear(global_inputs, width), nn.ELU(), nn.Linear(width, width))
        self.layers = nn.ModuleList(ViewAttention(width) for _ in range(num_layers))

    def forward(
        self,
        views: Float[Tensor, "views points view_inputs"],
        whole: Float[Tensor, "points global_inputs"],
        is_seen: Bool[Tensor, "views points"],
    ) -> tuple[Float[Tensor, "points width"], Float[Tensor, "views points width"]]:
        """The global token and those of the views; where no view sees the point, all are taken to do so."""
        tokens = torch.cat([self.whole(whole)[None], self.view(views)])
        is_key = F.pad(is_seen | ~is_seen.any(dim=0), (0, 0, 1, 0), value=True)
        tokens = F.elu(tokens)
        for layer in self.layers:
            tokens = layer(tokens, is_key)
        return tokens[0], tokens[1:]
