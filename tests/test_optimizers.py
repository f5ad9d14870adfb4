"""Optimisers against torch's, and schedules in fractions of the run."""

import math
from copy import deepcopy
from typing import Any

import pytest
import torch

from semantic_ns.optimizers import (
    FusedAdamConfig,
    FusedAdamWConfig,
    KernelAdam,
    KernelAdamW,
    RunDecayConfig,
    follow_clock,
    scale_schedules_to_run,
)
from semantic_ns.run_clock import RunClock

LARGE = (1 << 16) + 5
"""Entries with which a parameter is stepped by the kernel."""


def rates(num_iterations: int, steps_per_step: int = 1, **options: Any) -> list[float]:
    """The rate in each step of a run in which the clock goes so many times faster than the steps."""
    groups = {"fields": {"optimizer": FusedAdamConfig(lr=0.01, eps=1e-15), "scheduler": RunDecayConfig(**options)}}
    group = scale_schedules_to_run(groups, num_iterations)["fields"]
    optimizer = group["optimizer"].setup([torch.nn.Parameter(torch.zeros(3))])
    scheduler = group["scheduler"].setup().get_scheduler(optimizer, 0.01)
    result: list[float] = []
    if steps_per_step > 1:
        follow_clock(scheduler, lambda step: steps_per_step * step)
    for _ in range(num_iterations // steps_per_step):
        result.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return result


def test_a_shorter_run_has_the_same_schedule_in_fractions() -> None:
    short, long = rates(100), rates(1000)
    assert long[::10][5:] == pytest.approx(short[5:], rel=0.1)


def test_the_rate_rises_to_its_value_and_ends_at_the_final_fraction() -> None:
    values = rates(500)
    assert max(values) == pytest.approx(0.01, rel=0.02)
    assert values[0] < 0.001
    assert values[-1] == pytest.approx(0.01 * RunDecayConfig().final_fraction, rel=0.02)


@pytest.mark.parametrize("ramp", ["linear", "cosine"])
def test_a_cosine_falls_along_half_a_wave_to_the_final_fraction(ramp: Any) -> None:
    found = rates(1000, decay="cosine", ramp=ramp, warmup_fraction=0.1, final_fraction=0.2)
    assert found[100] == pytest.approx(0.01)
    assert found[550] == pytest.approx(0.01 * 0.6)
    for step in range(100, 1000, 7):
        share = (step - 100) / 900
        assert found[step] == pytest.approx(0.01 * (0.2 + 0.8 * 0.5 * (1 + math.cos(math.pi * share))))
    halfway = 0.5 if ramp == "linear" else math.sin(math.pi / 4)
    assert found[50] == pytest.approx(0.01 * halfway)


@pytest.mark.parametrize("decay", ["exponential", "cosine"])
def test_the_state_of_a_schedule_is_plain(decay: Any) -> None:
    group = scale_schedules_to_run({"a": {"scheduler": RunDecayConfig(decay=decay)}}, 10)["a"]
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(3))], lr=0.01)
    state = group["scheduler"].setup().get_scheduler(optimizer, 0.01).state_dict()
    assert state["lr_lambdas"] == [None]


def test_a_schedule_that_follows_a_fast_clock_goes_on_with_it() -> None:
    assert rates(200, steps_per_step=10)[1:] == pytest.approx(rates(200)[10::10])


def test_a_clock_that_is_behind_the_steps_changes_nothing() -> None:
    groups = {"fields": {"optimizer": FusedAdamConfig(lr=0.01), "scheduler": RunDecayConfig()}}
    scheduler = scale_schedules_to_run(groups, 50)["fields"]["scheduler"].setup()
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(3))], lr=0.01)
    follower = scheduler.get_scheduler(optimizer, 0.01)
    follow_clock(follower, RunClock(50, max_seconds=1e9).schedule_step)
    found = []
    for _ in range(50):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        follower.step()
    assert found[1:] == pytest.approx(rates(50)[1:])


@pytest.mark.parametrize("num_iterations", [1, 2])
def test_the_shortest_runs_have_a_schedule(num_iterations: int) -> None:
    assert all(0 <= rate <= 0.01 * (1 + 1e-9) for rate in rates(num_iterations))


def test_other_schedules_and_the_given_configuration_stay_as_they_are() -> None:
    config = RunDecayConfig()
    groups = {"a": {"optimizer": None, "scheduler": None}, "b": {"optimizer": None, "scheduler": config}}
    scaled = scale_schedules_to_run(groups, 77)
    assert scaled["a"]["scheduler"] is None
    assert scaled["b"]["scheduler"].max_steps == 77
    assert config.max_steps == RunDecayConfig().max_steps


