"""Optimisers and schedules that nerfstudio does not have."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from nerfstudio.engine.optimizers import AdamOptimizerConfig
from nerfstudio.engine.schedulers import ExponentialDecayScheduler, ExponentialDecaySchedulerConfig
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

_KERNEL_ENTRIES = 1 << 16
"""From this many entries in a parameter on, a kernel on all cores takes less time than torch's pass on one."""


class _AdamStepByKernel(torch.optim.Optimizer):
    """Step of Adam or AdamW, whose class follows, by one kernel for groups with large CPU parameters.

    State and options are torch's own, so that checkpoints fit either. Everything else, and the first step, which makes
    the state, is left to torch.
    """

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step along the gradients that are there."""
        if closure is not None or not all(self._suits_kernel(group) for group in self.param_groups):
            return super().step(closure)
        with torch.no_grad():
            for group in self.param_groups:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        _step_by_kernel(parameter, self.state[parameter], group)
        return None

    def _suits_kernel(self, group: dict[str, Any]) -> bool:
        trained = [parameter for parameter in group["params"] if parameter.grad is not None]
        return (
            any(parameter.numel() >= _KERNEL_ENTRIES for parameter in trained)
            and all(_is_plain(x) for parameter in trained for x in (parameter, parameter.grad))
            and all("step" in self.state.get(parameter, ()) for parameter in trained)
            and (isinstance(self, torch.optim.AdamW) or not group["weight_decay"])
            and not (group["amsgrad"] or group["maximize"] or group["differentiable"])
        )


def _is_plain(tensor: Tensor) -> bool:
    return tensor.device.type == "cpu" and tensor.dtype == torch.float32 and tensor.is_contiguous()


def _step_by_kernel(parameter: Tensor, state: dict[str, Tensor], group: dict[str, Any]) -> None:
    from semantic_ns.optimizers_numba import adam_step

    assert parameter.grad is not None
    state["step"] += 1
    beta1, beta2 = group["betas"]
    t, rate = int(state["step"]), float(group["lr"])
    scalars = (1 - rate * group["weight_decay"], rate / (1 - beta1**t), (1 - beta2**t) ** -0.5, group["eps"])
    tensors = (parameter, parameter.grad, state["exp_avg"], state["exp_avg_sq"])
    arrays = tuple(tensor.detach().view(-1).numpy() for tensor in tensors)
    decays = (np.float32(beta1), np.float32(beta2))
    adam_step(*(*arrays, decays, *map(np.float32, scalars)))


class KernelAdam(_AdamStepByKernel, torch.optim.Adam):
    """``torch.optim.Adam`` whose step over large CPU parameters takes all cores."""


class KernelAdamW(_AdamStepByKernel, torch.optim.AdamW):
    """``torch.optim.AdamW`` whose step over large CPU parameters takes all cores."""


@dataclass
class FusedAdamConfig(AdamOptimizerConfig):
    """Adam in one pass over the parameters: by a kernel, or torch's where it has one (2.4 and up on the CPU)."""

    _target: type = KernelAdam

    def setup(self, params: Any) -> torch.optim.Optimizer:
        """Build the optimiser over the parameters."""
        options = {name: value for name, value in vars(self).items() if name not in ("_target", "max_norm")}
        params = list(params)
        # An empty or a moved group takes torch's default.
        fused = bool(params) and _has_fused_adam(params[0].device.type)
        return self._target(params, **options, **({"fused": True} if fused else {}))


@dataclass
class FusedAdamWConfig(FusedAdamConfig):
    """Adam whose weight decay does not pass through its moments (Loshchilov, Hutter 2019).

    For the tables of hash grids: what little light trains stays near zero, so that untextured surfaces come out smooth
    (Barron et al. 2023, Zip-NeRF, section 3, give such decay as a loss).
    """

    _target: type = KernelAdamW
    weight_decay: float = 1.0
    """Share of the learning rate by which every entry shrinks in a step."""


def _has_fused_adam(device_type: str) -> bool:
    major, minor = (int(part) for part in torch.__version__.split(".")[:2])
    return device_type == "cuda" or (device_type == "cpu" and (major, minor) >= (2, 4))


