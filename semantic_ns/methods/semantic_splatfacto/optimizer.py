"""Adam for Gaussians: each step changes those that its image shows, and nothing of the others."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import tyro
from nerfstudio.engine.optimizers import AdamOptimizerConfig
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from semantic_ns.errors import SceneError
from semantic_ns.optimizers import RunDecayConfig, RunDecayScheduler
from semantic_ns.splatting.fit_config import ADAM_BETAS, ADAM_EPSILON, FitConfig

UNIT = "unit"
"""Key of a parameter group: what its learning rate is counted in; the model says it before the first step."""


def count_rates_in(unit_of: Callable[[str], float], optimizers: Mapping[str, torch.optim.Optimizer]) -> None:
    """Say what the rates of the groups that have a unit are counted in, where nobody has said it.

    Args:
        unit_of: the unit of the optimiser of this name.
        optimizers: the optimisers by name.
    """
    for name, optimizer in optimizers.items():
        for group in optimizer.param_groups:
            if UNIT in group and group[UNIT] is None:
                group[UNIT] = unit_of(name)


class SparseAdam(torch.optim.Optimizer):
    """Adam (Kingma and Ba 2015) on those rows of CPU parameters [N, ...] that have a gradient.

    Other rows and their moments rest. The moments of a row are corrected for bias by its own number of steps. It is
    what `splatting.fit` does, for one parameter by itself: a row has a gradient if its image shows the Gaussian.

    Args:
        params: parameters, float32.
        lr: learning rate, in the group's unit, which is 1 where nobody sets another one.
        betas: how fast the moments forget.
        eps: what is added to the root of the second moment.
    """

    def __init__(
        self, params: Any, lr: float, betas: tuple[float, float] = ADAM_BETAS, eps: float = ADAM_EPSILON
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, UNIT: None})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Take one step along the gradients that are there."""
        result = None if closure is None else closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None and parameter.numel():
                    _step(parameter, self.state[parameter], group)
        return result


def _step(parameter: torch.Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
    from semantic_ns.splatting.sparse_adam import Moments, step_rows  # compiles a kernel, which registration must not

    if not state:
        state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        state["turns"] = torch.zeros(len(parameter))
    gradient = parameter.grad
    assert gradient is not None
    visible = gradient.reshape(len(gradient), -1).any(dim=1).nonzero()[:, 0]
    state["turns"][visible] += 1
    moments = Moments(state["exp_avg"], state["exp_avg_sq"], state["turns"])
    rate = float(group["lr"]) * (1.0 if group[UNIT] is None else group[UNIT])
    step_rows(parameter, gradient, moments, visible, rate, group["betas"], group["eps"])


@dataclass
class SparseAdamConfig(AdamOptimizerConfig):
    """Adam on the Gaussians that an image shows."""

    _target: type = SparseAdam

    def setup(self, params: Any) -> torch.optim.Optimizer:
        """Build the optimiser over the parameters.

        Raises:
            SceneError: weights are to decay, which those of Gaussians do not.
        """
        if self.weight_decay != 0:
            raise SceneError(
                f"Expected a weight-decay of 0 for Gaussians on a CPU, found {self.weight_decay}, which would change "
                "nothing; leave --optimizers.NAME.optimizer.weight-decay out."
            )
        return self._target(params, lr=self.lr, eps=self.eps)


@dataclass
class HeldDecayConfig(RunDecayConfig):
    """A rate that is held for a fraction of the run, and then falls exponentially."""

    _target: type = field(default_factory=lambda: HeldDecayScheduler)
    constant_fraction: float = FitConfig.constant_share
    """Share of the run before the learning rate begins to fall."""
    final_fraction: float = FitConfig.last_rate
    """Learning rate at the end of the run over the first one."""
    warmup_fraction: tyro.conf.Suppress[float] = 0.0
    ramp: tyro.conf.Suppress[Literal["linear", "cosine"]] = "cosine"
    decay: tyro.conf.Suppress[Literal["exponential", "cosine"]] = "exponential"


class HeldDecayScheduler(RunDecayScheduler):
    """The schedule of `FitConfig.rate`."""

    config: HeldDecayConfig  # pyright: ignore[reportIncompatibleVariableOverride]

    def get_scheduler(self, optimizer: torch.optim.Optimizer, lr_init: float) -> LRScheduler:
        """Scheduler from `lr_init` to `final_fraction * lr_init` over `max_steps` steps.

        Raises:
            SceneError: the rate is held for less than nothing of the run, or for more than all of it.
        """
        if not 0 <= self.config.constant_fraction <= 1:
            raise SceneError(
                "Expected a share of the run from 0 to 1 for --optimizers.NAME.scheduler.constant-fraction, found "
                f"{self.config.constant_fraction}; change it."
            )
        del lr_init  # the optimiser has it
        config = FitConfig(
            self.config.max_steps, constant_share=self.config.constant_fraction, last_rate=self.config.final_fraction
        )

        # A function, not a method: torch writes everything else that it calls into the checkpoint.
        def factor(step: int) -> float:
            return config.rate(step)

        return LambdaLR(optimizer, factor)
