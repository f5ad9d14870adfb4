"""Layers of torch networks as the CPU kernels take them: in whole blocks, as arrays, with gradients that add up."""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

BLOCK = 8
"""Rows and columns of the kernels' matrices come in multiples of this; ``matrix_numba`` says why."""
INPUT_BLOCK = 4
"""The rows of a matrix whose inputs get no gradient from ``linear`` come in multiples of this instead."""
_NUM_SLOTS = 32
"""As many threads can add up gradients at the same time; each slot is as large as the networks and costs some time."""


def linear_layers(network: nn.Module) -> list[nn.Linear]:
    """Layers of one of nerfstudio's torch networks."""
    return list(cast(nn.ModuleList, network.layers))  # pyright: ignore[reportReturnType]


def whole_blocks(matrix: Tensor, axes: int = 2, rows: int = BLOCK) -> Tensor:
    """Zeros appended to each of the last axes up to whole blocks; the matrix itself where none are missing."""
    multiples = (BLOCK, rows)
    missing = [zeros for i in range(min(axes, matrix.ndim)) for zeros in (0, -matrix.shape[-1 - i] % multiples[i])]
    return F.pad(matrix, missing) if any(missing) else matrix


def as_arrays(tensors: Sequence[Tensor]) -> Any:
    """The tensors as NumPy arrays, which share the memory of contiguous ones; a named tuple keeps its names."""
    return _tuple_like(tensors, [tensor.detach().contiguous().numpy() for tensor in tensors])


def zeros_per_slot(tensors: Sequence[Tensor]) -> Any:
    """Zeros [slots, ...] for the gradient of each tensor that the kernels add up; a named tuple keeps its names.

    A slot belongs to a share of the rays, not to a thread, and slots are added in their order: the sum is the same for
    any number of threads.
    """
    return _tuple_like(tensors, [torch.zeros(_NUM_SLOTS, *tensor.shape) for tensor in tensors])


def _tuple_like(template: Sequence[Any], values: list[Any]) -> tuple[Any, ...]:
    make = getattr(type(template), "_make", tuple)
    return make(values)
