"""Cross-entropy and distortion against their definitions."""

import math

import pytest
import torch
from nerfstudio.model_components.losses import lossfun_distortion

from semantic_ns.losses import (
    DepthNoise,
    depth_agreements,
    depth_loss,
    distortion_loss_cpu,
    near_camera_prices,
    normalized_label_weights,
    opacity_loss,
    semantic_cross_entropy,
    soft_cross_entropy,
)
from semantic_ns.losses_numba import DEPTH_OFFSET, ENOUGH_AGREEMENT
from support import reference


def random_logits(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(40, 7, generator=generator)
    return logits, torch.randint(-1, 7, (40,), generator=generator)


def test_cross_entropy_is_the_mean_over_labelled_rays() -> None:
    logits, labels = random_logits()
    assert semantic_cross_entropy(logits, labels).item() == pytest.approx(
        reference.cross_entropy(logits, labels), rel=1e-5
    )


@pytest.mark.parametrize(("rays", "classes"), [(0, 3), (1, 1), (33, 101)])
def test_the_kernel_equals_torch_in_value_and_gradient(rays: int, classes: int) -> None:
    generator = torch.Generator().manual_seed(rays)
    logits = (torch.randn(rays, classes, generator=generator) * 20).requires_grad_()
    labels = torch.randint(-1, classes, (rays,), generator=generator)
    fast, slow = semantic_cross_entropy(logits, labels), semantic_cross_entropy(logits.double(), labels)
    torch.testing.assert_close(fast.double(), slow, rtol=1e-5, atol=1e-6)
    gradients = [torch.autograd.grad(3 * loss, logits)[0] for loss in (fast, slow)]
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("label", [-2, 7])
def test_a_label_outside_the_classes_is_refused(label: int) -> None:
    with pytest.raises(ValueError, match=r"expected labels in -1\.\.6"):
        semantic_cross_entropy(torch.zeros(2, 7), torch.tensor([0, label]))


def test_void_rays_change_neither_the_loss_nor_any_gradient() -> None:
    logits, labels = random_logits()
    more = torch.cat([logits, torch.randn(9, 7) * 100]).requires_grad_()
    loss = semantic_cross_entropy(more, torch.cat([labels, torch.full((9,), -1)]))
    loss.backward()
    assert loss.item() == pytest.approx(semantic_cross_entropy(logits, labels).item(), rel=1e-6)
    assert more.grad is not None
    assert more.grad[-9:].abs().max() == 0


def test_a_batch_without_labels_has_loss_zero_and_gradient_zero() -> None:
    logits = torch.randn(5, 3, requires_grad=True)
    loss = semantic_cross_entropy(logits, torch.full((5,), -1))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert torch.equal(logits.grad, torch.zeros(5, 3))


def test_cross_entropy_gradient_agrees_with_finite_differences() -> None:
    logits, labels = random_logits(1)
    logits = logits[:6].double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: semantic_cross_entropy(x, labels[:6]), logits)


