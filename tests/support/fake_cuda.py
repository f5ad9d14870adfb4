"""A CUDA device that computes nothing: what mixes devices, or waits for the device, fails as it would on a real one."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

WAITS_FOR_DEVICE = DataDependentOutputException
"""Raised where a value on the device would have to be known: there a real one would have to come to rest."""


class FakeCuda:
    """Moves what is there to a device of which only shapes, types and places are known."""

    def __init__(self, mode: FakeTensorMode) -> None:
        self._mode = mode

    def __call__(self, tensor: Tensor) -> Tensor:
        """The tensor on the device."""
        return self._mode.from_tensor(tensor).detach().to("cuda")

    def take(self, module: nn.Module) -> None:
        """Move parameters and buffers, which `Module.to` cannot do here."""
        parameters: dict[int, nn.Parameter] = {}  # some are shared
        for child in module.modules():
            for name, parameter in child._parameters.items():
                if parameter is not None:
                    moved = parameters.setdefault(id(parameter), nn.Parameter(self(parameter), parameter.requires_grad))
                    child._parameters[name] = moved
            for name, buffer in child._buffers.items():
                if buffer is not None:
                    child._buffers[name] = self(buffer)

    def batch(self, values: dict[str, Any]) -> dict[str, Any]:
        """The tensors of a dictionary on the device."""
        return {name: self(value) if isinstance(value, Tensor) else value for name, value in values.items()}


@contextmanager
def fake_cuda() -> Iterator[FakeCuda]:
    """Inside it, tensors are fake wherever they are."""
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        yield FakeCuda(mode)
