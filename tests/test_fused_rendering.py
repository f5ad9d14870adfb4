"""The fused CPU kernel against plain torch: values and gradients."""

import pytest
import reference
import torch
from torch import Tensor

from semantic_ns.fields.fused_rendering import render_fused


def problem(
    rays: int, samples: int, encoded: int = 20, width: int = 64, hidden: int = 16, features: int = 64
) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor, ...]]:
    torch.manual_seed(rays + samples)

    def parameter(*shape: int) -> Tensor:
        return (torch.randn(*shape) * shape[0] ** -0.5).requires_grad_()

    network = [
        parameter(encoded, width), parameter(width), parameter(width, hidden), parameter(hidden),
        parameter(hidden, width), parameter(width, width), parameter(width), parameter(3, width), parameter(3),
        parameter(hidden, features), parameter(features),
    ]  # fmt: skip
    with torch.no_grad():
        network[4][0] = 0
        network[9][0] = 0
    enc = torch.randn(rays * samples, encoded, requires_grad=True)
    return enc, torch.randn(rays, width, requires_grad=True), torch.rand(rays, samples) * 0.5, tuple(network)


@pytest.mark.parametrize("pass_semantics", [True, False])
@pytest.mark.parametrize(("rays", "samples"), [(1, 1), (5, 7), (13, 24), (40, 16), (3, 200)])
def test_outputs_and_all_gradients_equal_plain_torch(rays: int, samples: int, pass_semantics: bool) -> None:
    enc, cond, delta, network = problem(rays, samples)
    inputs = [enc, cond, *network]
    fast = render_fused(enc, cond, delta, network, 0.7, pass_semantics)
    slow = reference.render_field(enc, cond, delta, network, 0.7, pass_semantics)
    cotangents = [torch.randn_like(output) for output in slow]
    gradients = []
    for outputs in (fast, slow):
        total = sum(((output * g).sum() for output, g in zip(outputs, cotangents, strict=True)), torch.zeros(()))
        gradients.append(torch.autograd.grad(total, inputs, allow_unused=True))
    for a, b in zip(fast, slow, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, torch.zeros_like(a) if b is None else b, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("sizes", [{"encoded": 10, "width": 32}, {"features": 24}, {"encoded": 7, "hidden": 9}])
def test_any_layer_sizes_work(sizes: dict[str, int]) -> None:
    enc, cond, delta, network = problem(6, 10, **sizes)
    fast = render_fused(enc, cond, delta, network, 1.0, True)
    slow = reference.render_field(enc, cond, delta, network, 1.0, True)
    for a, b in zip(fast, slow, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    fast_gradient, slow_gradient = (torch.autograd.grad(x[0].sum() + x[1].sum(), enc)[0] for x in (fast, slow))
    torch.testing.assert_close(fast_gradient, slow_gradient, rtol=1e-3, atol=1e-4)


def test_weights_and_the_light_behind_sum_to_one() -> None:
    enc, cond, delta, network = problem(9, 12)
    _, _, weights = render_fused(enc, cond, delta, network, 1.0, True)
    behind = reference.render_field(enc, cond, delta, network, 1.0, True)[2].sum(-1)
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(-1), behind, rtol=1e-4, atol=1e-5)


def test_samples_in_the_dark_change_nothing() -> None:
    enc, cond, delta, network = problem(4, 10)
    with torch.no_grad():
        delta[:, 3] = 1e4  # opaque
    rgb, features, _ = render_fused(enc, cond, delta, network, 1.0, True)
    changed = enc.detach().view(4, 10, -1).clone()
    changed[:, 4:] = torch.randn(4, 6, 20)
    again = render_fused(changed.view(40, -1), cond, delta, network, 1.0, True)
    torch.testing.assert_close(again[0], rgb)
    torch.testing.assert_close(again[1], features)


def test_no_rays_give_empty_outputs() -> None:
    enc, cond, delta, network = problem(2, 4)
    outputs = render_fused(enc[:0], cond[:0], delta[:0], network, 1.0, True)
    assert [tuple(output.shape) for output in outputs] == [(0, 3), (0, 64), (0, 4)]
