"""How much a label is worth where, from what a field renders; nothing in here knows a label."""

import math

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, Int64
from numpy import ndarray
from torch import Tensor

from semantic_ns.active_learning.config import Strategy


def margin(logits: Float[Tensor, "*batch classes"]) -> Float[Tensor, "*batch"]:
    """Largest class probability minus the second largest, in [0, 1]; 1 for a single class."""
    probabilities = logits.softmax(dim=-1)
    if probabilities.shape[-1] == 1:
        return probabilities[..., 0]
    first, second = torch.topk(probabilities, 2, dim=-1).values.unbind(dim=-1)
    return first - second


def disagreement(logits: Float[Tensor, "*batch members classes"]) -> Float[Tensor, "*batch"]:
    """How much members differ in what they hold for likely, in [0, 1]: H(mean_m p_m) - mean_m H(p_m), over ln C.

    The information that a member's answer gives on which member it is (Houlsby et al. 2011, equation (2)); 0 where all
    agree, however unsure they are, and for a single class.

    Args:
        logits: class logits of each member of an ensemble.
    """
    num_classes = logits.shape[-1]
    if num_classes == 1:
        return torch.zeros_like(logits[..., 0, 0])
    logs = logits.log_softmax(dim=-1)
    mean = logs.exp().mean(dim=-2)
    each = torch.special.entr(logs.exp()).sum(dim=-1).mean(dim=-1)
    return ((torch.special.entr(mean).sum(dim=-1) - each) / math.log(num_classes)).clamp(min=0.0)


def uncertainty(
    strategy: Strategy,
    entropy: Float32[ndarray, "pixels"],
    confidence: Float32[ndarray, "pixels"],
    margin: Float32[ndarray, "pixels"],
) -> Float32[ndarray, "pixels"]:
    """How unsure the field is of each pixel, for the strategies that go by this alone: larger is less sure."""
    return {"entropy": entropy, "least-confidence": 1 - confidence, "margin": 1 - margin}[strategy]


def mean_by_group(
    values: Float[ndarray, "pixels *channels"], groups: Int64[ndarray, "pixels"], num_groups: int
) -> Float64[ndarray, "groups *channels"]:
    """Mean of the values of each group's pixels; NaN for a group without any.

    Args:
        values: values of the pixels.
        groups: 0..G-1 for each pixel.
        num_groups: G.
    """
    columns = values.reshape(len(values), int(np.prod(values.shape[1:]))).T
    sums = np.stack([np.bincount(groups, column, num_groups) for column in columns], axis=-1)
    counts = np.bincount(groups, minlength=num_groups)
    with np.errstate(invalid="ignore"):
        return (sums / counts[:, None]).reshape(num_groups, *values.shape[1:])
