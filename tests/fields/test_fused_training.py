"""The training kernel against plain torch: losses and gradients, whatever the rays and their targets are."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from semantic_ns.batch import Targets
from semantic_ns.fields.cpu.network import EncodedRays, Network, RenderOptions
from semantic_ns.fields.cpu.train import Head, Intervals, KnownLoss, LossOptions, LossWeights, TrainedRays, train_fused
from semantic_ns.losses import (
    DepthNoise,
    depth_agreements,
    depth_loss,
    near_camera_prices,
    semantic_cross_entropy,
    soft_cross_entropy,
)
from semantic_ns.losses_numba import ENOUGH_AGREEMENT
from semantic_ns.rendering import head_of_composited
from support import reference
from support.field_problem import problem

WEIGHTS = LossWeights(distortion=0.3, semantic=0.7, opacity=0.2, near_camera=0.4, depth=0.6)
LOSSES = LossOptions(WEIGHTS, near_camera_reach=0.8, depth_noise=DepthNoise(0.02, 0.05))
OPTIONS = RenderOptions(density_scale=0.7, min_transmittance=0.0)
Sizes = dict[str, int]


def head_of(classes: int, features: int = 64) -> Head:
    torch.manual_seed(classes)
    return Head(torch.randn(classes, features, requires_grad=True), torch.randn(classes, requires_grad=True))


def spacings_of(rays: int, samples: int) -> Tensor:
    return torch.rand(rays, samples + 1, generator=torch.Generator().manual_seed(samples)).sort(dim=-1).values


def intervals_of(lengths: Tensor) -> Intervals:
    rays, samples = lengths.shape
    starts = torch.rand(rays, generator=torch.Generator().manual_seed(rays)) / 2
    return Intervals(spacings_of(rays, samples), starts, lengths)


def targets_of(rays: int, classes: int, uniform: int | None = None, kind: str = "labels") -> Targets:
    generator = torch.Generator().manual_seed(rays + classes)
    targets = Targets(
        color=torch.rand(rays, 3, generator=generator)[:uniform],
        labels=torch.randint(-1, classes, (rays,), generator=generator),
    )
    weights = torch.rand(rays, generator=generator) * (torch.rand(rays, generator=generator) > 0.3)
    soft = torch.rand(rays, classes, generator=generator) / classes
    distances = torch.rand(rays, generator=generator) * 5 * (torch.rand(rays, generator=generator) > 0.3)
    return {
        "labels": targets,
        "weighted labels": replace(targets, label_weights=weights),
        "distributions": replace(targets, soft_labels=soft),
        "weighted distributions": replace(targets, soft_labels=soft, label_weights=weights),
        "all void": replace(targets, labels=torch.full((rays,), -1)),
        "no weight": replace(targets, label_weights=torch.zeros(rays)),
        "depth": replace(targets, distances=distances[:uniform]),
        "unknown depth": replace(targets, distances=torch.zeros(rays)[:uniform]),
    }[kind]


def slow_losses(
    rays: EncodedRays, intervals: Intervals, network: Network,
    head: Head | None, targets: Targets, losses: LossOptions, options: RenderOptions,
) -> TrainedRays:  # fmt: skip
    """Plain torch: render everything, then one loss after the other."""
    spacings, starts, lengths = intervals
    rgb, features, weights = reference.render_field(rays, lengths, network, options)
    uniform = targets.color.shape[0]
    semantic = torch.zeros(())
    if head is not None:
        accumulation = weights.sum(-1, keepdim=True)
        logits = head_of_composited(features, accumulation if options.pass_semantics else accumulation.detach(), *head)
        ones = torch.ones(len(logits)) if targets.label_weights is None else targets.label_weights
        # In double precision torch computes it, not the kernel.
        if targets.soft_labels is None:
            semantic = semantic_cross_entropy(logits.double(), targets.labels, ones)
        else:
            semantic = soft_cross_entropy(logits.double(), targets.soft_labels, ones)
    color = (rgb[:uniform] - targets.color).square().mean() if uniform else torch.zeros(())
    distortion = reference.distortion(spacings[:uniform], weights[:uniform]) if uniform else torch.zeros(())
    opacity = -(weights[:uniform].sum(-1) + 0.01).log().mean() if uniform else torch.zeros(())
    centres = starts[:, None] + lengths.cumsum(-1) - lengths / 2
    near = near_camera_prices(weights, centres, losses.near_camera_reach).mean()
    depth = torch.zeros(())
    if targets.distances is not None and uniform:
        edges = starts[:, None] + torch.nn.functional.pad(lengths.cumsum(-1), (1, 0))
        agreements = depth_agreements(
            weights[:uniform].double(), edges[:uniform].double(), targets.distances.double(), losses.depth_noise
        )
        depth = depth_loss(agreements, targets.distances)
    rgb = torch.where(torch.arange(len(rgb))[:, None] < uniform, rgb, 0.0)
    factors = losses.weights
    geometry = (
        factors.distortion * distortion,
        factors.opacity * opacity,
        factors.near_camera * near,
        factors.depth * depth.float(),
    )
    return TrainedRays(color, *geometry, factors.semantic * semantic.float(), rgb, weights)


def total(result: TrainedRays) -> Tensor:
    geometry = result.distortion_loss + result.opacity_loss + result.near_camera_loss + result.depth_loss
    return result.color_loss + geometry + result.semantic_loss


def assert_equal_to_torch(
    rays: int,
    samples: int,
    classes: int,
    targets: Targets,
    options: RenderOptions = OPTIONS,
    sizes: Sizes | None = None,
    losses: LossOptions = LOSSES,
) -> None:
    sizes = sizes or {}
    encoded, lengths, network = problem(rays, samples, **sizes)
    head = head_of(classes, sizes.get("features", 64)) if classes else None
    inputs = [tensor for tensor in (*encoded, *network, *(head or ())) if tensor.numel()]
    fast = train_fused(encoded, intervals_of(lengths), network, head, targets, losses, options)
    slow = slow_losses(encoded, intervals_of(lengths), network, head, targets, losses, options)
    for name in (
        "color_loss",
        "distortion_loss",
        "opacity_loss",
        "near_camera_loss",
        "depth_loss",
        "semantic_loss",
        "rgb",
        "weights",
    ):
        torch.testing.assert_close(getattr(fast, name), getattr(slow, name), rtol=1e-4, atol=1e-5)
    assert not fast.rgb.requires_grad
    assert not fast.weights.requires_grad
    gradients = [torch.autograd.grad(2 * total(result), inputs, allow_unused=True) for result in (fast, slow)]
    for a, b in zip(*gradients, strict=True):
        expected = torch.zeros_like(a) if b is None else b
        # Sums of hundreds of terms of either sign: what rounding leaves is relative to the largest.
        torch.testing.assert_close(a, expected, rtol=1e-3, atol=1e-5 * max(1.0, expected.abs().max().item()))


@pytest.mark.parametrize("pass_semantics", [True, False])
@pytest.mark.parametrize(
    ("rays", "samples", "classes"), [(1, 1, 1), (5, 7, 24), (33, 16, 101), (70, 9, 7), (9, 40, 7), (2, 70, 2)]
)
def test_losses_and_all_gradients_equal_plain_torch(
    rays: int, samples: int, classes: int, pass_semantics: bool
) -> None:
    options = replace(OPTIONS, pass_semantics=pass_semantics)
    assert_equal_to_torch(rays, samples, classes, targets_of(rays, classes), options)


@pytest.mark.parametrize(
    "kind",
    ["weighted labels", "distributions", "weighted distributions", "all void", "no weight", "depth", "unknown depth"],
)
def test_every_kind_of_target_trains_like_plain_torch(kind: str) -> None:
    assert_equal_to_torch(13, 8, 9, targets_of(13, 9, kind=kind))


@pytest.mark.parametrize("uniform", [0, 1, 6])
@pytest.mark.parametrize(("rays", "samples"), [(11, 8), (13, 70)])
def test_depth_trains_the_rays_that_have_a_colour_like_plain_torch(rays: int, samples: int, uniform: int) -> None:
    assert_equal_to_torch(rays, samples, 5, targets_of(rays, 5, uniform, "depth"))


def test_rays_of_which_enough_light_ends_at_their_depth_train_like_plain_torch() -> None:
    targets, losses = targets_of(40, 5, kind="depth"), replace(LOSSES, depth_noise=DepthNoise(0.4, 0.2))
    assert targets.distances is not None
    encoded, lengths, network = problem(40, 16)
    *_, weights = reference.render_field(encoded, lengths, network, OPTIONS)
    starts = intervals_of(lengths).starts[:, None]
    edges = starts + torch.nn.functional.pad(lengths.cumsum(-1), (1, 0))
    agreements = depth_agreements(weights, edges, targets.distances, losses.depth_noise)[targets.distances > 0]
    assert 3 < int((agreements > ENOUGH_AGREEMENT).sum()) < len(agreements) - 3
    assert_equal_to_torch(40, 16, 5, targets, losses=losses)


def test_unknown_depth_changes_neither_losses_nor_gradients() -> None:
    rays, lengths, network = problem(9, 12)
    head, intervals = head_of(4), intervals_of(lengths)
    results = [
        train_fused(rays, intervals, network, head, targets_of(9, 4, kind=kind), LOSSES, OPTIONS)
        for kind in ("labels", "unknown depth")
    ]
    assert results[1].depth_loss.item() == 0
    gradients = [torch.autograd.grad(total(result), [*rays, *network, *head]) for result in results]
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


@pytest.mark.parametrize("uniform", [0, 1, 6])
def test_rays_beyond_the_uniform_ones_train_semantics_and_keep_the_space_before_the_camera_empty(uniform: int) -> None:
    assert_equal_to_torch(11, 8, 5, targets_of(11, 5, uniform))


@pytest.mark.parametrize(
    "sizes", [{"encoded": 10, "width": 32}, {"features": 24}, {"encoded": 7, "hidden": 9, "features": 13}]
)
def test_any_layer_sizes_train_like_plain_torch(sizes: dict[str, int]) -> None:
    assert_equal_to_torch(6, 10, 4, targets_of(6, 4), sizes=sizes)


def test_without_classes_colour_and_distortion_train_like_plain_torch() -> None:
    assert_equal_to_torch(6, 10, 0, targets_of(6, 3), sizes={"features": 0})


@pytest.mark.parametrize("uniform", [0, 1, 10])
def test_without_features_rays_that_have_no_colour_train_weights_alone(uniform: int) -> None:
    assert_equal_to_torch(40, 16, 0, targets_of(40, 3, uniform), sizes={"features": 0})


def known_loss(weights: Tensor, parameter: Tensor) -> KnownLoss:
    """A loss that is linear in the weights and in a parameter."""
    return KnownLoss((weights * parameter.detach()).sum().detach(), parameter.detach(), [parameter], [weights.detach()])


def test_a_loss_that_is_known_already_reaches_the_geometry_and_its_own_parameters() -> None:
    encoded, lengths, network = problem(9, 12, features=0)
    targets, intervals = targets_of(9, 3, uniform=4), intervals_of(lengths)
    parameter = torch.randn(lengths.shape, generator=torch.Generator().manual_seed(2)).requires_grad_()
    inputs = [tensor for tensor in (*encoded, *network, parameter) if tensor.numel()]
    slow = slow_losses(encoded, intervals, network, None, targets, LOSSES, OPTIONS)
    expected_loss = (parameter * slow.weights).sum()
    expected = torch.autograd.grad(3 * (total(slow) + expected_loss), inputs)
    known = known_loss(slow.weights, parameter)
    fast = train_fused(encoded, intervals, network, known, targets, LOSSES, OPTIONS)
    torch.testing.assert_close(fast.semantic_loss, expected_loss)
    for a, b in zip(torch.autograd.grad(3 * total(fast), inputs), expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5 * max(1.0, b.abs().max().item()))


def test_a_known_loss_has_the_factor_of_the_others() -> None:
    encoded, lengths, network = problem(9, 12, features=0)
    known = known_loss(torch.rand(lengths.shape), torch.rand(lengths.shape).requires_grad_())
    result = train_fused(encoded, intervals_of(lengths), network, known, targets_of(9, 3), LOSSES, OPTIONS)
    with pytest.raises(RuntimeError, match=r"sum of the losses.*\[1\.0, 1\.0, 1\.0, 1\.0, 2\.0\]"):
        (total(result) + result.semantic_loss).backward()


def test_without_any_lit_sample_the_kernel_trains_weights_alone() -> None:
    # The least light is never exceeded, so no sample has a colour; the gradient of dark samples is left out.
    rays, samples = 5, 6
    encoded, lengths, network = problem(rays, samples)
    head, targets = head_of(4), targets_of(rays, 4)
    options = replace(OPTIONS, min_transmittance=1.0)
    result = train_fused(encoded, intervals_of(lengths), network, head, targets, LOSSES, options)
    torch.testing.assert_close(result.color_loss, targets.color.square().mean())
    gradients = torch.autograd.grad(total(result), [*encoded, *network, *head])
    assert all(gradient.abs().max() == 0 for gradient in gradients[:-1])
    assert gradients[-1].abs().max() > 0  # the head's bias sees the accumulation


def test_no_rays_have_losses_zero() -> None:
    rays, lengths, network = problem(2, 4)
    intervals = Intervals(*(tensor[:0] for tensor in intervals_of(lengths)))
    none = EncodedRays(rays.enc[:0], rays.conditioning[:0])
    result = train_fused(none, intervals, network, head_of(3), targets_of(0, 3), LOSSES, OPTIONS)
    assert total(result).item() == 0


def test_any_number_of_threads_gives_the_same_losses_and_gradients() -> None:
    rays, lengths, network = problem(70, 40)
    head, targets, intervals = head_of(7), targets_of(70, 7), intervals_of(lengths)

    def everything() -> list[Tensor]:
        result = train_fused(rays, intervals, network, head, targets, LOSSES, OPTIONS)
        return [total(result).detach(), *torch.autograd.grad(total(result), [*rays, *network, *head])]

    reference.assert_same_with_any_number_of_threads(everything)


def test_losses_of_different_factors_are_refused() -> None:
    rays, lengths, network = problem(3, 4)
    result = train_fused(rays, intervals_of(lengths), network, head_of(3), targets_of(3, 3), LOSSES, OPTIONS)
    with pytest.raises(RuntimeError, match=r"sum of the losses.*\[1\.0, 2\.0, 1\.0, 1\.0, 1\.0\]"):
        (total(result) + result.distortion_loss).backward()


def test_labels_and_distributions_that_fit_no_class_are_refused() -> None:
    rays, lengths, network = problem(3, 4)
    arguments = (rays, intervals_of(lengths), network, head_of(3))
    with pytest.raises(ValueError, match=r"expected labels in -1\.\.2"):
        train_fused(*arguments, replace(targets_of(3, 3), labels=torch.tensor([0, 3, 1])), LOSSES, OPTIONS)
    with pytest.raises(ValueError, match=r"\(3, 3\), found \(3, 4\)"):
        train_fused(*arguments, targets_of(3, 4, kind="distributions"), LOSSES, OPTIONS)


def test_non_contiguous_targets_are_read_right() -> None:
    rays, lengths, network = problem(9, 5)
    targets, head, intervals = targets_of(9, 4, kind="weighted distributions"), head_of(4), intervals_of(lengths)
    assert targets.soft_labels is not None
    strided = replace(targets, color=targets.color.T.contiguous().T, soft_labels=targets.soft_labels.T.contiguous().T)
    results = [train_fused(rays, intervals, network, head, x, LOSSES, OPTIONS) for x in (targets, strided)]
    assert total(results[0]) == total(results[1])
