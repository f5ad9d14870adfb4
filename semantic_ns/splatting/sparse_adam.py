"""Adam's step for the Gaussians that one image shows, on tensors."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from semantic_ns.splatting import fit_numba
from semantic_ns.splatting.fit_config import ADAM_BETAS, ADAM_EPSILON


@dataclass(frozen=True, eq=False)
class Moments:
    """What Adam keeps of a parameter.

    Attributes:
        mean: its first moment.
        square: its second moment.
        turns: number of steps that each row has taken.
    """

    mean: Float[Tensor, "gaussians *any"]
    square: Float[Tensor, "gaussians *any"]
    turns: Float[Tensor, "gaussians"]


def step_rows(
    parameter: Float[Tensor, "gaussians *any"],
    gradient: Float[Tensor, "gaussians *any"],
    moments: Moments,
    rows: Int[Tensor, "rows"],
    rate: float,
    betas: tuple[float, float] = ADAM_BETAS,
    eps: float = ADAM_EPSILON,
) -> None:
    """Change rows of a parameter and of its moments in place; all others rest (Kingma and Ba 2015).

    Args:
        parameter: the parameter, float32.
        gradient: the gradient of the loss in it.
        moments: its moments, whose turns count this step already.
        rows: the rows that take a step.
        rate: learning rate.
        betas: how fast the moments forget.
        eps: what is added to the root of the second moment.
    """
    tensors = parameter.detach(), gradient.contiguous(), moments.mean, moments.square
    arrays = (tensor.view(len(tensor), -1).numpy() for tensor in tensors)
    scalars = (np.float32(number) for number in (rate, *betas, eps))
    fit_numba.sparse_adam(rows.int().numpy(), moments.turns.numpy(), *arrays, *scalars)
