"""Optimiser of the released code of GSNeRF."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from nerfstudio.engine.optimizers import AdamOptimizerConfig


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
