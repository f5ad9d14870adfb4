"""Optimisers and schedules that nerfstudio does not have."""

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from nerfstudio.engine.optimizers import AdamOptimizerConfig
from nerfstudio.engine.schedulers import ExponentialDecayScheduler, ExponentialDecaySchedulerConfig
from torch.optim.lr_scheduler import LRScheduler


@dataclass
class FusedAdamConfig(AdamOptimizerConfig):
    """Adam in one pass over the parameters, where torch has it (2.4 and up on the CPU)."""

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

    _target: type = torch.optim.AdamW
    weight_decay: float = 1.0
    """Share of the learning rate by which every entry shrinks in a step."""


def _has_fused_adam(device_type: str) -> bool:
    major, minor = (int(part) for part in torch.__version__.split(".")[:2])
    return device_type == "cuda" or (device_type == "cpu" and (major, minor) >= (2, 4))


@dataclass
class RunDecayConfig(ExponentialDecaySchedulerConfig):
    """Warm-up and exponential decay as fractions of the run, so that a shorter run keeps its shape.

    The trainer fills `max_steps`; `lr_final` and `warmup_steps` follow from the fractions.
    """

    _target: type = field(default_factory=lambda: RunDecayScheduler)
    warmup_fraction: float = 0.01
    """Share of the run in which the learning rate rises."""
    final_fraction: float = 0.03
    """Learning rate at the end of the run over the one after the warm-up."""
    ramp: Literal["linear", "cosine"] = "cosine"
    """Shape of the rise."""


class RunDecayScheduler(ExponentialDecayScheduler):
    """nerfstudio's exponential decay, its steps taken from fractions of the run."""

    config: RunDecayConfig  # pyright: ignore[reportIncompatibleVariableOverride]

    def get_scheduler(self, optimizer: torch.optim.Optimizer, lr_init: float) -> LRScheduler:
        """Scheduler from `lr_init` to `final_fraction * lr_init` over `max_steps` steps."""
        warmup = max(1, round(self.config.warmup_fraction * self.config.max_steps))
        # nerfstudio divides by the number of steps that follow.
        self.config.warmup_steps = min(warmup, self.config.max_steps - 1)
        self.config.lr_final = self.config.final_fraction * lr_init
        return super().get_scheduler(optimizer, lr_init)


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


__all__ = ["FusedAdamConfig", "FusedAdamWConfig", "RunDecayConfig", "scale_schedules_to_run"]
