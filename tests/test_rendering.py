"""Rendered logits, entropy, confidence and depth."""

import math

import pytest
import torch

from semantic_ns.rendering import (
    composite,
    composite_logits,
    confidence,
    describe_logits,
    median_distance,
    normalised_entropy,
    planar_depth,
)
from support import reference


def random_ray(seed: int = 0) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(seed)
    weights = torch.rand(5, 9, 1) / 9
    return weights, torch.randn(5, 9, 6), torch.randn(4, 6), torch.randn(4)


def test_a_last_layer_per_ray_equals_equation_4_per_sample() -> None:
    weights, features, weight, bias = random_ray()
    torch.testing.assert_close(
        composite_logits(weights, features, weight, bias), reference.render_logits(weights, features, weight, bias)
    )


def test_a_constant_added_to_all_logits_adds_it_times_the_accumulation() -> None:
    weights, features, weight, bias = random_ray()
    shift = torch.randn(4)
    difference = composite_logits(weights, features, weight, bias + shift) - composite_logits(
        weights, features, weight, bias
    )
    torch.testing.assert_close(difference, weights.sum(1) * shift)


def test_one_opaque_sample_renders_the_logits_of_the_field_there() -> None:
    _, features, weight, bias = random_ray()
    opaque = torch.zeros(5, 9, 1)
    opaque[:, 4] = 1
    torch.testing.assert_close(composite_logits(opaque, features, weight, bias), features[:, 4] @ weight.T + bias)


def test_composite_gradients_agree_with_finite_differences() -> None:
    weights, features, _, _ = random_ray()
    inputs = (weights[:2, :3].double().requires_grad_(), features[:2, :3].double().requires_grad_())
    assert torch.autograd.gradcheck(composite, inputs)


def test_entropy_is_one_for_equal_logits_and_zero_for_certainty() -> None:
    assert normalised_entropy(torch.zeros(1, 8)).item() == pytest.approx(1, abs=1e-6)
    assert normalised_entropy(torch.tensor([[100.0, 0, 0]])).item() == pytest.approx(0, abs=1e-6)
    assert normalised_entropy(torch.zeros(3, 1)).tolist() == [[0.0]] * 3


def test_entropy_and_confidence_equal_their_definitions() -> None:
    logits = torch.tensor([[0.3, -1.0, 2.0, 0.0]])
    exponentials = [math.exp(value) for value in logits[0].tolist()]
    p = [value / sum(exponentials) for value in exponentials]
    assert normalised_entropy(logits).item() == pytest.approx(-sum(q * math.log(q) for q in p) / math.log(4), rel=1e-5)
    assert confidence(logits).item() == pytest.approx(max(p), rel=1e-5)


@pytest.mark.parametrize(("rays", "classes"), [(0, 3), (1, 1), (50, 24)])
def test_the_description_of_logits_is_that_of_each_function_alone(rays: int, classes: int) -> None:
    logits = torch.randn(rays, classes, generator=torch.Generator().manual_seed(rays)) * 5
    labels, likeliest, entropy = describe_logits(logits)
    assert torch.equal(labels, logits.argmax(-1, keepdim=True))
    torch.testing.assert_close(likeliest, confidence(logits), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(entropy, normalised_entropy(logits), rtol=1e-4, atol=1e-5)


def test_the_first_of_equal_classes_is_chosen() -> None:
    assert describe_logits(torch.tensor([[1.0, 3.0, 3.0]]))[0].item() == 1


def test_median_distance_is_where_half_of_the_light_is_gone() -> None:
    edges = torch.tensor([[1.0, 2.0, 3.0, 5.0]] * 4)
    weights = torch.tensor([[1.0, 0.0, 0.0], [0.2, 0.2, 0.6], [0.5, 0.0, 0.5], [0.1, 0.1, 0.1]])
    expected = torch.tensor([1.5, 3 + 2 * 0.1 / 0.6, 2.0, 5.0])
    torch.testing.assert_close(median_distance(weights, edges).flatten(), expected)


def test_median_distance_equals_a_search_along_the_ray() -> None:
    generator = torch.Generator().manual_seed(3)
    weights = torch.rand(20, 6, generator=generator)
    weights /= weights.sum(-1, keepdim=True)
    edges = torch.rand(20, 7, generator=generator).cumsum(-1)
    for row, row_edges, found in zip(weights.tolist(), edges.tolist(), median_distance(weights, edges), strict=True):
        left = 0.5
        for weight, start, end in zip(row, row_edges[:-1], row_edges[1:], strict=True):
            if weight >= left:
                assert found.item() == pytest.approx(start + (end - start) * left / weight, rel=1e-4)
                break
            left -= weight


def test_planar_depth_of_a_wall_is_the_same_for_every_ray() -> None:
    directions = torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.5, 1.0]])
    norm = directions.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(planar_depth(3.0 * norm, norm), torch.full((2, 1), 3.0))
