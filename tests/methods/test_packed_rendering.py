"""The kernels that march and ask the field on the way, against all samples first and plain torch: values, gradients."""

from typing import Any

import pytest
import torch
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor

from semantic_ns.methods.semantic_ngp.model import SemanticNgpModel
from semantic_ns.methods.semantic_ngp.packed_rendering import packed_densities, render_packed
from support import reference
from support.ray_batches import RAYS, batch, rays
from support.small_ngp import build, lean_config, render

DENSE: dict[str, Any] = {"average_init_density": 2.0}
ODD_SIZES: dict[str, Any] = {
    "hidden_dim": 20, "hidden_dim_color": 20, "semantic_width": 13, "num_levels": 3, "features_per_level": 1,
}  # fmt: skip
OPTIONS: list[dict[str, Any]] = [
    {},
    ODD_SIZES,
    {"use_semantics": False},
    {"pass_semantic_gradients": False},
    {"use_appearance_embedding": True, "alpha_thre": 0.0},
    {"background_color": "white", "cone_angle": 0.0, "average_init_density": 9.0},
]


def both_ways(changes: dict[str, Any], occupied: float) -> list[SemanticNgpModel]:
    """The model with the kernels and the same one without."""
    return [build(lean_config(**(DENSE | changes), fuse_on_cpu=fuse), occupied=occupied) for fuse in (True, False)]


def train(model: SemanticNgpModel, bundle: RayBundle) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
    """Number of samples of each ray, losses and gradients."""
    torch.manual_seed(5)
    outputs = model.train()(bundle)
    torch.manual_seed(6)
    losses = model.get_loss_dict(outputs, batch(), model.get_metrics_dict(outputs, batch()))
    sum(losses.values(), torch.zeros(())).backward()
    gradients = {
        name: torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        for name, parameter in model.field.named_parameters()
    }
    return outputs["num_samples_per_ray"], losses, gradients


@pytest.fixture(autouse=True)
def few_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each slot of the gradients more than one tile, as batches of real size do."""
    monkeypatch.setattr("semantic_ns.kernels.layers._NUM_SLOTS", 2)


@pytest.mark.parametrize("occupied", [0.0, 0.05, 0.6])
@pytest.mark.parametrize("changes", OPTIONS, ids=str)
def test_every_output_equals_that_of_all_samples(changes: dict[str, Any], occupied: float) -> None:
    fast, slow = (render(model, rays()) for model in both_ways(changes, occupied))
    assert fast.keys() == slow.keys()
    for name, output in fast.items():
        assert output.dtype == slow[name].dtype, name
        torch.testing.assert_close(output, slow[name], rtol=1e-4, atol=2e-5, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("occupied", [0.0, 0.05, 0.6])
@pytest.mark.parametrize("changes", OPTIONS, ids=str)
def test_losses_and_all_gradients_equal_plain_torch(changes: dict[str, Any], occupied: float) -> None:
    (counts, losses, gradients), slow = (train(model, rays()) for model in both_ways(changes, occupied))
    if occupied:
        assert counts.max() > 0
        assert torch.equal(counts, slow[0])
    torch.testing.assert_close(losses, slow[1], rtol=1e-5, atol=1e-6)
    for name, expected in slow[2].items():
        atol = 1e-5 * max(1e-3, expected.abs().max().item())
        torch.testing.assert_close(gradients[name], expected, rtol=1e-3, atol=atol, msg=lambda m, n=name: f"{n}: {m}")


def test_some_of_these_rays_have_no_sample_and_some_many() -> None:
    counts = train(build(lean_config(), occupied=0.05), rays())[0]
    assert counts.min() == 0
    assert counts.max() > 4  # more than one pass


def test_behind_an_opaque_sample_there_are_no_others() -> None:
    model = build(lean_config(average_init_density=1e6), occupied=1.0)
    counts = train(model, rays())[0]
    assert set(counts.tolist()) <= {0, 1}
    assert counts.max() == 1


def test_densities_equal_those_of_the_field() -> None:
    model = build(lean_config(**ODD_SIZES))
    # More than one task of the kernel, and points far outside, where space is contracted.
    points = 4 * torch.randn(2500, 3, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = model.field.density_fn(points)
    torch.testing.assert_close(packed_densities(model.field, points), expected, rtol=1e-4, atol=1e-6)
    assert packed_densities(model.field, points[:0]).shape == (0, 1)


def test_no_rays_give_empty_outputs() -> None:
    none = rays()[:0]
    for training in (True, False):
        model = build(lean_config()).train(training)
        march = model.sampler.plan(none, **model._sampling_options())
        rendered = render_packed(model.field, none, march)
        assert rendered.rgb.shape == (0, 3)
        assert rendered.features.shape == (0, 64)


def test_any_number_of_threads_gives_the_same_outputs_and_gradients() -> None:
    def everything() -> list[Tensor]:
        model = build(lean_config())
        _, losses, gradients = train(model, rays())
        return [*(loss.detach() for loss in losses.values()), *gradients.values(), *render(model, rays()).values()]

    reference.assert_same_with_any_number_of_threads(everything)


def test_more_rays_than_a_tile_render_as_they_do_in_parts() -> None:
    model, bundle = build(lean_config()), rays()
    number = torch.arange(300) % RAYS
    together = render(model, bundle[number])
    for name, output in render(model, bundle).items():
        torch.testing.assert_close(together[name], output[number], rtol=1e-4, atol=1e-5)
