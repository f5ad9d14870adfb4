"""Slow, obvious twins of the fast formulas: loops over rays, samples and classes."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import numba
import torch
from torch import Tensor

from semantic_ns.fields.cpu.network import EncodedRays, Network, RenderOptions
from semantic_ns.fields.cpu.render import CompositedRays


def cross_entropy(logits: Tensor, labels: Tensor) -> float:
    """Mean negative log-probability of the labelled rays, ray by ray."""
    total, count = 0.0, 0
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        if label == -1:
            continue
        biggest = max(row)
        log_sum = biggest + math.log(sum(math.exp(value - biggest) for value in row))
        total += log_sum - row[label]
        count += 1
    return total / max(1, count)


def render_logits(weights: Tensor, features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Zhi et al. 2021, equation (4): the last layer applied at every sample, then summed with the weights."""
    rays, samples, _ = weights.shape
    result = torch.zeros(rays, weight.shape[0])
    for r in range(rays):
        for k in range(samples):
            result[r] += weights[r, k, 0] * (weight @ features[r, k] + bias)
    return result


def distortion(edges: Tensor, weights: Tensor) -> Tensor:
    """Barron et al. 2022, equation (15), as a double sum; mean over rays."""
    centres = (edges[:, 1:] + edges[:, :-1]) / 2
    total = weights.new_zeros(())
    samples = weights.shape[1]
    for r in range(weights.shape[0]):
        for i in range(samples):
            for j in range(samples):
                total = total + weights[r, i] * weights[r, j] * (centres[r, i] - centres[r, j]).abs()
            total = total + weights[r, i] ** 2 * (edges[r, i + 1] - edges[r, i]) / 3
    return total / weights.shape[0]


def render_field(
    rays: EncodedRays,
    lengths: Tensor,
    network: Network,
    options: RenderOptions,
) -> CompositedRays:
    """The lean field and its compositing in plain torch; the symbols are those of `fields.cpu.network`.

    Samples that no more than `options.min_transmittance` of the light reaches have no colour and no semantics,
    as in the kernel.
    """
    w1, b1, w2, b2, c1, c2, d2, c3, d3, s1, t1 = network
    num_rays, samples = lengths.shape
    hidden = (torch.relu(rays.enc @ w1 + b1) @ w2 + b2).view(num_rays, samples, -1)
    optical = options.density_scale * torch.exp(hidden[..., 0]) * lengths
    transmittances = torch.exp(-torch.cat([torch.zeros(num_rays, 1), optical.cumsum(-1)], -1))  # [rays, samples + 1]
    weights = transmittances[:, :-1] - transmittances[:, 1:]
    residual = torch.cat([torch.zeros(num_rays, samples - 1), transmittances[:, -1:]], -1)
    visible = (transmittances[:, :-1] > options.min_transmittance).float()
    visible[:, -1] = torch.maximum(visible[:, -1], (transmittances[:, -1] > options.min_transmittance).float())
    x = torch.relu(torch.relu(hidden @ c1 + rays.conditioning[:, None]) @ c2 + d2)
    color = torch.sigmoid(x @ c3 + d3)
    semantic_input, semantic_weights = hidden, weights
    if not options.pass_semantics:
        semantic_input, semantic_weights = hidden.detach(), weights.detach()
    features = torch.relu(semantic_input @ s1 + t1)
    rgb = (((weights + residual) * visible)[..., None] * color).sum(1)
    return CompositedRays(rgb, ((semantic_weights * visible)[..., None] * features).sum(1), weights)


def assert_same_with_any_number_of_threads(compute: Callable[[], Sequence[Tensor]]) -> None:
    """Assert that a computation by kernels gives the same bits with one thread and with as many as there may be."""
    before = numba.get_num_threads()
    most: int = numba.config.NUMBA_NUM_THREADS  # pyright: ignore[reportAttributeAccessIssue, reportPrivateImportUsage]
    assert most > 1, "one thread cannot show this; set NUMBA_NUM_THREADS to 2 or more"
    results = []
    try:
        for threads in (1, most):
            numba.set_num_threads(threads)
            results.append([result.clone() for result in compute()])
    finally:
        numba.set_num_threads(before)
    for one, many in zip(*results, strict=True):
        torch.testing.assert_close(many, one, rtol=0, atol=0)


def slow_refined(distances: list[float], weights: list[float], draws: list[float]) -> list[float]:
    middles = [(a + b) / 2 for a, b in pairwise(distances)]
    inner = [w + 1e-5 for w in weights[1:-1]]
    drawn = []
    for u in draws:
        below = 0.0
        for number, weight in enumerate(inner):
            share = weight / sum(inner)
            if u <= below + share or number == len(inner) - 1:
                part = min(1.0, (u - below) / share)
                drawn.append(middles[number] + part * (middles[number + 1] - middles[number]))
                break
            below += share
    return sorted(distances + drawn)
