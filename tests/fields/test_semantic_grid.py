"""Semantic features of packed samples: the kernels against loops, and what they leave out."""

import pytest
import torch
from numba import get_num_threads, set_num_threads
from torch import Tensor, nn

from semantic_ns.fields.feature_grid import SemanticGrid, composite_packed_features, contributes


def loop_over_samples(enc: Tensor, first: Tensor, weights: Tensor, layer: nn.Linear) -> Tensor:
    """Sum of w relu(16 W e + b), ray by ray and sample by sample."""
    rows = []
    for ray in range(len(first) - 1):
        total = torch.zeros(layer.out_features, dtype=enc.dtype)
        for k in range(int(first[ray]), int(first[ray + 1])):
            total = total + weights[k] * torch.relu(16 * layer.weight @ enc[k] + layer.bias)
        rows.append(total)
    everything = torch.cat([tensor.flatten() for tensor in (enc, weights, layer.weight, layer.bias)])
    nothing = 0 * everything.sum()  # a gradient of zeros where there is no sample
    return (torch.stack(rows) if rows else torch.zeros(0, layer.out_features, dtype=enc.dtype)) + nothing


COUNTS = {
    "one sample each": [1] * 5,
    "rays without a sample": [0, 3, 0, 0, 7, 0],
    "no sample at all": [0, 0, 0],
    "no ray": [],
    "more than a block on one ray": [70, 1, 130],
    "many rays": [3, 0, 5, 1] * 30,
}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("sizes", [(12, 64), (5, 13), (3, 8)], ids=str)
@pytest.mark.parametrize("counts", COUNTS.values(), ids=COUNTS.keys())
def test_composited_features_and_gradients_equal_a_loop(
    counts: list[int], sizes: tuple[int, int], threads: int
) -> None:
    generator = torch.Generator().manual_seed(3)
    first = torch.tensor([0, *counts]).cumsum(0)
    enc = torch.randn(int(first[-1]), sizes[0], generator=generator)
    weights = torch.rand(len(enc), generator=generator)
    towards = torch.randn(len(counts), sizes[1], generator=generator)
    torch.manual_seed(0)
    layer = nn.Linear(*sizes)
    results = []
    before = get_num_threads()
    set_num_threads(threads)
    try:
        for dtype, composite in ((torch.float32, composite_packed_features), (torch.float64, loop_over_samples)):
            twin = nn.Linear(*sizes).to(dtype)
            twin.load_state_dict(layer.state_dict())
            inputs = [tensor.to(dtype).requires_grad_() for tensor in (enc, weights)]
            sums = composite(inputs[0], first, inputs[1], twin)
            loss = (sums * towards.to(dtype)).sum()
            results.append([sums, *torch.autograd.grad(loss, [*inputs, *twin.parameters()])])
    finally:
        set_num_threads(before)
    for fast, slow in zip(*results, strict=True):
        torch.testing.assert_close(fast, slow.float(), rtol=1e-4, atol=1e-3)


def grid(backend: str) -> SemanticGrid:
    torch.manual_seed(1)
    built = SemanticGrid(num_levels=3, min_res=4, max_res=32, log2_hashmap_size=8, width=10, backend=backend)  # pyright: ignore[reportArgumentType]
    nn.init.uniform_(built.grid.hash_table, -1.0, 1.0)
    return built


def transmittances(rays: int, samples: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    weights = torch.rand(rays, samples, generator=generator) ** 4
    return torch.rand(rays * samples, 3, generator=generator), weights / weights.sum(dim=1, keepdim=True)


def test_samples_that_give_little_light_have_no_say() -> None:
    x, weights = transmittances(rays=20, samples=16)
    assert 0 < int(contributes(weights).sum()) < weights.numel()
    features, accumulation = grid("numba").composite(x, weights)
    kept = weights * (weights >= 0.25 * weights.amax(dim=1, keepdim=True))
    every = grid("numba")(x).view(20, 16, -1)
    torch.testing.assert_close(features, (kept[..., None] * every).sum(dim=1), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(accumulation, kept.sum(dim=1, keepdim=True))


def test_torch_and_kernels_composite_alike_in_value_and_gradient() -> None:
    x, weights = transmittances(rays=9, samples=7)
    results = []
    for backend in ("numba", "torch"):
        semantic_grid, given = grid(backend), weights.clone().requires_grad_()
        features, accumulation = semantic_grid.composite(x, given)
        loss = (features * torch.linspace(-1, 1, features.shape[1])).sum() + accumulation.square().sum()
        results.append([features, *torch.autograd.grad(loss, [given, *semantic_grid.parameters()])])
    for fast, slow in zip(*results, strict=True):
        torch.testing.assert_close(fast, slow, rtol=1e-4, atol=1e-5)


def test_of_every_ray_with_light_a_sample_has_a_say_and_of_others_none() -> None:
    weights = torch.tensor([[0.0, 1e-6, 3e-6], [0.0, 0.0, 0.0], [0.25, 0.25, 0.5], [0.9, 0.09, 0.0]])
    expected = torch.tensor([[0, 1, 1], [0, 0, 0], [1, 1, 1], [1, 0, 0]]).bool()
    assert torch.equal(contributes(weights), expected)
