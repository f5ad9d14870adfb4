"""Stage `encoding`: how fast the device copies, and how near to that the hash grids come."""

import statistics
from typing import Any

import torch

from benchmarks.encoding import GRID, back_ends, one_turn, ray_points, seconds
from benchmarks.gpu.rows import Rows
from benchmarks.gpu.settings import Settings

_BYTES = 4
_SMALL: dict[str, Any] = {
    "num_levels": 10, "min_res": 16, "max_res": 1024, "log2_hashmap_size": 18, "features_per_level": 2,
}  # fmt: skip
"""semantic-nerf's; that of the benchmark of encodings is nerfacto's."""


def measure(settings: Settings, rows: Rows) -> None:
    """A row for the copy, and one for each back end, grid and number of rays."""
    bandwidth = copy_bandwidth(settings)
    rows.add("copy on the device", gigabytes_per_second=bandwidth / 1e9)
    turns = 1 if settings.tiny else 15
    for label, grid in (("semantic-nerf's grid", _SMALL), ("nerfacto's grid", GRID)):
        for rays in (4,) if settings.tiny else (2048, 16_384):
            x = ray_points(rays, settings.device)
            for backend, encoding in encodings(grid, settings).items():
                name = f"{backend}, {label}, {rays} rays of 48 samples"
                with rows.attempt(name):
                    measured = [one_turn(encoding, x, settings.device) for _ in range(turns + 2)][2:]
                    time = {part: statistics.median(turn[part] for turn in measured) for part in measured[0]}
                    rows.add(name, milliseconds=time, points=len(x), **roofline(grid, len(x), time, bandwidth))


def encodings(grid: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """Back ends of the device, with the sizes of a grid."""
    sizes = dict(GRID)
    GRID.update(grid | ({"log2_hashmap_size": 8, "num_levels": 2} if settings.tiny else {}))
    try:
        return back_ends(settings.device)
    finally:
        GRID.clear()
        GRID.update(sizes)


def copy_bandwidth(settings: Settings) -> float:
    """Bytes a second, those read and those written, of copies from tensor to tensor."""
    source = torch.zeros((1 << 20) if settings.tiny else (1 << 28), device=settings.device)
    target = torch.empty_like(source)
    times = [seconds(lambda: target.copy_(source), settings.device) for _ in range(2 if settings.tiny else 12)]
    return 2 * _BYTES * source.numel() / min(times)


def roofline(grid: dict[str, Any], points: int, milliseconds: dict[str, float], bandwidth: float) -> dict[str, Any]:
    """Bytes that the programs ask for, and the share of the copy's speed at which they get them.

    Most of them come from caches, as a table of a level fits there: a share above 1 is possible.
    """
    levels, features = grid["num_levels"], grid["features_per_level"]
    row = _BYTES * features
    ends = points * levels * (3 * _BYTES + row)  # a position, and a level's share of the result or of its gradient
    table = levels * 2 ** grid["log2_hashmap_size"] * row
    asked = {
        "forward": ends + 8 * points * levels * row,
        "backward": ends + 2 * 8 * points * levels * row + table,  # an addition reads and writes; the table is cleared
    }
    least = {"forward": points * (3 * _BYTES + levels * row) + table, "backward": points * levels * row + 2 * table}
    return {
        "bytes_asked_for": asked,
        "bytes_at_least": least,
        "share_of_copy": {part: asked[part] / (1e-3 * milliseconds[part]) / bandwidth for part in asked},
        "share_of_copy_at_least": {part: least[part] / (1e-3 * milliseconds[part]) / bandwidth for part in least},
    }
