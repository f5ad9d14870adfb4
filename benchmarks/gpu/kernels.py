"""Stage `kernels`: every Triton kernel, forward and backward, against its twin in double precision."""

import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.gpu.rows import Rows
from benchmarks.gpu.settings import Settings
from benchmarks.gpu.twins import Grid, Twin, twin_of
from semantic_ns.encodings.hash_grid import HashGrid

TOLERANCES = {"encode_kernel": 1e-5, "position_kernel": 1e-5, "scatter_kernel": 2e-5}
"""Largest error over the largest value; of gradients over the sum of the magnitudes of their terms."""


@dataclass(frozen=True)
class Case:
    """A grid and a number of points."""

    points: int
    features: int = 2
    log2_size: int = 16
    levels: int = 10
    table_type: torch.dtype = torch.float32
    layout: str = "rows"
    """Of the gradient that comes back: rows side by side, columns side by side, or one number for all."""

    @property
    def name(self) -> str:
        """For the row."""
        kind = str(self.table_type).removeprefix("torch.")
        return (
            f"{self.points} points, {self.levels} levels of 2^{self.log2_size} x {self.features} {kind}, {self.layout}"
        )


def cases(tiny: bool) -> list[Case]:
    """Odd sizes, no points at all, all layouts; on a device up to 10^7 points and the sizes of the methods."""
    if tiny:
        return [Case(0, levels=2, log2_size=6), Case(131, levels=2, log2_size=6, layout="columns")]
    odd = [Case(count) for count in (0, 1, 2, 31, 127, 128, 129, 4097, 100_003)]
    widths = [Case(1009, features=features, log2_size=14) for features in (1, 2, 4, 8)]
    sizes = [Case(1009, log2_size=size, levels=levels) for size, levels in ((0, 1), (4, 3), (19, 16), (21, 7))]
    types = [Case(5003, table_type=kind) for kind in (torch.float16, torch.bfloat16)]
    layouts = [Case(5003, layout=layout) for layout in ("columns", "one number")]
    return [*odd, *widths, *sizes, *types, *layouts, Case(10_000_000), Case(3_000_001, log2_size=19, levels=16)]


def grid_of(case: Case, device: str, seed: int) -> HashGrid:
    """A grid of the case by Triton, its features of size 1."""
    grid = HashGrid(
        backend="triton", num_levels=case.levels, min_res=16, max_res=1024 if case.levels > 1 else 16,
        log2_hashmap_size=case.log2_size, features_per_level=case.features,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(seed)
    table = 2 * torch.rand(grid.hash_table.shape, generator=generator) - 1
    grid.hash_table = nn.Parameter(table.to(case.table_type))
    return grid.to(device)


def points_of(count: int, device: str, seed: int) -> Tensor:
    """Random positions, the first of them on the border and on a grid line."""
    x = torch.rand(count, 3, generator=torch.Generator().manual_seed(seed))
    special = torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.0625, 0.5, 1.0]])
    x[: min(count, 3)] = special[: min(count, 3)]
    return x.to(device)


def cotangent_of(case: Case, channels: int, device: str, seed: int) -> Tensor:
    """The gradient that comes back, in the case's layout; a tenth of the points have none."""
    if case.layout == "one number":
        return torch.tensor(0.75, device=device).expand(case.points, channels)
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(case.points, channels, generator=generator)
    values[: case.points // 10] = 0.0
    return values.t().contiguous().to(device).t() if case.layout == "columns" else values.to(device)


def errors(found: tuple[Tensor, Tensor, Tensor], twin: Twin) -> dict[str, float]:
    """Relative error of each kernel; 0 where there is nothing to compare."""

    def largest(values: Tensor) -> Tensor:
        return values.abs().max() if values.numel() else values.new_zeros(())

    def over_largest(difference: Tensor, size: Tensor) -> float:
        return float(largest(difference) / largest(size).clamp(min=1e-12))

    # What was rounded to the table's type is off by that much, too.
    kind = torch.finfo(found[2].dtype)
    rounding = kind.eps * (twin.table_gradient.abs() + kind.tiny) if found[2].dtype != torch.float32 else 0.0
    off = ((found[2].double() - twin.table_gradient).abs() - rounding).clamp(min=0)
    return {
        "encode_kernel": over_largest(found[0].double() - twin.encoded, twin.encoded),
        "position_kernel": over_largest(found[1].double() - twin.position_gradient, twin.position_magnitude),
        "scatter_kernel": float(largest(off / twin.table_magnitude.clamp(min=1e-6))),
    }


def measure(settings: Settings, rows: Rows) -> None:
    """One row for each kernel and case."""
    for case in cases(settings.tiny):
        with rows.attempt(case.name):
            start = time.perf_counter()
            found = compare(case, settings)
            for kernel, error in found.items():
                rows.add(
                    f"{kernel}, {case.name}", kernel=kernel, points=case.points, error=error,
                    tolerance=TOLERANCES[kernel], passed=error <= TOLERANCES[kernel],
                    seconds=time.perf_counter() - start,
                )  # fmt: skip


def compare(case: Case, settings: Settings) -> dict[str, float]:
    """Errors of all kernels in one case."""
    grid = grid_of(case, settings.device, settings.seed)
    x = points_of(case.points, settings.device, settings.seed + 1).requires_grad_()
    cotangent = cotangent_of(case, case.levels * case.features, settings.device, settings.seed + 2)
    encoded = grid(x)
    gradients: Any = torch.autograd.grad(encoded, [x, grid.hash_table], cotangent)
    plain = Grid(grid.hash_table.detach(), grid.scalings32, grid.hash_table_size)
    return errors((encoded.detach(), *gradients), twin_of(plain, x.detach(), cotangent))
