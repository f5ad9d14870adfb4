"""Optimiser and schedule of the released code of GSNeRF."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from nerfstudio.engine.optimizers import AdamOptimizerConfig
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from semantic_ns.optimizers import RunDecayConfig, RunDecayScheduler


class ClippedAdam(torch.optim.Adam):
    """Adam on gradients each entry of which is clipped.

    Args:
        params: parameters or groups.
        clip_value: largest absolute value of an entry.
        options: those of `torch.optim.Adam`.
    """

    def __init__(self, params: Any, clip_value: float, **options: Any) -> None:
        self._clip_value = clip_value
        super().__init__(params, **options)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step along the clipped gradients."""
        for group in self.param_groups:
            torch.nn.utils.clip_grad_value_(group["params"], self._clip_value)
        return super().step(closure)


@dataclass
class ClippedAdamConfig(AdamOptimizerConfig):
    """Adam whose gradients are clipped by value."""

    _target: type = field(default_factory=lambda: ClippedAdam)
    clip_value: float = 2.0
    """Largest absolute value of an entry of a gradient."""


@dataclass
class RunCosineConfig(RunDecayConfig):
    """Linear warm-up and a cosine to the final rate, as fractions of the run."""

    _target: type = field(default_factory=lambda: RunCosineScheduler)


class RunCosineScheduler(RunDecayScheduler):
    """The learning rate rises linearly and then falls along half a cosine."""

    config: RunCosineConfig  # pyright: ignore[reportIncompatibleVariableOverride]

    def get_scheduler(self, optimizer: torch.optim.Optimizer, lr_init: float) -> LRScheduler:
        """Scheduler from `lr_init` to `final_fraction * lr_init` over `max_steps` steps."""
        del lr_init
        config = self.config
        warmup = max(1, round(config.warmup_fraction * config.max_steps))

        def factor(step: int) -> float:
            if step < warmup:
                return (step + 1) / warmup
            progress = min(1.0, (step - warmup) / max(1, config.max_steps - warmup))
            return config.final_fraction + (1 - config.final_fraction) * (1 + math.cos(math.pi * progress)) / 2

        return LambdaLR(optimizer, lr_lambda=factor)