@dataclass
class RunDecayConfig(ExponentialDecaySchedulerConfig):
    """Warm-up and decay as fractions of the run, so that a shorter run keeps its shape.

    The trainer fills `max_steps`; `lr_final` and `warmup_steps` follow from the fractions.
    """

    _target: type = field(default_factory=lambda: RunDecayScheduler)
    warmup_fraction: float = 0.01
    """Share of the run in which the learning rate rises."""
    final_fraction: float = 0.03
    """Learning rate at the end of the run over the one after the warm-up."""
    ramp: Literal["linear", "cosine"] = "cosine"
    """Shape of the rise."""
    decay: Literal["exponential", "cosine"] = "exponential"
    """Shape of the fall: exponential is a straight line of the logarithm, cosine half a wave (Loshchilov and Hutter
    2017), which stays high for longer."""


class RunDecayScheduler(ExponentialDecayScheduler):
    """nerfstudio's exponential decay, its steps taken from fractions of the run."""

    config: RunDecayConfig  # pyright: ignore[reportIncompatibleVariableOverride]

    def get_scheduler(self, optimizer: torch.optim.Optimizer, lr_init: float) -> LRScheduler:
        """Scheduler from `lr_init` to `final_fraction * lr_init` over `max_steps` steps."""
        warmup = max(1, round(self.config.warmup_fraction * self.config.max_steps))
        # nerfstudio divides by the number of steps that follow.
        self.config.warmup_steps = min(warmup, self.config.max_steps - 1)
        self.config.lr_final = self.config.final_fraction * lr_init
        if self.config.decay == "cosine":
            return LambdaLR(optimizer, self._cosine())
        return super().get_scheduler(optimizer, lr_init)

    def _cosine(self) -> Callable[[int], float]:
        """A function of the step: its learning rate over the one after the warm-up."""
        warmup, last, length = self.config.warmup_steps, self.config.final_fraction, self.config.max_steps

        # A function, not a method: torch writes everything else that it calls into the checkpoint.
        def factor(step: int) -> float:
            if step < warmup:
                share = step / warmup
                return share if self.config.ramp == "linear" else math.sin(0.5 * math.pi * share)
            done = min(1.0, (step - warmup) / max(1, length - warmup))
            return last + (1 - last) * 0.5 * (1 + math.cos(math.pi * done))

        return factor


def scale_schedules_to_run(optimizers: dict[str, Any], num_iterations: int) -> dict[str, Any]:
    """Optimiser configurations whose run-relative schedules know the length of the run."""
    from dataclasses import replace

    return {
        name: {
            **group,
            "scheduler": replace(group["scheduler"], max_steps=num_iterations)
            if isinstance(group.get("scheduler"), RunDecayConfig)
            else group.get("scheduler"),
        }
        for name, group in optimizers.items()
    }


def set_up_for_run(
    parameters: Mapping[str, Sequence[Tensor]], optimizers: dict[str, Any], num_steps: int
) -> list[tuple[torch.optim.Optimizer, LRScheduler]]:
    """An optimiser and its schedule for each group of parameters.

    Args:
        parameters: the parameters by group.
        optimizers: optimiser configurations of a method, by group.
        num_steps: number of steps, over which the schedules are stretched.
    """
    scaled, found = scale_schedules_to_run(optimizers, num_steps), []
    for group, of_group in parameters.items():
        config = scaled[group]["optimizer"]
        optimizer = config.setup(params=of_group)
        found.append((optimizer, scaled[group]["scheduler"].setup().get_scheduler(optimizer, config.lr)))
    return found


def follow_clock(scheduler: LRScheduler, schedule_step: Callable[[int], int]) -> None:
    """Let a schedule go on with the clock where that is ahead of the steps.

    Args:
        scheduler: a schedule of RunDecayConfig.
        schedule_step: function that returns the step at which schedules are in a step.
    """
    assert isinstance(scheduler, LambdaLR)

    def ahead(rate: Callable[[int], float]) -> Callable[[int], float]:
        return lambda step: rate(schedule_step(step))

    scheduler.lr_lambdas = [ahead(rate) for rate in scheduler.lr_lambdas]


__all__ = [
    "FusedAdamConfig", "FusedAdamWConfig", "KernelAdam", "KernelAdamW", "RunDecayConfig", "follow_clock",
    "scale_schedules_to_run", "set_up_for_run",
]  # fmt: skip
