"""An ensemble out of one field: heads that see some of its semantic features each."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

NUM_MEMBERS = 8
_RATE = 0.25
"""Share of the features that a member does not see (Siddiqui et al. 2020, ViewAL, section 4)."""
_SEED = 0


@contextmanager
def with_dropout_members(field: Any, num_members: int) -> Iterator[None]:
    """Have a field render the logits of its head, and beside them those of members that see three quarters of it.

    Dropout at inference, as in Gal and Ghahramani (2016), though the head was trained without: every member has a mask
    of its own over the semantic features, the same for all rays, and weighs what it sees by 4/3. The head is linear and
    comes after compositing, so that all members cost one wider product of matrices. Inside, logits are [rays,
    (1 + members) C], the head's own first.

    Args:
        field: with a `semantic_head`.
        num_members: 0 changes nothing.
    """
    if num_members == 0:
        yield
        return
    head: nn.Linear = field.semantic_head
    field.semantic_head = _widened(head, num_members)
    try:
        yield
    finally:
        field.semantic_head = head


def _widened(head: nn.Linear, num_members: int) -> nn.Linear:
    generator = torch.Generator().manual_seed(_SEED)
    masks = (torch.rand(num_members, head.in_features, generator=generator) >= _RATE).to(head.weight) / (1 - _RATE)
    wide = nn.Linear(head.in_features, (1 + num_members) * head.out_features).to(head.weight)
    with torch.no_grad():
        members = head.weight * masks[:, None, :]
        wide.weight.copy_(torch.cat([head.weight, members.reshape(-1, head.in_features)]))
        wide.bias.copy_(cast(Tensor, head.bias).repeat(1 + num_members))
    return wide
