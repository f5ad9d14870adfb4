"""Rendering of packed samples against loops over rays: values and gradients."""

import pytest
import torch
from torch import Tensor

from semantic_ns.methods.semantic_ngp.packed import (
    composite_packed,
    first_samples,
    packed_median_distance,
    packed_visibility,
    packed_weights,
)
from semantic_ns.rendering import median_distance

COUNTS = [3, 0, 1, 7, 0, 0, 40, 2, 0]
"""Samples of each ray: some rays have none, the last one too."""


def packed() -> tuple[Tensor, Tensor, Tensor]:
    """Lengths, densities and rays."""
    generator = torch.Generator().manual_seed(2)
    total = sum(COUNTS)
    densities = 30 * torch.rand(total, generator=generator) ** 3
    densities[5] = 1e9  # opaque, in front of others
    rays = torch.repeat_interleave(torch.arange(len(COUNTS)), torch.tensor(COUNTS))
    return torch.rand(total, generator=generator) * 0.2, densities, rays


def weights_slowly(lengths: Tensor, densities: Tensor, rays: Tensor) -> Tensor:
    weights, transmittance, ray = [], torch.ones(()), -1
    for length, density, r in zip(lengths, densities, rays.tolist(), strict=True):
        transmittance = torch.ones(()) if r != ray else transmittance
        ray = r
        through = torch.exp(-density * length)
        weights.append(transmittance * (1 - through))
        transmittance = transmittance * through
    return torch.stack(weights)


def sums_slowly(weights: Tensor, values: Tensor, rays: Tensor) -> Tensor:
    sums = [torch.zeros(values.shape[1]) for _ in COUNTS]
    for weight, value, r in zip(weights, values, rays.tolist(), strict=True):
        sums[r] = sums[r] + weight * value
    return torch.stack(sums)


def test_weights_and_their_gradient_equal_a_loop() -> None:
    lengths, densities, rays = packed()
    cotangent = torch.randn(len(rays), generator=torch.Generator().manual_seed(1))
    results = []
    for compute in (
        lambda x: packed_weights(lengths, x, rays, len(COUNTS)),
        lambda x: weights_slowly(lengths, x, rays),
    ):
        leaf = densities.clone().requires_grad_()
        weights = compute(leaf)
        results.append((weights.detach(), torch.autograd.grad((weights * cotangent).sum(), leaf)[0]))
    torch.testing.assert_close(results[0][0], results[1][0], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(results[0][1], results[1][1], rtol=1e-4, atol=1e-6)
    assert results[0][1].abs().max() > 0.01


@pytest.mark.parametrize("channels", [1, 3, 20])
def test_sums_and_their_gradients_equal_a_loop(channels: int) -> None:
    rays = packed()[2]
    generator = torch.Generator().manual_seed(1)
    weights = torch.rand(len(rays), generator=generator, requires_grad=True)
    values = torch.randn(len(rays), channels, generator=generator, requires_grad=True)
    fast, slow = composite_packed(weights, values, rays, len(COUNTS)), sums_slowly(weights, values, rays)
    torch.testing.assert_close(fast, slow, rtol=1e-4, atol=1e-5)
    cotangent = torch.randn(slow.shape, generator=generator)
    gradients = [torch.autograd.grad((sums * cotangent).sum(), (weights, values)) for sums in (fast, slow)]
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_weights_of_a_ray_sum_to_what_it_stops() -> None:
    lengths, densities, rays = packed()
    weights = packed_weights(lengths, densities, rays, len(COUNTS))
    sums = composite_packed(weights, torch.ones(len(rays), 1), rays, len(COUNTS))[:, 0]
    optical = torch.zeros(len(COUNTS)).index_add(0, rays, lengths * densities)
    torch.testing.assert_close(sums, 1 - torch.exp(-optical), rtol=1e-4, atol=1e-5)


def test_the_median_distance_is_that_of_each_ray_alone() -> None:
    lengths, densities, rays = packed()
    weights, ends = packed_weights(lengths, densities, rays, len(COUNTS)), lengths.cumsum(0)
    edges = torch.stack([ends - lengths, ends], dim=-1)
    median = packed_median_distance(weights, edges, rays, len(COUNTS))
    for r, count in enumerate(COUNTS):
        mine = rays == r
        alone = torch.zeros(1)
        if count:
            alone = median_distance(weights[mine][None], torch.cat([edges[mine][:1, 0], ends[mine]])[None])[0]
        torch.testing.assert_close(median[r], alone, rtol=1e-5, atol=1e-5)


def test_visible_is_what_light_reaches_and_stops() -> None:
    optical = torch.tensor([0.1, 3.0, 0.5, 0.0, 0.2])
    rays = torch.tensor([0, 0, 0, 2, 2])
    visible = packed_visibility(optical, rays, 3, min_transmittance=0.1, min_opacity=0.05)
    assert visible.tolist() == [True, True, False, False, True]


def test_no_samples_give_zeros() -> None:
    none, rays = torch.empty(0), torch.empty(0, dtype=torch.long)
    assert packed_weights(none, none, rays, 2).shape == (0,)
    assert torch.equal(composite_packed(none, torch.empty(0, 3), rays, 2), torch.zeros(2, 3))
    assert torch.equal(packed_median_distance(none, torch.empty(0, 2), rays, 2), torch.zeros(2, 1))
    assert packed_visibility(none, rays, 2, 0.1, 0.1).shape == (0,)
    assert first_samples(rays, 2).tolist() == [0, 0, 0]
