"""What a head can render beside logits: an ensemble that sees some of the semantic features each, and the features.

The head is linear and comes after compositing, so that all of it costs one wider product of matrices.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Literal, NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import skip_init

from semantic_ns.active_learning.acquisition import disagreement
from semantic_ns.fields.semantic_head import SemanticHead

RayStatistic = Literal["features", "disagreement"]
"""What is rendered for one strategy alone: composited semantic features, disagreement of the ensemble."""
NUM_MEMBERS = 8
_RATE = 0.25
"""Share of the features that a member does not see (Siddiqui et al. 2020, ViewAL, section 4)."""
_SEED = 0


class Columns(NamedTuple):
    """What a wider head rendered."""

    logits: Float[Tensor, "rays classes"]
    features: Float[Tensor, "rays channels"] | None
    disagreement: Float[Tensor, "rays"] | None


@contextmanager
def with_ensemble_head(field: Any, extras: Collection[RayStatistic]) -> Iterator[None]:
    """Have a field render further columns behind the logits of its head; `split_columns` takes them apart.

    Composited features are what a head of the identity matrix renders. The ensemble is dropout at inference, as in Gal
    and Ghahramani (2016), though the head was trained without: every member has a mask of its own over the features,
    the same for all rays, and weighs what it sees by 4/3.

    Args:
        field: A field whose `head` (a `SemanticHead`) can be set.
        extras: What is rendered beside logits; nothing changes where it is empty.
    """
    head: SemanticHead = field.head
    if extras:
        field.head = replace(head, linear=_widened(head.linear, extras))
    try:
        yield
    finally:
        field.head = head


def _widened(head: nn.Linear, extras: Collection[RayStatistic]) -> nn.Linear:
    weights, biases = [head.weight], [cast(Tensor, head.bias)]
    if "features" in extras:
        weights.append(torch.eye(head.in_features).to(head.weight))
        biases.append(head.weight.new_zeros(head.in_features))
    if "disagreement" in extras:
        generator = torch.Generator().manual_seed(_SEED)
        sees = torch.rand(NUM_MEMBERS, 1, head.in_features, generator=generator) >= _RATE
        weights.append((head.weight * sees.to(head.weight) / (1 - _RATE)).reshape(-1, head.in_features))
        biases.append(cast(Tensor, head.bias).repeat(NUM_MEMBERS))
    bias = torch.cat(biases)
    # Drawing first weights would move the random state of the run.
    wide = cast(nn.Linear, skip_init(nn.Linear, head.in_features, len(bias))).to(head.weight)
    with torch.no_grad():
        wide.weight.copy_(torch.cat(weights))
        wide.bias.copy_(bias)
    return wide


def split_columns(
    rendered: Float[Tensor, "rays columns"], num_classes: int, extras: Collection[RayStatistic]
) -> Columns:
    """What was rendered inside `with_ensemble_head`, taken apart."""
    rest, features, differ = rendered[:, num_classes:], None, None
    if "disagreement" in extras:
        members = rest[:, rest.shape[1] - NUM_MEMBERS * num_classes :]
        rest, differ = rest[:, : -members.shape[1]], disagreement(members.reshape(len(rest), NUM_MEMBERS, num_classes))
    if "features" in extras:
        features = rest
    return Columns(rendered[:, :num_classes], features, differ)
