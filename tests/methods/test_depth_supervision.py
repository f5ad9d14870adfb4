"""Depth of training images makes rays end where it says, by whichever way a model renders."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from nerfstudio.engine.callbacks import TrainingCallbackAttributes
from torch import Tensor

from semantic_ns.batch import NUM_UNIFORM, RAY_DISTANCE, attach_targets, take_distances
from semantic_ns.losses import DEPTH_NOISE_M, STEREO_NOISE, DepthNoise
from semantic_ns.methods.semantic_nerf.model import SemanticNerfModel
from semantic_ns.methods.semantic_ngp.model import SemanticNgpModel
from support import small_nerf, small_ngp
from support.ray_batches import RAYS, batch, rays

Model = SemanticNerfModel | SemanticNgpModel


def depth_batch(uniform: int = RAYS, channels: int = 3) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(6)
    distances = torch.rand(RAYS, 1, generator=generator) * 4 * (torch.rand(RAYS, 1, generator=generator) > 0.3)
    image = torch.ones(RAYS, 4)
    image[:, :3] = batch()["image"]
    return batch() | {RAY_DISTANCE: distances, NUM_UNIFORM: uniform, "image": image[:, :channels]}


def nerf(**changes: Any) -> SemanticNerfModel:
    model = small_nerf.build(small_nerf.lean_config(opacity_loss_weight=0.0, **changes)).train()
    model.proposal_sampler.eval()  # no jitter, so that all ways see the same samples
    model.proposal_sampler.step_cb(100)
    return model


def ngp(**changes: Any) -> SemanticNgpModel:
    return small_ngp.build(small_ngp.lean_config(**changes)).train()


def depth_gradients(model: Model, targets: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """All losses, and what that of depth adds to the gradients of the field."""
    gradients = []
    losses: dict[str, Tensor] = {}
    for weight in (0.0, 0.5):
        model.config.depth_loss_weight = weight
        bundle = rays()
        attach_targets(bundle, targets)
        torch.manual_seed(3)
        outputs = model(bundle)
        losses = model.get_loss_dict(outputs, targets, model.get_metrics_dict(outputs, targets))
        assert ("depth_loss" in losses) == (weight > 0)
        model.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        gradients.append({name: p.grad.clone() for name, p in model.field.named_parameters() if p.grad is not None})
    return losses, {name: after - gradients[0][name] for name, after in gradients[1].items()}


def assert_same(fast: Any, slow: Any) -> None:
    torch.testing.assert_close(fast[0]["depth_loss"], slow[0]["depth_loss"], rtol=1e-3, atol=1e-6)
    assert slow[0]["depth_loss"] > 0
    assert max(float(g.abs().max()) for g in slow[1].values()) > 0
    for name, expected in slow[1].items():
        tolerance = 1e-3 * max(1e-3, float(expected.abs().max()))
        torch.testing.assert_close(
            fast[1][name], expected, rtol=1e-2, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize("uniform", [RAYS, 20])
def test_semantic_nerf_learns_from_depth_the_same_in_the_kernel_and_sample_by_sample(uniform: int) -> None:
    targets = depth_batch(uniform)
    assert_same(depth_gradients(nerf(), targets), depth_gradients(nerf(fuse_on_cpu=False), targets))


def test_semantic_nerf_learns_from_depth_of_images_with_alpha_too() -> None:
    with_alpha, without = (depth_gradients(nerf(), depth_batch(channels=channels)) for channels in (4, 3))
    assert_same(with_alpha, without)


@pytest.mark.parametrize("uniform", [RAYS, 20])
def test_semantic_ngp_learns_from_depth_the_same_in_the_kernels_and_sample_by_sample(uniform: int) -> None:
    targets = depth_batch(uniform)
    assert_same(depth_gradients(ngp(), targets), depth_gradients(ngp(fuse_on_cpu=False), targets))


@pytest.mark.parametrize("build", [nerf, ngp])
def test_depth_outside_the_bounds_of_rays_is_unknown(build: Any) -> None:
    model, targets = build(), depth_batch()
    targets[RAY_DISTANCE] = torch.where(torch.arange(RAYS)[:, None] % 2 == 0, 1e4, 1e-6)
    losses, gradients = depth_gradients(model, targets)
    assert losses["depth_loss"] == 0
    assert all(float(g.abs().max()) == 0 for g in gradients.values())


@pytest.mark.parametrize("build", [nerf, ngp])
def test_without_depth_in_the_batch_there_is_no_loss_of_it(build: Any) -> None:
    model, bundle = build(), rays()
    attach_targets(bundle, batch())
    outputs = model(bundle)
    assert "depth_loss" not in model.get_loss_dict(outputs, batch(), model.get_metrics_dict(outputs, batch()))


def test_distances_are_taken_off_the_rays_once_and_are_those_of_uniform_rays() -> None:
    bundle, targets = rays(), depth_batch(uniform=20)
    attach_targets(bundle, targets)
    taken = take_distances(bundle)
    assert taken is not None
    assert torch.equal(taken, targets[RAY_DISTANCE][:20, 0])
    assert take_distances(bundle) is None


@pytest.mark.parametrize("weight", [-1.0, math.nan, math.inf])
def test_a_weight_that_is_none_is_refused(weight: float) -> None:
    with pytest.raises(Exception, match=r"--pipeline\.model\.depth-loss-weight, found"):
        small_nerf.lean_config(depth_loss_weight=weight).check_price()


@pytest.mark.parametrize(
    ("clock", "steps"),
    [
        ({}, (0, 10, 20, 30, 99)),
        # Half of the steps are made when the time is over.
        ({"clock": SimpleNamespace(schedule_step=lambda step: 2 * step)}, (0, 5, 10, 15, 49)),
    ],
)
@pytest.mark.parametrize("build", [nerf, ngp])
def test_the_weight_falls_from_its_boost_over_the_ramp_of_steps_or_time(build: Any, clock: Any, steps: Any) -> None:
    model = build(depth_loss_weight=0.02, depth_loss_boost=5.0, depth_loss_ramp=(0.1, 0.3))
    trainer: Any = SimpleNamespace(config=SimpleNamespace(max_num_iterations=100), **clock)
    callbacks = model.get_training_callbacks(TrainingCallbackAttributes(None, None, None, trainer))
    found = []
    for step in steps:
        for callback in callbacks:
            if callback.func.__qualname__.startswith("DepthSupervisedModel"):
                callback.run_callback(step)
        found.append(model._depth_weight())
    assert found == pytest.approx([0.1, 0.1, 0.06, 0.02, 0.02])


def after_callbacks(model: Model, manager: Any) -> Model:
    trainer: Any = SimpleNamespace(config=SimpleNamespace(max_num_iterations=100))
    pipeline: Any = SimpleNamespace(datamanager=manager)
    model.get_training_callbacks(TrainingCallbackAttributes(None, None, pipeline, trainer))
    return model


@pytest.mark.parametrize("build", [nerf, ngp])
def test_the_width_of_the_loss_is_that_of_the_data_manager_in_scene_units(build: Any) -> None:
    model = build()
    model.metres_per_unit = 2.5
    assert model._depth_noise == DepthNoise(DEPTH_NOISE_M.constant / 2.5, DEPTH_NOISE_M.relative)
    after_callbacks(model, SimpleNamespace(depth_noise_m=STEREO_NOISE))
    assert model._depth_noise == STEREO_NOISE  # a share of the distance alone, in any unit
    after_callbacks(model, SimpleNamespace())
    assert model._depth_noise == DepthNoise(DEPTH_NOISE_M.constant / 2.5, DEPTH_NOISE_M.relative)


@pytest.mark.parametrize("fuses", [True, False])
def test_depth_by_stereo_that_is_a_little_off_costs_less_than_the_same_in_a_depth_image(fuses: bool) -> None:
    targets, model = depth_batch(), nerf(fuse_on_cpu=fuses)
    manager = SimpleNamespace(depth_noise_m=STEREO_NOISE)
    stereo_model = after_callbacks(nerf(fuse_on_cpu=fuses), manager)
    of_images, by_stereo = (depth_gradients(one, targets)[0]["depth_loss"].item() for one in (model, stereo_model))
    assert 0 < by_stereo < of_images


def test_with_the_width_of_stereo_the_kernel_and_the_plain_way_agree() -> None:
    manager, targets = SimpleNamespace(depth_noise_m=STEREO_NOISE), depth_batch()
    fused, plain = (after_callbacks(nerf(fuse_on_cpu=fuses), manager) for fuses in (True, False))
    assert_same(depth_gradients(fused, targets), depth_gradients(plain, targets))
