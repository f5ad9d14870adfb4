"""The fused CPU kernel against plain torch: values and gradients."""

import pytest
import torch
from torch import Tensor

from semantic_ns.fields.cpu.network import EncodedRays, Network, RenderOptions
from semantic_ns.fields.cpu.render import render_fused, render_weights
from support import reference
from support.field_problem import problem


@pytest.mark.parametrize("pass_semantics", [True, False])
@pytest.mark.parametrize(("rays", "samples"), [(1, 1), (5, 7), (13, 24), (70, 40), (3, 200)])
def test_outputs_and_all_gradients_equal_plain_torch(rays: int, samples: int, pass_semantics: bool) -> None:
    encoded, lengths, network = problem(rays, samples)
    inputs, options = [*encoded, *network], RenderOptions(0.7, pass_semantics, min_transmittance=0.0)
    fast = render_fused(encoded, lengths, network, options)
    slow = reference.render_field(encoded, lengths, network, options)
    cotangents = [torch.randn_like(output) for output in slow]
    gradients = []
    for outputs in (fast, slow):
        total = sum(((output * g).sum() for output, g in zip(outputs, cotangents, strict=True)), torch.zeros(()))
        gradients.append(torch.autograd.grad(total, inputs, allow_unused=True))
    for a, b in zip(fast, slow, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    for a, b in zip(*gradients, strict=True):
        expected = torch.zeros_like(a) if b is None else b
        # Sums of hundreds of terms of either sign: what rounding leaves is relative to the largest.
        torch.testing.assert_close(a, expected, rtol=1e-3, atol=1e-5 * max(1.0, expected.abs().max().item()))


@pytest.mark.parametrize(("rays", "samples"), [(1, 1), (13, 24), (3, 200)])
def test_weights_alone_are_those_of_the_whole_rendering(rays: int, samples: int) -> None:
    encoded, lengths, network = problem(rays, samples, encoded=11, width=40, hidden=9)
    options = RenderOptions(0.7)
    expected = render_fused(encoded, lengths, network, options).weights
    torch.testing.assert_close(render_weights(encoded.enc, lengths, network, options), expected.detach())


@pytest.mark.parametrize("sizes", [{"encoded": 10, "width": 32}, {"features": 24}, {"encoded": 7, "hidden": 9}])
def test_any_layer_sizes_work(sizes: dict[str, int]) -> None:
    rays, lengths, network = problem(6, 10, **sizes)
    fast = render_fused(rays, lengths, network, RenderOptions())
    slow = reference.render_field(rays, lengths, network, RenderOptions())
    for a, b in zip(fast, slow, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    fast_gradient, slow_gradient = (torch.autograd.grad(x[0].sum() + x[1].sum(), rays.enc)[0] for x in (fast, slow))
    torch.testing.assert_close(fast_gradient, slow_gradient, rtol=1e-3, atol=1e-4)


def test_weights_and_the_light_behind_sum_to_one() -> None:
    rays, lengths, network = problem(9, 12)
    _, _, weights = render_fused(rays, lengths, network, RenderOptions())
    behind = reference.render_field(rays, lengths, network, RenderOptions())[2].sum(-1)
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(-1), behind, rtol=1e-4, atol=1e-5)


def test_samples_in_the_dark_change_nothing() -> None:
    rays, lengths, network = problem(4, 10)
    with torch.no_grad():
        lengths[:, 3] = 1e4  # opaque
    rgb, features, _ = render_fused(rays, lengths, network, RenderOptions())
    changed = rays.enc.detach().view(4, 10, -1).clone()
    changed[:, 4:] = torch.randn(4, 6, 20)
    again = render_fused(rays._replace(enc=changed.view(40, -1)), lengths, network, RenderOptions())
    torch.testing.assert_close(again[0], rgb)
    torch.testing.assert_close(again[1], features)


def test_a_density_beyond_all_bounds_is_opaque_and_trains_nothing_to_nan() -> None:
    rays, lengths, network = problem(4, 10)
    with torch.no_grad():
        network.b2[0] = 200.0
        lengths[:] = 100.0
    rgb, features, weights = render_fused(rays, lengths, network, RenderOptions())
    torch.testing.assert_close(weights[:, 0], torch.ones(4))
    gradients = torch.autograd.grad(rgb.sum() + features.sum(), [*rays, *network])
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)


def test_no_rays_give_empty_outputs() -> None:
    rays, lengths, network = problem(2, 4)
    outputs = render_fused(EncodedRays(rays.enc[:0], rays.conditioning[:0]), lengths[:0], network, RenderOptions())
    assert [tuple(output.shape) for output in outputs] == [(0, 3), (0, 64), (0, 4)]


def test_any_number_of_threads_gives_the_same_outputs_and_gradients() -> None:
    rays, lengths, network = problem(70, 40)
    inputs = [*rays, *network]

    def everything() -> list[Tensor]:
        outputs = render_fused(rays, lengths, network, RenderOptions())
        total = sum((output.square().sum() for output in outputs), torch.zeros(()))
        return [*(output.detach() for output in outputs), *torch.autograd.grad(total, inputs)]

    reference.assert_same_with_any_number_of_threads(everything)


def test_non_contiguous_inputs_and_gradients_are_read_right() -> None:
    rays, lengths, network = problem(11, 6)
    strided = [torch.stack([x.detach(), torch.full_like(x, 9.0)], dim=-1)[..., 0] for x in (*rays, lengths)]
    assert not any(x.is_contiguous() for x in strided)
    transposed = Network(*(m.detach().T.contiguous().T.requires_grad_() if m.ndim == 2 else m for m in network))
    gradients = []
    for arguments in ((rays, lengths, network), (EncodedRays(*strided[:2]), strided[2], transposed)):
        outputs = render_fused(*arguments, RenderOptions())
        cotangents = [torch.linspace(-1, 1, 2 * x.numel()).view(*x.shape, 2)[..., 0] for x in outputs]
        total = sum(((x * g).sum() for x, g in zip(outputs, cotangents, strict=True)), torch.zeros(()))
        gradients.append(torch.autograd.grad(total, arguments[2]))
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b)


def test_without_semantic_features_colour_and_weights_stay_the_same() -> None:
    rays, lengths, network = problem(5, 9)
    rgb, _, weights = render_fused(rays, lengths, network, RenderOptions())
    bare = network._replace(s1=network.s1[:, :0], t1=network.t1[:0])
    outputs = render_fused(rays, lengths, bare, RenderOptions())
    assert outputs[1].shape == (5, 0)
    torch.testing.assert_close((outputs[0], outputs[2]), (rgb, weights))
    parameters = [*rays, *network[:9]]
    for a, b in zip(
        torch.autograd.grad(outputs[0].sum() + outputs[2].square().sum(), parameters),
        torch.autograd.grad(rgb.sum() + weights.square().sum(), parameters),
        strict=True,
    ):
        torch.testing.assert_close(a, b)
