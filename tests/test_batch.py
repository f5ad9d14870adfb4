"""Targets that travel with the rays train the model like the same targets in the batch."""

from typing import Any

import pytest
import torch
from torch import Tensor

from semantic_ns.batch import NUM_UNIFORM, attach_targets, semantic_loss, take_targets
from semantic_ns.methods.semantic_nerf.model import SemanticNerfModel
from support.ray_batches import RAYS, batch, rays
from support.small_nerf import build, lean_config


def training_model(**changes: Any) -> SemanticNerfModel:
    model = build(lean_config(**changes)).train()
    model.proposal_sampler.eval()  # no jitter, so that all paths see the same samples
    model.proposal_sampler.step_cb(100)
    return model


def losses_of(
    model: SemanticNerfModel, targets: dict[str, Any], attach: bool
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Losses and metrics of one batch."""
    bundle = rays()
    if attach:
        attach_targets(bundle, targets)
    outputs = model(bundle)
    assert ("trained" in outputs) == attach
    metrics = model.get_metrics_dict(outputs, targets)
    return model.get_loss_dict(outputs, targets, metrics), metrics


def soft_batch() -> dict[str, Any]:
    generator = torch.Generator().manual_seed(8)
    weights = torch.rand(RAYS, 1, generator=generator)
    return batch() | {
        "soft_semantics": torch.rand(RAYS, 3, generator=generator).softmax(dim=-1),
        "semantic_weights": weights * (weights > 0.3),
    }


def void_batch() -> dict[str, Any]:
    return batch() | {"semantics": torch.full((RAYS, 1), -1)}


@pytest.mark.parametrize(
    "targets", [batch(), batch() | {NUM_UNIFORM: 20}, soft_batch(), void_batch()],
    ids=["labels", "labels of rays without a colour", "weighted distributions", "no label"],
)  # fmt: skip
@pytest.mark.parametrize("changes", [
    {}, {"pass_semantic_gradients": True}, {"pass_semantic_gradients": True, "semantic_features": "shared"},
    {"use_semantics": False},
], ids=str)  # fmt: skip
def test_targets_on_the_rays_and_in_the_batch_train_the_same(changes: dict[str, Any], targets: dict[str, Any]) -> None:
    gradients, parts = [], []
    for attach in (True, False):
        model = training_model(**changes)
        losses, metrics = losses_of(model, targets, attach)
        torch.stack(list(losses.values())).sum().backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
        parts.append(losses | metrics)
    assert parts[0].keys() == parts[1].keys()
    for name, expected in parts[1].items():
        torch.testing.assert_close(parts[0][name], expected, rtol=1e-4, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}")
    assert gradients[0].keys() <= gradients[1].keys()
    for name, expected in gradients[1].items():
        tolerance = 1e-5 * max(1.0, expected.abs().max().item())
        gradient = gradients[0].get(name, torch.zeros_like(expected))
        torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}")


def test_some_steps_lead_to_the_same_model_either_way() -> None:
    models = [training_model(), training_model()]
    for model, attach in zip(models, (True, False), strict=True):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        for _ in range(5):
            optimizer.zero_grad()
            losses, _ = losses_of(model, batch(), attach)
            torch.stack(list(losses.values())).sum().backward()
            optimizer.step()
    fast, slow = (dict(model.named_parameters()) for model in models)
    start = dict(training_model().named_parameters())
    assert any(not torch.equal(slow[name], start[name]) for name in slow)
    for name, expected in slow.items():
        torch.testing.assert_close(fast[name], expected, rtol=1e-3, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


def test_the_loss_of_classes_may_have_a_factor_but_no_second_backward_pass() -> None:
    gradients = []
    for factor in (1.0, 3.0):
        model = training_model(pass_semantic_gradients=True)
        losses, _ = losses_of(model, batch(), attach=True)
        total = factor * torch.stack(list(losses.values())).sum()
        total.backward(retain_graph=True)
        gradients.append({name: p.grad.clone() for name, p in model.field.named_parameters() if p.grad is not None})
        with pytest.raises(RuntimeError, match="one backward pass"):
            total.backward()
    for name, expected in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], 3 * expected, rtol=1e-4, atol=1e-7)


def test_losses_of_classes_are_there_without_gradients_too() -> None:
    model = training_model(pass_semantic_gradients=True)
    with torch.no_grad():
        losses, _ = losses_of(model, batch(), attach=True)
    expected, _ = losses_of(training_model(pass_semantic_gradients=True), batch(), attach=True)
    assert not losses["semantic_loss"].requires_grad
    torch.testing.assert_close(losses["semantic_loss"], expected["semantic_loss"].detach(), rtol=1e-4, atol=1e-6)


def test_without_a_label_on_any_ray_classes_take_no_step() -> None:
    model = training_model()
    losses, _ = losses_of(model, void_batch(), attach=True)
    assert losses["semantic_loss"] == 0
    torch.stack(list(losses.values())).sum().backward()
    reached = {name.partition(".")[0] for name, p in model.field.named_parameters() if p.grad is not None}
    assert reached == {"mlp_base", "mlp_head"}


def test_rays_beyond_the_uniform_ones_have_no_colour_loss() -> None:
    targets: dict[str, Any] = batch() | {NUM_UNIFORM: 20}
    losses, metrics = losses_of(training_model(), targets, attach=True)
    model = training_model()
    rendered = model(rays())["rgb"]
    expected = (rendered[:20] - targets["image"][:20]).square().mean()
    torch.testing.assert_close(losses["rgb_loss"], expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(metrics["psnr"], -10 * torch.log10(expected), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("changes", [{"fuse_on_cpu": False}, {"background_color": "white"}], ids=str)
def test_where_the_kernel_cannot_train_the_batch_does(changes: dict[str, Any]) -> None:
    bundle = rays()
    attach_targets(bundle, batch())
    model = training_model(**changes)
    outputs = model(bundle)
    assert "trained" not in outputs
    losses = model.get_loss_dict(outputs, batch(), model.get_metrics_dict(outputs, batch()))
    torch.stack(list(losses.values())).sum().backward()


def test_colours_with_alpha_are_not_attached() -> None:
    bundle = rays()
    attach_targets(bundle, batch() | {"image": torch.rand(RAYS, 4)})
    assert take_targets(bundle) is None


def test_targets_are_taken_once() -> None:
    bundle = rays()
    attach_targets(bundle, batch())
    assert take_targets(bundle) is not None
    assert take_targets(bundle) is None


def test_a_certain_distribution_is_a_label() -> None:
    logits, targets = torch.randn(RAYS, 3), batch()
    labels = targets["semantics"][:, 0]
    soft = torch.nn.functional.one_hot(labels.clamp(min=0), 3).float()
    weights = (labels >= 0).float()[:, None]
    certain = targets | {"soft_semantics": soft, "semantic_weights": weights}
    torch.testing.assert_close(semantic_loss(logits, certain), semantic_loss(logits, targets))
