"""One hash-grid class over several back ends that share table layout, hash and result."""

import importlib.util
import os
import shutil
from functools import cache
from types import ModuleType
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from nerfstudio.field_components.encodings import HashEncoding
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from semantic_ns.errors import SceneError

Backend = Literal["auto", "numba", "triton", "torch"]
ChosenBackend = Literal["numba", "triton", "torch"]

TRITON_FEATURES = (1, 2, 4, 8)
"""Features per level that the Triton kernels read as whole vectors."""


def _kernels(backend: ChosenBackend) -> ModuleType:
    """The module with a back end's kernels, imported when they are first needed: both compilers load slowly."""
    if backend == "numba":
        from semantic_ns.encodings import hash_grid_numba as kernels
    else:
        from semantic_ns.encodings import hash_grid_triton as kernels
    return kernels


class _KernelHashGrid(torch.autograd.Function):
    """Hash-grid encoding by the kernels of a back end, differentiable once in table and positions."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, table: Tensor, scalings: Tensor, table_size: int, backend: ChosenBackend
    ) -> Tensor:
        x, table = x.detach().contiguous(), table.detach().contiguous()
        points, channels = x.shape[0], scalings.shape[0] * table.shape[1]
        # A Triton program writes one level: with the points of a column side by side, its writes fill whole sectors.
        y = x.new_empty(channels, points).t() if backend == "triton" else x.new_empty(points, channels)
        ctx.save_for_backward(x, table, scalings)
        ctx.table_size, ctx.backend = table_size, backend
        arrays = _arrays(backend, x, table, scalings)
        _kernels(backend).encode(*arrays, table_size, *_arrays(backend, y))
        return y

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        x, table, scalings = ctx.saved_tensors
        kernels, size = _kernels(ctx.backend), ctx.table_size
        y_gradient = gradients[0] if ctx.backend == "triton" else gradients[0].contiguous()
        points, rows, y_bar, s = _arrays(ctx.backend, x, table, y_gradient, scalings)
        x_gradient = table_gradient = None
        if ctx.needs_input_grad[0]:
            x_gradient = torch.empty_like(x)
            kernels.position_gradient(points, rows, y_bar, s, size, *_arrays(ctx.backend, x_gradient))
        if ctx.needs_input_grad[1]:
            # Many small terms meet in one row, so they are added in single precision whatever the table's.
            table_gradient = torch.empty_like(table, dtype=torch.float32)
            if ctx.backend == "triton":
                table_gradient.zero_()  # its programs share a level; numba's clear their own
            kernels.scatter_table_gradient(points, y_bar, s, size, *_arrays(ctx.backend, table_gradient))
            table_gradient = table_gradient.to(table.dtype)
        return x_gradient, table_gradient, None, None, None


def _arrays(backend: ChosenBackend, *tensors: Tensor) -> list[Any]:
    """The tensors as a back end's kernels take them, sharing memory."""
    return [tensor.numpy() for tensor in tensors] if backend == "numba" else list(tensors)


class GridArrays(NamedTuple):
    """A grid of L levels as the numba kernels take it."""

    table: Float[np.ndarray, "all_rows features"]
    """Level after level."""
    cells_per_axis: Float[np.ndarray, "levels"]
    table_size: int
    """Rows of a level."""


@cache
def is_installed(package: str) -> bool:
    """Whether a package can be imported, without importing it."""
    return importlib.util.find_spec(package) is not None


@cache
def has_c_compiler() -> bool:
    """Whether Triton can build the launchers of its kernels, which it does when it first runs them."""
    return bool(os.environ.get("CC")) or any(shutil.which(name) for name in ("cc", "gcc", "clang"))


class HashGrid(HashEncoding):
    """nerfstudio's hash encoding with fast back ends for the CPU and for NVIDIA GPUs.

    Table, hash and result are those of ``HashEncoding(implementation="torch")`` (Mueller et al. 2022, equations
    (2)-(4)), so checkpoints move freely between all back ends. The result is in single precision whatever the table's
    type, also under autocast: the layers after it cast it. Positions must lie in [0, 1].

    tiny-cuda-nn is no back end of this class. It stays reachable through ``implementation="tcnn"`` of nerfstudio's
    encodings and of the fields, which :func:`replace_hash_encodings` leaves alone; but it stores coarse levels as dense
    grids, places vertices half a cell off and keeps all levels in one flat vector, so its checkpoints fit itself only.

    Args:
        backend: ``numba`` (CPU only), ``triton`` (CUDA; 1, 2, 4 or 8 features per level), ``torch`` (any device, slow,
            the reference), or ``auto``: numba for tensors on the CPU and Triton for those on a GPU where it is
            installed and fits and a C compiler is at hand (it builds its launchers by one), else torch. numba and
            Triton can be differentiated once, torch any number of times.
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
        backend = self.backend_on(in_tensor.device)
        if backend == "torch":
            return self.pytorch_fwd(in_tensor)
        flat = in_tensor.reshape(-1, 3).float()
        encoded = _KernelHashGrid.apply(flat, self.hash_table, self.scalings32, self.hash_table_size, backend)
        assert isinstance(encoded, Tensor)
        return encoded.view(*in_tensor.shape[:-1], encoded.shape[-1])

    def arrays(self) -> GridArrays:
        """The grid as the numba kernels take it, sharing memory."""
        return GridArrays(self.hash_table.detach().numpy(), self.scalings32.numpy(), self.hash_table_size)

    def uses_numba(self, in_tensor: Tensor) -> bool:
        """Whether the numba kernels encode this tensor."""
        return self.backend_on(in_tensor.device) == "numba"

    def backend_on(self, device: torch.device) -> ChosenBackend:
        """The back end that encodes tensors on a device.

        Raises:
            SceneError: the back end that was asked for cannot.
        """
        if self.backend == "auto":
            return self._fastest_on(device)
        if self.backend == "numba" and device.type != "cpu":
            raise SceneError(f"The numba hash grid encodes CPU tensors, found one on {device}; use auto or torch.")
        if self.backend == "triton":
            self._check_triton(device)
        return self.backend

    def _fastest_on(self, device: torch.device) -> ChosenBackend:
        if device.type == "cpu" and is_installed("numba"):
            return "numba"
        can_use_triton = is_installed("triton") and has_c_compiler() and self.features_per_level in TRITON_FEATURES
        return "triton" if device.type == "cuda" and can_use_triton else "torch"

    def _check_triton(self, device: torch.device) -> None:
        if not is_installed("triton"):
            raise SceneError("The Triton hash grid needs the package triton, found none; install it or use auto.")
        if not has_c_compiler():
            raise SceneError("The Triton hash grid needs a C compiler such as gcc, found none; install it or use auto.")
        if self.features_per_level not in TRITON_FEATURES:
            raise SceneError(
                f"The Triton hash grid takes 1, 2, 4 or 8 features per level, found {self.features_per_level}; "
                "use auto or torch."
            )
        if device.type != "cuda" and not (device.type == "cpu" and _kernels("triton").is_interpreted()):
            raise SceneError(f"The Triton hash grid encodes CUDA tensors, found one on {device}; use auto or torch.")


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
