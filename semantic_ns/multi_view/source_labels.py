"""Labels that source frames have, carried over to the points that they see."""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F

from semantic_ns.geometry.views import SeenAt, sample_images

_TRUST = 0.95
"""Share of the labels in the classes of a point that they see; the rest is the network's."""


def carry_labels(
    logits: Float[Tensor, "rays classes"],
    labels: Int64[Tensor, "views height width"],
    at: SeenAt,
    is_seen: Bool[Tensor, "views rays"],
    closeness: Float[Tensor, "views rays"],
) -> Float[Tensor, "rays classes"]:
    """Mix the labels of sources into the classes of points that they see.

    Args:
        logits: class logits of the network.
        labels: classes of the sources, void -1.
        at: where the sources see the points.
        is_seen: which sources see a point.
        closeness: how far each source can be relied on at a point, see
            :func:`semantic_ns.multi_view.along_rays.closeness_of_views`; only the ratios of sources count.
    """
    one_hot = F.one_hot(labels.clamp(min=0), logits.shape[-1]).permute(0, 3, 1, 2).to(logits.dtype)
    one_hot = one_hot * (labels >= 0)[:, None]
    found = sample_images(one_hot, at.xy) * is_seen[:, None]
    # Where every source that sees the point is void there, nothing is known of it.
    trust = _TRUST * found.sum(dim=(0, 1)).clamp(max=1)[:, None]
    votes = (found * closeness[:, None]).sum(dim=0).mT  # [rays, classes]
    total = votes.sum(dim=-1, keepdim=True)
    mixed = (1 - trust) * logits.softmax(dim=-1) + trust * votes / total.clamp(min=1e-6)
    return torch.where(total > 0, mixed.clamp(min=1e-8).log(), logits)
