"""Volume rendering of semantics as pure functions.

Symbols, used by every function of this module: ``weights`` w [rays, samples, 1] (they sum to the accumulation of a
ray), ``logits`` s [..., classes], ``probabilities`` p = softmax(s). Samples are axis -2, classes and features axis -1.
"""

import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor


def composite(
    weights: Float[Tensor, "*rays samples 1"], values: Float[Tensor, "*rays samples channels"]
) -> Float[Tensor, "*rays channels"]:
    """Sum of w_k v_k along each ray (Zhi et al. 2021, equation (4))."""
    # A batched product needs no [rays, samples, channels] intermediate.
    return torch.matmul(weights.transpose(-1, -2), values).squeeze(-2)


def composite_logits(
    weights: Float[Tensor, "*rays samples 1"],
    features: Float[Tensor, "*rays samples channels"],
    weight: Float[Tensor, "classes channels"],
    bias: Float[Tensor, "classes"],
) -> Float[Tensor, "*rays classes"]:
    """Rendered logits of a linear last layer, applied once per ray.

    sum_k w_k (W f_k + b) = W (sum_k w_k f_k) + b sum_k w_k: equal to Zhi et al. 2021, equation (4), at a cost that
    hardly depends on the number of classes.

    Args:
        weights: rendering weights.
        features: inputs f_k of the last layer.
        weight: W.
        bias: b.
    """
    return head_of_composited(composite(weights, features), weights.sum(dim=-2), weight, bias)


def head_of_composited(
    features: Float[Tensor, "*rays channels"],
    accumulation: Float[Tensor, "*rays 1"],
    weight: Float[Tensor, "classes channels"],
    bias: Float[Tensor, "classes"],
) -> Float[Tensor, "*rays classes"]:
    """Logits W f + b a of composited features f and accumulation a, see :func:`composite_logits`.

    The bias is a column of one matrix product: a product and a sum of their own cost more where classes are many.
    """
    return torch.cat([features, accumulation], dim=-1) @ torch.cat([weight, bias[:, None]], dim=-1).T


def confidence(logits: Float[Tensor, "*batch classes"]) -> Float[Tensor, "*batch 1"]:
    """Largest class probability, in [1 / C, 1]."""
    return logits.softmax(dim=-1).amax(dim=-1, keepdim=True)


def normalised_entropy(logits: Float[Tensor, "*batch classes"]) -> Float[Tensor, "*batch 1"]:
    """Entropy of the class probabilities divided by its maximum ln C, in [0, 1]; 0 for a single class."""
    num_classes = logits.shape[-1]
    if num_classes == 1:
        return torch.zeros_like(logits)
    log_p = logits.log_softmax(dim=-1)
    entropy = -(log_p.exp() * log_p).sum(dim=-1, keepdim=True)
    return (entropy / math.log(num_classes)).clamp(0.0, 1.0)


def describe_logits(
    logits: Float[Tensor, "rays classes"],
) -> tuple[Int64[Tensor, "rays 1"], Float[Tensor, "rays 1"], Float[Tensor, "rays 1"]]:
    """Most likely class, :func:`confidence` and :func:`normalised_entropy` of each ray, on the CPU in one pass."""
    if logits.device.type != "cpu" or logits.dtype != torch.float32:
        return logits.argmax(dim=-1, keepdim=True), confidence(logits), normalised_entropy(logits)
    from semantic_ns import rendering_numba as kernels

    num_rays, num_classes = logits.shape
    labels, likeliest, entropy = torch.empty(num_rays, dtype=torch.int64), torch.empty(num_rays), torch.empty(num_rays)
    kernels.describe(logits.detach().contiguous().numpy(), labels.numpy(), likeliest.numpy(), entropy.numpy())
    entropy = (entropy / max(math.log(num_classes), 1e-9)).clamp(0.0, 1.0)
    return labels[:, None], likeliest[:, None], entropy[:, None]


def median_distance(
    weights: Float[Tensor, "rays samples"], edges: Float[Tensor, "rays edges"]
) -> Float[Tensor, "rays 1"]:
    """Distance at which half of the light is gone, linearly inside its interval; the far end if that never happens.

    nerfstudio's median depth is the middle of that interval, which is long where samples are few.

    Args:
        weights: rendering weights.
        edges: distances of the ends of the intervals, one more than there are samples.
    """
    gone = weights.cumsum(dim=-1)
    index = (gone < 0.5).sum(dim=-1, keepdim=True).clamp(max=weights.shape[-1] - 1)
    weight, start, end = weights.gather(-1, index), edges.gather(-1, index), edges.gather(-1, index + 1)
    share = (0.5 - gone.gather(-1, index) + weight) / weight.clamp(min=1e-10)
    return torch.lerp(start, end, share.clamp(0.0, 1.0))


def planar_depth(
    distance: Float[Tensor, "*batch 1"], directions_norm: Float[Tensor, "*batch 1"]
) -> Float[Tensor, "*batch 1"]:
    """Depth along the camera axis from the distance along the unit ray.

    Args:
        distance: distance from the camera centre.
        directions_norm: length of the ray direction before normalisation, whose camera z-component is 1.
    """
    return distance / directions_norm