def random_distributions(rays: int, classes: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits, distributions and weights, some of which are 0."""
    generator = torch.Generator().manual_seed(rays)
    logits = (torch.randn(rays, classes, generator=generator) * 20).requires_grad_()
    weights = torch.rand(rays, generator=generator)
    return logits, torch.rand(rays, classes, generator=generator), weights * (weights > 0.3)


@pytest.mark.parametrize(("rays", "classes"), [(0, 3), (1, 1), (33, 101)])
def test_the_kernel_for_distributions_equals_torch_in_value_and_gradient(rays: int, classes: int) -> None:
    logits, targets, weights = random_distributions(rays, classes)
    fast, slow = soft_cross_entropy(logits, targets, weights), soft_cross_entropy(logits.double(), targets, weights)
    torch.testing.assert_close(fast.double(), slow, rtol=1e-5, atol=1e-6)
    gradients = [torch.autograd.grad(3 * loss, logits)[0] for loss in (fast, slow)]
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-6)


def test_soft_cross_entropy_is_the_weighted_mean_of_minus_t_log_p() -> None:
    logits, targets, weights = random_distributions(12, 5)
    by_ray = -(targets * logits.softmax(dim=-1).log()).sum(dim=-1)
    expected = (weights * by_ray).sum() / weights.sum()
    torch.testing.assert_close(soft_cross_entropy(logits, targets, weights), expected, rtol=1e-4, atol=1e-5)


def test_weights_of_labels_count_like_repeated_rays() -> None:
    logits, labels = random_logits(6)
    times = torch.arange(40) % 3
    repeated = semantic_cross_entropy(logits.repeat_interleave(times, 0), labels.repeat_interleave(times))
    torch.testing.assert_close(semantic_cross_entropy(logits, labels, times.float()), repeated)


def test_without_any_weight_the_losses_and_their_gradients_are_zero() -> None:
    logits, targets, _ = random_distributions(6, 4)
    nothing = torch.zeros(6)
    for loss in (
        soft_cross_entropy(logits, targets, nothing),
        semantic_cross_entropy(logits, torch.ones(6, dtype=torch.long), nothing),
    ):
        assert loss.item() == 0
        assert torch.autograd.grad(loss, logits)[0].abs().max() == 0


def test_shares_are_zero_where_void_and_sum_to_one() -> None:
    labels = torch.tensor([2, -1, 0, 1])
    torch.testing.assert_close(normalized_label_weights(labels), torch.tensor([1.0, 0.0, 1.0, 1.0]) / 3)
    torch.testing.assert_close(
        normalized_label_weights(labels, torch.tensor([3.0, 9.0, 1.0, 0.0])), torch.tensor([0.75, 0, 0.25, 0])
    )
    assert normalized_label_weights(torch.full((3,), -1)).abs().max() == 0


def test_distributions_over_other_classes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(2, 7\) like the logits, found \(2, 6\)"):
        soft_cross_entropy(torch.zeros(2, 7), torch.zeros(2, 6), torch.ones(2))


def random_histogram(rays: int, samples: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    edges = torch.rand(rays, samples + 1, generator=generator).sort(dim=-1).values
    return edges, torch.rand(rays, samples, generator=generator).requires_grad_()


@pytest.mark.parametrize(("rays", "samples"), [(1, 1), (3, 7), (17, 24)])
def test_distortion_and_its_gradient_equal_the_double_sum(rays: int, samples: int) -> None:
    edges, weights = random_histogram(rays, samples)
    fast, slow = distortion_loss_cpu(edges, weights), reference.distortion(edges, weights)
    torch.testing.assert_close(fast, slow, rtol=1e-4, atol=1e-6)
    fast_gradient, slow_gradient = (torch.autograd.grad(3 * loss, weights)[0] for loss in (fast, slow))
    torch.testing.assert_close(fast_gradient, slow_gradient, rtol=1e-4, atol=1e-6)


def test_distortion_equals_nerfstudios() -> None:
    edges, weights = random_histogram(50, 24)
    torch.testing.assert_close(
        distortion_loss_cpu(edges, weights), lossfun_distortion(edges, weights).mean(), rtol=1e-4, atol=1e-6
    )


def test_distortion_of_no_rays_is_zero() -> None:
    assert distortion_loss_cpu(torch.zeros(0, 5), torch.zeros(0, 4)).item() == 0


def test_any_number_of_threads_gives_the_same_losses() -> None:
    logits, labels = random_logits(4)
    logits.requires_grad_()
    edges, weights = random_histogram(50, 9)

    def everything() -> list[torch.Tensor]:
        losses = [semantic_cross_entropy(logits, labels), distortion_loss_cpu(edges, weights)]
        return [*(x.detach() for x in losses), *torch.autograd.grad(losses[0] + losses[1], [logits, weights])]

    reference.assert_same_with_any_number_of_threads(everything)


def test_non_contiguous_logits_and_labels_are_read_right() -> None:
    logits, labels = random_logits(5)
    strided = torch.stack([logits, logits * 0], dim=-1)[..., 0]
    strided_labels = torch.stack([labels, labels * 0], dim=-1)[..., 0]
    assert not strided.is_contiguous()
    assert semantic_cross_entropy(strided, strided_labels) == semantic_cross_entropy(logits, labels)


def test_the_opacity_loss_falls_with_the_light_that_ends_somewhere_and_is_about_zero_when_all_does() -> None:
    losses = [float(opacity_loss(torch.full((3, 1), share))) for share in (0.0, 0.3, 0.7, 1.0)]
    assert losses == sorted(losses, reverse=True)
    assert losses[0] == pytest.approx(-math.log(0.01))
    assert abs(losses[-1]) < 0.011


def test_what_is_near_costs_its_weight_times_how_near_it_is() -> None:
    generator = torch.Generator().manual_seed(0)
    weights, distances = torch.rand(4, 6, generator=generator), torch.rand(4, 6, generator=generator) * 2
    reach = 0.8
    slow = [
        sum(w * (1 - t / reach) for w, t in zip(ws, ts, strict=True) if t < reach)
        for ws, ts in zip(weights.tolist(), distances.tolist(), strict=True)
    ]
    assert near_camera_prices(weights, distances, reach).tolist() == pytest.approx(slow, rel=1e-5)


def test_a_surface_moved_away_from_the_camera_never_costs_more() -> None:
    weight = torch.ones(1, 1)
    prices = [float(near_camera_prices(weight, torch.full((1, 1), t), 0.4)) for t in (0.0, 0.1, 0.3, 0.4, 7.0)]
    assert prices == pytest.approx([1.0, 0.75, 0.25, 0.0, 0.0])


def slow_agreement(weights: list[float], edges: list[float], distance: float, scale: float) -> float:
    """The mean of the curve over each interval as a sum over many points of it."""
    total = 0.0
    for weight, low, high in zip(weights, edges, edges[1:], strict=False):
        points = [low + (high - low) * (i + 0.5) / 4000 for i in range(4000)]
        total += weight * sum(1 / (1 + ((t - distance) / scale) ** 2) for t in points) / len(points)
    return total


def random_rays(rays: int = 6, samples: int = 9) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    edges = torch.rand(rays, samples + 1, generator=generator).sort(dim=-1).values * 4
    weights = torch.rand(rays, samples, generator=generator) / samples
    return weights, edges, torch.rand(rays, generator=generator) * 4 + 0.1


def test_the_agreement_is_the_mean_of_the_curve_over_each_interval_times_its_weight() -> None:
    weights, edges, distances = random_rays()
    slow = [
        slow_agreement(w, e, d, 0.03 + 0.1 * d)
        for w, e, d in zip(weights.tolist(), edges.tolist(), distances.tolist(), strict=True)
    ]
    assert depth_agreements(weights, edges, distances, DepthNoise(0.03, 0.1)).tolist() == pytest.approx(slow, rel=1e-4)


def test_an_interval_without_width_agrees_as_its_point_does() -> None:
    found = depth_agreements(torch.ones(1, 1), torch.full((1, 2), 2.5), torch.tensor([2.0]), DepthNoise(0.5, 0.0))
    assert found.item() == pytest.approx(0.5)


def test_far_from_the_distance_the_agreement_keeps_its_digits() -> None:
    edges = torch.tensor([[9.0, 9.001]])
    found = depth_agreements(torch.ones(1, 1), edges, torch.tensor([1.0]), DepthNoise(0.001, 0.0))
    assert found.item() == pytest.approx((0.001 / 8) ** 2, rel=1e-3)


def test_the_depth_loss_rises_with_the_distance_between_where_light_ends_and_where_it_should() -> None:
    edges = torch.linspace(0, 4, 401)[None]
    noise, distance = DepthNoise(0.01, 0.01), torch.tensor([2.005])
    losses = torch.stack(
        [depth_loss(depth_agreements(row[None], edges, distance, noise), distance) for row in torch.eye(400)]
    )
    assert losses[200] == 0
    assert (losses[200:].diff() >= 0).all()
    assert (losses[:201].diff() <= 0).all()
    assert losses[0] > 3
    assert losses[-1] > 3


@pytest.mark.parametrize("part", [0.2, 0.95, 1.05, 2.0])
def test_the_depth_loss_asks_for_no_more_light_than_is_enough(part: float) -> None:
    share = part * ENOUGH_AGREEMENT
    agreement = torch.tensor([share], requires_grad=True)
    loss = depth_loss(agreement, torch.ones(1))
    loss.backward()
    expected = max(0.0, math.log((ENOUGH_AGREEMENT + DEPTH_OFFSET) / (share + DEPTH_OFFSET)))
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert agreement.grad is not None
    slope = -1 / (share + DEPTH_OFFSET) if part < 1 else 0
    assert agreement.grad.item() == pytest.approx(slope, rel=1e-5)


def test_the_gradient_of_the_depth_loss_is_that_of_differences() -> None:
    weights, edges, distances = (x.double() for x in random_rays())
    distances[2] = 0.0

    def loss(weights: torch.Tensor) -> torch.Tensor:
        return depth_loss(depth_agreements(weights, edges, distances, DepthNoise(0.03, 0.1)), distances)

    assert torch.autograd.gradcheck(loss, weights.requires_grad_())


def test_rays_of_unknown_depth_have_neither_loss_nor_gradient() -> None:
    weights, edges, _ = random_rays()
    weights.requires_grad_()
    unknown = torch.zeros(len(weights))
    loss = depth_loss(depth_agreements(weights, edges, unknown, DepthNoise(0.03, 0.1)), unknown)
    loss.backward()
    assert loss.item() == 0
    assert weights.grad is not None
    assert weights.grad.abs().max() == 0


def test_a_pixel_counts_the_same_whatever_share_of_the_others_is_known() -> None:
    agreements, distances = torch.tensor([0.2, 0.7]), torch.tensor([1.0, 0.0])
    alone = depth_loss(agreements[:1], distances[:1], num_rays=2)
    torch.testing.assert_close(depth_loss(agreements, distances), alone)


def test_a_pixel_that_is_contradicted_pulls_less_the_farther_off_it_is() -> None:
    """All light ends at 2; what a depth image says elsewhere would have the weight moved there by its gradient."""
    edges = torch.linspace(0, 4, 41)[None]
    pulls, expected = [], []
    for distance in (2.15, 2.35, 2.75, 3.55):
        weights = torch.zeros(1, 40)
        weights[0, 20] = 1.0
        weights.requires_grad_()
        known = torch.tensor([distance])
        agreement = depth_agreements(weights, edges, known, DepthNoise(0.02, 0.01))
        depth_loss(agreement, known).backward()
        expected.append(float(agreement.detach()) / (float(agreement.detach()) + DEPTH_OFFSET))
        assert weights.grad is not None
        # Of the density in front of the place: what its weight would take from those behind it.
        pulls.append(-float((weights.detach() * weights.grad).sum()))
    assert pulls == pytest.approx(expected, rel=1e-4)
    assert pulls == sorted(pulls, reverse=True)
    assert pulls[0] > 0.8
    assert pulls[-1] < 0.2
