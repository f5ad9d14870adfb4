"""One hash-grid class over several back ends that share table layout, hash and result."""

import importlib.util
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from nerfstudio.field_components.encodings import HashEncoding
from torch import Tensor, nn

from semantic_ns.errors import SceneError

Backend = Literal["auto", "numba", "torch"]


class _NumbaHashGrid(torch.autograd.Function):
    """Hash-grid encoding by the numba kernels, differentiable once in table and positions."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, table: Tensor, scalings: Tensor, table_size: int) -> Tensor:
        from semantic_ns.encodings import hash_grid_numba as kernels

        x, table = x.detach().contiguous(), table.detach().contiguous()
        y = torch.empty(x.shape[0], scalings.shape[0] * table.shape[1])
        kernels.encode(x.numpy(), table.numpy(), scalings.numpy(), table_size, y.numpy())
        ctx.save_for_backward(x, table, scalings)
        ctx.table_size = table_size
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        from semantic_ns.encodings import hash_grid_numba as kernels

        x, table, scalings = ctx.saved_tensors
        y_gradient = gradients[0].contiguous().numpy()
        x_gradient = table_gradient = None
        if ctx.needs_input_grad[0]:
            x_gradient = torch.empty_like(x)
            kernels.position_gradient(
                x.numpy(), table.numpy(), y_gradient, scalings.numpy(), ctx.table_size, x_gradient.numpy()
            )
        if ctx.needs_input_grad[1]:
            table_gradient = torch.zeros_like(table)
            kernels.scatter_table_gradient(
                x.numpy(), y_gradient, scalings.numpy(), ctx.table_size, table_gradient.numpy()
            )
        return x_gradient, table_gradient, None, None


def numba_is_available() -> bool:
    """Whether the numba back end can be used, without importing numba."""
    return importlib.util.find_spec("numba") is not None


class HashGrid(HashEncoding):
    """nerfstudio's hash encoding with a fast CPU back end.

    Table, hash and result are those of ``HashEncoding(implementation="torch")`` (Mueller et al. 2022, equations
    (2)-(4)), so checkpoints move freely between the two. Positions must lie in [0, 1].

    Args:
        backend: ``numba`` (CPU only), ``torch`` (any device, slow, the reference), or ``auto``: numba for tensors on
            the CPU when it is installed, else torch.
        kwargs: arguments of ``HashEncoding``; ``implementation`` is fixed.
    """

    def __init__(self, backend: Backend = "auto", **kwargs: Any) -> None:
        super().__init__(implementation="torch", **kwargs)
        self.backend: Backend = backend
        self.register_buffer("scalings32", torch.as_tensor(np.asarray(self.scalings), dtype=torch.float32), False)
        self.scalings32: Tensor

    @classmethod
    def from_encoding(cls, encoding: HashEncoding, backend: Backend = "auto") -> "HashGrid":
        """The same grid as ``encoding``, sharing its table parameter."""
        grid = cls(
            backend=backend,
            num_levels=encoding.num_levels,
            min_res=encoding.min_res,
            max_res=int(encoding.scalings[-1]),
            log2_hashmap_size=encoding.log2_hashmap_size,
            features_per_level=encoding.features_per_level,
        )
        grid.scalings = encoding.scalings
        grid.scalings32 = encoding.scalings.float()
        grid.hash_table = encoding.hash_table
        return grid

    def forward(self, in_tensor: Float[Tensor, "*bs 3"]) -> Float[Tensor, "*bs features"]:
        """Encode positions in [0, 1]; levels are outermost in the feature axis."""
        if not self.uses_numba(in_tensor):
            return self.pytorch_fwd(in_tensor)
        flat = in_tensor.reshape(-1, 3).float()
        encoded = _NumbaHashGrid.apply(flat, self.hash_table, self.scalings32, self.hash_table_size)
        assert isinstance(encoded, Tensor)
        return encoded.view(*in_tensor.shape[:-1], encoded.shape[-1])

    def uses_numba(self, in_tensor: Tensor) -> bool:
        """Whether the numba kernels encode this tensor."""
        if self.backend == "auto":
            return in_tensor.device.type == "cpu" and numba_is_available()
        if self.backend == "numba" and in_tensor.device.type != "cpu":
            raise SceneError(
                f"The numba hash grid encodes CPU tensors, found one on {in_tensor.device}; use auto or torch."
            )
        return self.backend == "numba"


def replace_hash_encodings(module: nn.Module, backend: Backend = "auto") -> None:
    """Swap every torch ``HashEncoding`` inside ``module`` for a :class:`HashGrid` with the same table.

    The names of the parameters, and with them the checkpoint's keys, stay as they are.
    """
    swapped: dict[int, HashGrid] = {}
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, HashEncoding) and not isinstance(child, HashGrid) and child.tcnn_encoding is None:
                swapped.setdefault(id(child), HashGrid.from_encoding(child, backend))
                setattr(parent, name, swapped[id(child)]) if not isinstance(
                    parent, nn.Sequential
                ) else parent.__setitem__(int(name), swapped[id(child)])
