"""What an option of every field with classes says, every method that trains one does: shown on real training steps."""

import copy
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import torch
from nerfstudio.engine.callbacks import TrainingCallbackLocation
from nerfstudio.plugins.types import MethodSpecification
from torch import Tensor

from semantic_ns.errors import SceneError
from semantic_ns.labels.corruption import CorruptionConfig
from support.registered import FIELDS, SMALL, configured

CASES = [
    pytest.param(method, options, id="-".join([str(method.config.method_name), *options]))
    for method in FIELDS.values()
    for options in ({}, {"fuse_on_cpu": False}, {"semantic_features": "own"}, {"semantic_features": "shared"})
    if all(hasattr(method.config.pipeline.model, name) for name in options)
    and not (options and method is FIELDS["semantic-nerf-big"])  # semantic-nerf in other sizes
]
"""Each method as it is, and the other paths through it."""
NUM_STEPS = 10


class Run:
    """A training that has not begun: its steps can be asked for in any order, each from the same draws."""

    def __init__(self, method: MethodSpecification, scene: Path, folder: Path, data: Mapping[str, Any], **model: Any):
        config = configured(method, scene, folder, NUM_STEPS, **{**SMALL[str(method.config.method_name)], **model})
        manager: Any = config.pipeline.datamanager
        manager.train_num_rays_per_batch = 128
        for name, value in data.items():
            setattr(manager, name, value)
        config.pipeline.propagation.enabled = False  # pyright: ignore[reportAttributeAccessIssue]
        torch.manual_seed(0)
        self.trainer = config.setup(local_rank=0, world_size=1)
        self.trainer.setup()
        self.model: Any = self.trainer.pipeline.model

    def losses(self, step: int) -> dict[str, Tensor]:
        """The losses of a step, which starts as it does in a training."""
        torch.manual_seed(step)
        for callback in self.trainer.callbacks:
            callback.run_callback_at_location(step, TrainingCallbackLocation.BEFORE_TRAIN_ITERATION)
        torch.manual_seed(step)
        return self.trainer.pipeline.get_train_loss_dict(step)[1]

    def gradients(self, step: int) -> dict[str, Tensor]:
        """Of the whole loss, in all parameters."""
        self.model.zero_grad()
        torch.stack(list(self.losses(step).values())).sum().backward()
        return {name: given.grad.clone() for name, given in self.model.named_parameters() if given.grad is not None}

    @cached_property
    def geometry(self) -> set[str]:
        """Parameters that move the accumulated density of a ray, whatever the step."""
        self.losses(0)  # an occupancy grid is empty before
        bundle, _ = self.trainer.pipeline.datamanager.next_train(0)
        bundle.metadata.pop("targets", None)
        self.model.zero_grad()
        self.model.train()
        outputs = self.model(bundle)
        torch.stack([outputs[name].sum() for name in outputs if name.startswith("accumulation")]).sum().backward()
        moved = {n for n, p in self.model.named_parameters() if p.grad is not None and bool((p.grad != 0).any())}
        self.model.zero_grad()
        return moved

    def classes_move_geometry(self, step: int) -> bool:
        """Whether a hundredfold semantic loss changes the gradient of the geometry in that step."""
        geometry, weight = self.geometry, self.model.config.semantic_loss_weight
        assert geometry
        usual = self.gradients(step)
        self.model.config.semantic_loss_weight = 100 * weight
        more = self.gradients(step)
        self.model.config.semantic_loss_weight = weight
        # Apart from what else is summed in another order.
        return any(not torch.allclose(usual[name], more[name], rtol=1e-3, atol=1e-7) for name in geometry)


@pytest.mark.parametrize(("method", "options"), CASES)
def test_the_semantic_loss_trains_geometry_exactly_where_pass_semantic_gradients_says_so(
    method: MethodSpecification, options: dict[str, Any], smaller_scene: Path, tmp_path: Path
) -> None:
    for passes in (False, True):
        given = {"pass_semantic_gradients": passes, "geometry_fraction": 0.0, "semantic_loss_weight": 0.5}
        assert Run(method, smaller_scene, tmp_path, {}, **options, **given).classes_move_geometry(0) == passes


