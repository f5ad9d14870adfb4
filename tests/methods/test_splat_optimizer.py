"""Adam on the Gaussians that an image shows, in the contract of nerfstudio's optimisers."""

from dataclasses import replace

import pytest
import torch
from nerfstudio.engine.optimizers import Optimizers

from semantic_ns.errors import SceneError
from semantic_ns.methods.semantic_splatfacto.optimizer import UNIT, HeldDecayConfig, SparseAdam, SparseAdamConfig
from semantic_ns.optimizers import scale_schedules_to_run
from semantic_ns.splatting.fit_config import FitConfig

SHOWN = ([0, 2, 5], [0, 5], [2], [0, 2, 5])
"""The rows that each of some steps has gradients of."""


def gradients() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    found = []
    for rows in SHOWN:
        gradient = torch.zeros(6, 2, 3)
        gradient[rows] = torch.randn((len(rows), 2, 3), generator=generator)
        found.append(gradient)
    return found


def take_steps(parameter: torch.Tensor, optimizer: torch.optim.Optimizer, steps: list[torch.Tensor]) -> None:
    for gradient in steps:
        parameter.grad = gradient.clone()
        optimizer.step()


def test_each_row_takes_the_steps_of_adam_for_which_it_has_a_gradient_and_rests_in_others() -> None:
    start = torch.randn((6, 2, 3), generator=torch.Generator().manual_seed(1))
    ours = start.clone().requires_grad_()
    take_steps(ours, SparseAdamConfig(lr=0.1, eps=1e-15).setup([ours]), gradients())
    for row in range(6):
        twin = start[row].clone().requires_grad_()
        own = [step[row] for step, rows in zip(gradients(), SHOWN, strict=True) if row in rows]
        take_steps(twin, torch.optim.Adam([twin], lr=0.1, betas=(0.9, 0.99), eps=1e-15), own)
        torch.testing.assert_close(ours[row], twin, rtol=1e-5, atol=1e-5)
    assert torch.equal(ours[[1, 3, 4]], start[[1, 3, 4]])


def test_a_rate_counts_in_the_unit_of_its_group_and_zero_holds_everything_still() -> None:
    start = torch.ones(6, 2, 3)
    plain, double, still = (start.clone().requires_grad_() for _ in range(3))
    for parameter, rate, unit in ((plain, 0.1, None), (double, 0.05, 2.0), (still, 0.1, 0.0)):
        optimizer = SparseAdam([parameter], rate)
        optimizer.param_groups[0][UNIT] = unit
        take_steps(parameter, optimizer, gradients())
    torch.testing.assert_close(plain, double)
    assert torch.equal(still, start)


def test_moments_turns_and_unit_are_in_the_state_so_that_a_resumed_run_goes_the_same_way() -> None:
    whole = torch.ones(6, 2, 3, requires_grad=True)
    optimizer = SparseAdam([whole], 0.1)
    optimizer.param_groups[0][UNIT] = 0.5
    take_steps(whole, optimizer, gradients())
    first = torch.ones(6, 2, 3, requires_grad=True)
    begun = SparseAdam([first], 0.1)
    begun.param_groups[0][UNIT] = 0.5
    take_steps(first, begun, gradients()[:2])
    second = first.detach().clone().requires_grad_()
    resumed = SparseAdam([second], 7.0)
    resumed.load_state_dict(begun.state_dict())
    take_steps(second, resumed, gradients()[2:])
    assert torch.equal(second, whole)


@pytest.mark.parametrize("steps", [1, 7, 400])
def test_rates_are_held_and_fall_as_those_of_the_fit_without_nerfstudio(steps: int) -> None:
    parameter = torch.nn.Parameter(torch.ones(2, 3))
    config = {"means": {"optimizer": SparseAdamConfig(lr=0.3, eps=1e-15), "scheduler": HeldDecayConfig()}}
    optimizers = Optimizers(scale_schedules_to_run(config, steps), {"means": [parameter]})
    fit = replace(FitConfig(), steps=steps)
    for step in range(steps):
        assert optimizers.optimizers["means"].param_groups[0]["lr"] == pytest.approx(0.3 * fit.rate(step), rel=1e-9)
        optimizers.optimizer_step("means")
        optimizers.scheduler_step("means")


def test_a_group_without_gradients_keeps_its_parameters() -> None:
    parameter = torch.ones(2, 3, requires_grad=True)
    SparseAdam([parameter], 0.1).step()
    assert torch.equal(parameter, torch.ones(2, 3))


def test_a_rate_that_is_held_to_the_end_never_falls() -> None:
    parameter = torch.nn.Parameter(torch.ones(2, 3))
    optimizer = SparseAdam([parameter], 0.3)
    scheduler = HeldDecayConfig(constant_fraction=1.0, max_steps=5).setup().get_scheduler(optimizer, 0.3)
    for step in range(6):
        assert scheduler.get_last_lr() == [0.3]
        assert FitConfig(steps=5, constant_share=1.0).rate(step) == 1
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_a_share_of_the_run_outside_of_it_is_one_sentence(share: float) -> None:
    optimizer = SparseAdam([torch.ones(2, 3, requires_grad=True)], 0.3)
    with pytest.raises(SceneError, match=f"constant-fraction, found {share}"):
        HeldDecayConfig(constant_fraction=share, max_steps=5).setup().get_scheduler(optimizer, 0.3)


def test_a_decay_of_weights_that_would_be_ignored_is_refused() -> None:
    with pytest.raises(SceneError, match="weight-decay of 0 for Gaussians on a CPU, found 10"):
        SparseAdamConfig(lr=0.1, weight_decay=10.0).setup([torch.ones(2, 3, requires_grad=True)])