def test_adam_steps_like_torchs_default() -> None:
    torch.manual_seed(0)
    start, gradients = torch.randn(50), torch.randn(5, 50)
    results = []
    for build in (FusedAdamConfig(lr=0.01, eps=1e-15).setup, lambda p: torch.optim.Adam(p, lr=0.01, eps=1e-15)):
        parameter = torch.nn.Parameter(start.clone())
        optimizer = build([parameter])
        for gradient in gradients:
            parameter.grad = gradient.clone()
            optimizer.step()
        results.append(parameter.detach())
    torch.testing.assert_close(*results)


def test_decay_without_a_gradient_shrinks_by_the_share_of_the_learning_rate() -> None:
    parameter = torch.nn.Parameter(torch.tensor([2.0, -4.0]))
    optimizer = FusedAdamWConfig(lr=0.1, eps=1e-15, weight_decay=0.5).setup([parameter])
    parameter.grad = torch.zeros(2)
    optimizer.step()
    torch.testing.assert_close(parameter.detach(), torch.tensor([2.0, -4.0]) * (1 - 0.1 * 0.5))


def test_decay_does_not_change_the_step_that_the_gradient_makes() -> None:
    steps = []
    for config in (FusedAdamConfig(lr=0.1, eps=1e-15), FusedAdamWConfig(lr=0.1, eps=1e-15, weight_decay=0.5)):
        parameter = torch.nn.Parameter(torch.tensor([2.0, -4.0]))
        parameter.grad = torch.tensor([1e-3, 5.0])
        config.setup([parameter]).step()
        shrunk = torch.tensor([2.0, -4.0]) * (1 - 0.1 * getattr(config, "weight_decay", 0.0))
        steps.append(parameter.detach() - shrunk)
    torch.testing.assert_close(steps[0], steps[1])


def paths(optimizers: list[torch.optim.Optimizer], start: int, stop: int) -> None:
    """Give every optimiser the same gradients, some of them zero, at rates that change as a schedule's do."""
    for step in range(start, stop):
        generator = torch.Generator().manual_seed(step)
        scale = torch.randint(-3, 2, (LARGE,), generator=generator)
        gradient = torch.randn(LARGE, generator=generator) * (scale > -3) * 10.0**scale
        for optimizer in optimizers:
            optimizer.param_groups[0]["lr"] = 0.01 / (1 + step)
            large, small, idle = optimizer.param_groups[0]["params"]
            large.grad, small.grad, idle.grad = gradient.clone(), gradient[:6].clone().view(2, 3), None
            optimizer.step()


def fresh(build: type[torch.optim.Optimizer], **options: object) -> torch.optim.Optimizer:
    start = torch.randn(LARGE, generator=torch.Generator().manual_seed(9))
    parts = (start.clone(), start[:6].clone().view(2, 3), start[:4].clone())
    return build([torch.nn.Parameter(part) for part in parts], lr=0.01, eps=1e-15, **options)  # pyright: ignore[reportCallIssue]


def assert_same_parameters(one: torch.optim.Optimizer, other: torch.optim.Optimizer) -> None:
    for a, b in zip(one.param_groups[0]["params"], other.param_groups[0]["params"], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


KINDS = pytest.mark.parametrize(
    ("fast", "slow", "options"),
    [
        (KernelAdam, torch.optim.Adam, {}),
        (KernelAdam, torch.optim.Adam, {"weight_decay": 0.1}),
        (KernelAdamW, torch.optim.AdamW, {"weight_decay": 1.0}),
        (KernelAdamW, torch.optim.AdamW, {"amsgrad": True}),
    ],
)


@KINDS
def test_the_kernel_steps_like_torch_step_by_step(fast: type, slow: type, options: dict[str, object]) -> None:
    pair = [fresh(fast, **options), fresh(slow, **options)]
    for step in range(6):
        paths(pair, step, step + 1)
        assert_same_parameters(*pair)


@KINDS
def test_a_run_resumes_from_torchs_state_and_torch_from_ours(
    fast: type, slow: type, options: dict[str, object]
) -> None:
    first, second = fresh(fast, **options), fresh(slow, **options)
    paths([first, second], 0, 3)
    resumed = fresh(slow, **options), fresh(fast, **options)
    for new, old in zip(resumed, (first, second), strict=True):
        new.load_state_dict(deepcopy(old.state_dict()))
        for a, b in zip(new.param_groups[0]["params"], old.param_groups[0]["params"], strict=True):
            a.data.copy_(b)
    paths([first, second, *resumed], 3, 6)
    for other in (second, *resumed):
        assert_same_parameters(first, other)
    assert first.state_dict()["state"][0]["step"] == second.state_dict()["state"][0]["step"] == 6


def test_a_gradient_that_is_not_a_number_reaches_the_parameter() -> None:
    optimizer = fresh(KernelAdamW)
    paths([optimizer], 0, 2)
    large = optimizer.param_groups[0]["params"][0]
    large.grad = torch.zeros(LARGE).index_fill(0, torch.tensor([7]), torch.nan)
    optimizer.step()
    assert large.isnan().nonzero().tolist() == [[7]]
