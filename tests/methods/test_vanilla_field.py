"""The paper's network against a twin that is written out layer by layer."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from semantic_ns.methods.semantic_nerf_vanilla.field import SemanticNerfVanillaField, sinusoidal_encoding

CLASSES = 5


def network(num_classes: int = CLASSES, **options: object) -> SemanticNerfVanillaField:
    torch.manual_seed(0)
    return SemanticNerfVanillaField(num_classes, **options)  # pyright: ignore[reportArgumentType]


def samples() -> tuple[Tensor, Tensor]:
    """Positions [4, 3, 3] in metres, beyond a room, and unit directions [4, 3]."""
    generator = torch.Generator().manual_seed(1)
    directions = torch.randn(4, 3, generator=generator)
    return 20 * torch.rand(4, 3, 3, generator=generator) - 10, directions / directions.norm(dim=-1, keepdim=True)


def encoded(vector: list[float], num_frequencies: int) -> list[float]:
    """sin and cos of 2^k v for each component and k, in the order in which our layers take them, and v."""
    angles = [2.0**k * component for component in vector for k in range(num_frequencies)]
    return [math.sin(a) for a in angles] + [math.cos(a) for a in angles] + vector


def linear(layer: Any, x: list[float]) -> list[float]:
    weight, bias = layer.weight.double().tolist(), layer.bias.double().tolist()
    return [sum(w * v for w, v in zip(row, x, strict=True)) + b for row, b in zip(weight, bias, strict=True)]


def relu(x: list[float]) -> list[float]:
    return [max(0.0, value) for value in x]


def slow_values(
    net: SemanticNerfVanillaField, position_m: list[float], direction: list[float]
) -> tuple[list[float], list[float], list[float]]:
    """Raw density, colour and logits of one sample, as table 1.3 of any description of the network says."""
    x = encoded([component / 10 for component in position_m], 10)
    layers = list(net.trunk.layers)
    h = relu(linear(layers[0], x))
    for layer in layers[1:5]:
        h = relu(linear(layer, h))
    h = relu(linear(layers[5], x + h))
    for layer in layers[6:8]:
        h = relu(linear(layer, h))
    density = linear(net.density, h)
    logits = linear(net.semantic_head, relu(linear(net.semantic_trunk[0], h)))
    hidden = relu(linear(net.color[0], linear(net.feature, h) + encoded(direction, 4)))
    color = [1 / (1 + math.exp(-value)) for value in linear(net.color[2], hidden)]
    return density, color, logits


@pytest.mark.parametrize("num_classes", [1, 24, 101])
def test_a_network_has_628740_parameters_and_129_for_each_class(num_classes: int) -> None:
    assert sum(p.numel() for p in network(num_classes).parameters()) == 628_740 + 129 * num_classes


def test_layers_have_the_sizes_of_the_paper() -> None:
    net = network()
    trunk = [(layer.in_features, layer.out_features) for layer in net.trunk.layers]
    assert trunk == [(63, 256), *[(256, 256)] * 4, (319, 256), *[(256, 256)] * 2]
    others = (net.density, net.semantic_trunk[0], net.semantic_head, net.feature, net.color[0], net.color[2])
    sizes = [(layer.in_features, layer.out_features) for layer in others]
    assert sizes == [(256, 1), (256, 128), (128, CLASSES), (256, 256), (283, 128), (128, 3)]


@pytest.mark.parametrize("num_frequencies", [10, 4])
def test_the_encoding_is_of_powers_of_two_without_pi(num_frequencies: int) -> None:
    vectors = torch.tensor([[0.3, -0.7, 1.0], [0.0, 0.01, -1.0]])
    expected = torch.tensor([encoded(v, num_frequencies) for v in vectors.double().tolist()])
    found = sinusoidal_encoding(num_frequencies)(vectors)
    assert found.shape[-1] == 3 * (2 * num_frequencies + 1)
    # Single precision of angles up to 512.
    torch.testing.assert_close(found, expected, rtol=0, atol=3e-4)


def test_values_equal_those_of_the_layers_written_out() -> None:
    net, (positions, directions) = network(hidden_dim=32, semantic_width=8), samples()
    values = net(positions, directions)
    assert values.semantic_features is not None
    logits = net.semantic_head(values.semantic_features)
    for ray in range(len(directions)):
        for sample in range(positions.shape[1]):
            twin = slow_values(net, positions[ray, sample].tolist(), directions[ray].tolist())
            found = (values.raw_density[ray, sample], values.rgb[ray, sample], logits[ray, sample])
            for ours, theirs in zip(found, twin, strict=True):
                torch.testing.assert_close(ours, torch.tensor(theirs), rtol=1e-3, atol=2e-4)


def test_the_full_network_equals_the_layers_written_out() -> None:
    net, (positions, directions) = network(), samples()
    values = net(positions, directions)
    density, color, _ = slow_values(net, positions[1, 2].tolist(), directions[1].tolist())
    torch.testing.assert_close(values.raw_density[1, 2], torch.tensor(density), rtol=1e-3, atol=2e-4)
    torch.testing.assert_close(values.rgb[1, 2], torch.tensor(color), rtol=1e-3, atol=2e-4)


def test_gradients_equal_finite_differences_of_the_layers_written_out() -> None:
    net, (positions, directions) = network(hidden_dim=16, semantic_width=8), samples()
    position, direction = positions[:1, :1], directions[:1]

    def objective(found: tuple[list[float], list[float], list[float]]) -> float:
        return sum((n + 1) * value for n, value in enumerate([v for part in found for v in part]))

    values = net(position, direction)
    parts = (values.raw_density, values.rgb, net.semantic_head(values.semantic_features))
    flat = torch.cat([part.reshape(-1) for part in parts])
    (flat * torch.arange(1, len(flat) + 1)).sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        place = int(parameter.grad.abs().argmax())
        entries, step, sides = parameter.data.view(-1), 1e-3, []
        before = entries[place].item()
        for sign in (1, -1):
            entries[place] = before + sign * step
            sides.append(objective(slow_values(net, position[0, 0].tolist(), direction[0].tolist())))
        entries[place] = before
        assert parameter.grad.view(-1)[place].item() == pytest.approx((sides[0] - sides[1]) / (2 * step), rel=2e-2)


def test_density_and_logits_do_not_see_the_direction() -> None:
    net, (positions, directions) = network(hidden_dim=16), samples()
    ahead, back = net(positions, directions), net(positions, -directions)
    assert torch.equal(ahead.raw_density, back.raw_density)
    assert torch.equal(ahead.semantic_features, back.semantic_features)
    assert not torch.allclose(ahead.rgb, back.rgb)


@pytest.mark.parametrize("pass_gradients", [True, False])
def test_the_semantic_branch_reaches_the_trunk_unless_it_is_told_not_to(pass_gradients: bool) -> None:
    net = network(hidden_dim=16, pass_semantic_gradients=pass_gradients)
    net.semantic_head(net(*samples()).semantic_features).sum().backward()
    reached = {name for name, p in net.named_parameters() if p.grad is not None and bool(p.grad.abs().max() > 0)}
    assert {name for name in reached if name.startswith("semantic_")} != set()
    assert any(name.startswith("trunk") for name in reached) == pass_gradients


def test_without_semantics_there_are_no_features_and_the_parameters_are_the_same() -> None:
    with_classes, without = network(hidden_dim=16), network(hidden_dim=16, use_semantics=False)
    assert without(*samples()).semantic_features is None
    assert without.state_dict().keys() == with_classes.state_dict().keys()


def test_scene_positions_lie_in_the_unit_cube() -> None:
    positions = torch.tensor([[0.0, 0, 0], [1.0, -1, 1], [50, 3, -1000]])
    found = network(hidden_dim=16).unit_positions(positions)
    torch.testing.assert_close(found[:2], torch.tensor([[0.5, 0.5, 0.5], [0.75, 0.25, 0.75]]))
    assert ((found > 0) & (found < 1)).all()