@pytest.mark.parametrize(("method", "options"), CASES)
def test_complete_labels_train_geometry_in_the_stated_share_of_the_run_and_noisy_ones_never(
    method: MethodSpecification, options: dict[str, Any], smaller_scene: Path, tmp_path: Path
) -> None:
    given = {"pass_semantic_gradients": False, "geometry_fraction": 0.45, "semantic_loss_weight": 0.5}
    steps = (0, 4, 6, 8)  # in all of them classes train
    run = Run(method, smaller_scene, tmp_path / "complete", {}, **options, **given)
    assert [run.classes_move_geometry(step) for step in steps] == [True, True, False, False]
    noise = {"corruption": CorruptionConfig(pixel_noise=0.5)}
    run = Run(method, smaller_scene, tmp_path / "noisy", noise, **options, **given)
    assert not run.classes_move_geometry(0)


def asking(method: MethodSpecification) -> MethodSpecification:
    """The same method, with labels that are asked for."""
    method = copy.deepcopy(method)
    method.config.pipeline.active.strategy = "random"  # pyright: ignore[reportAttributeAccessIssue]
    return method


# The other methods cannot ask.
@pytest.mark.parametrize("method", [FIELDS["semantic-nerf"], FIELDS["semantic-nerf-big"]], ids=["small", "big"])
def test_labels_that_are_asked_for_never_train_geometry(
    method: MethodSpecification, smaller_scene: Path, tmp_path: Path
) -> None:
    given = {"pass_semantic_gradients": False, "geometry_fraction": 1.0}
    run = Run(asking(method), smaller_scene, tmp_path, {}, **given)
    run.losses(0)
    assert not run.model.pass_semantic_gradients


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan")])
def test_a_fraction_outside_0_to_1_is_refused(fraction: float, smaller_scene: Path, tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="geometry-fraction, found"):
        Run(FIELDS["semantic-nerf"], smaller_scene, tmp_path, {}, geometry_fraction=fraction)


@pytest.mark.parametrize(("method", "options"), CASES)
@pytest.mark.parametrize("weight", ["opacity_loss_weight", "semantic_loss_weight"])
def test_a_loss_is_its_weight_times_something_and_reaches_the_parameters(
    weight: str, method: MethodSpecification, options: dict[str, Any], replica_scene: Path, tmp_path: Path
) -> None:
    name = weight.removesuffix("_weight")
    run = Run(method, replica_scene, tmp_path, {}, **options, **{weight: 0.5})
    once, gradients = float(run.losses(0)[name]), run.gradients(0)
    setattr(run.model.config, weight, 1.0)
    assert float(run.losses(0)[name]) == pytest.approx(2 * once, rel=1e-4)
    assert once > 0
    doubled = run.gradients(0)
    assert any(not torch.allclose(gradients[key], doubled[key], rtol=1e-3, atol=1e-9) for key in gradients)
    setattr(run.model.config, weight, 0.0)
    assert float(run.losses(0).get(name, torch.zeros(()))) == 0


@pytest.mark.parametrize("method", FIELDS.values(), ids=FIELDS)
def test_without_semantics_no_class_is_trained(
    method: MethodSpecification, smaller_scene: Path, tmp_path: Path
) -> None:
    run = Run(method, smaller_scene, tmp_path, {}, use_semantics=False)
    assert not any("semantic" in name for name in run.losses(0))
    changed = {name for name, gradient in run.gradients(0).items() if bool((gradient != 0).any())}
    assert not any("semantic" in name for name in changed)


@pytest.mark.parametrize("method", FIELDS.values(), ids=FIELDS)
def test_the_semantic_head_is_as_wide_as_stated(
    method: MethodSpecification, smaller_scene: Path, tmp_path: Path
) -> None:
    run = Run(method, smaller_scene, tmp_path, {}, semantic_width=24)
    assert run.model.field.semantic_head.in_features == 24
