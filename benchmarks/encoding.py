"""Forward and backward pass of the hash-grid back ends, in turn, on one device and one set of points.

The sizes are nerfacto's: 16 levels, 2^19 rows of two features, 4096 rays of 48 samples. tiny-cuda-nn stores its
table in another layout, so that only its time is comparable, and it computes in half precision.
"""

import argparse
import importlib.util
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from nerfstudio.field_components.encodings import HashEncoding
from torch import Tensor, nn

from semantic_ns.encodings.hash_grid import HashGrid, is_installed

ROOT = Path(__file__).resolve().parents[1]
GRID: dict[str, Any] = {
    "num_levels": 16,
    "min_res": 16,
    "max_res": 2048,
    "log2_hashmap_size": 19,
    "features_per_level": 2,
}
# Points along rays, as in training: neighbours share cells, which decides how often atomic additions collide.
SAMPLES_PER_RAY = 48


def ray_points(rays: int, device: str) -> Tensor:
    """Points [rays * 48, 3] in [0, 1], evenly spaced between two random ends for each ray."""
    generator = torch.Generator().manual_seed(0)
    ends = torch.rand(2, rays, 1, 3, generator=generator)
    along = torch.linspace(0, 1, SAMPLES_PER_RAY).view(1, -1, 1)
    return torch.lerp(ends[0], ends[1], along).view(-1, 3).to(device)


def back_ends(device: str) -> dict[str, nn.Module]:
    """The encodings that can be timed on a device, by name."""
    found: dict[str, nn.Module] = {}
    if device == "cpu" and is_installed("numba"):
        found["numba"] = HashGrid(backend="numba", **GRID)
    if device == "cuda" and is_installed("triton"):
        found["triton"] = HashGrid(backend="triton", **GRID)
    if device == "cuda" and importlib.util.find_spec("tinycudann") is not None:
        found["tinycudann"] = HashEncoding(implementation="tcnn", **GRID)
    found["torch"] = HashGrid(backend="torch", **GRID)
    return {name: encoding.to(device) for name, encoding in found.items()}


def seconds(run: Callable[[], object], device: str) -> float:
    """How long a call takes, its work on the device included."""
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def one_turn(encoding: nn.Module, x: Tensor, device: str) -> dict[str, float]:
    """Time of a forward and of a backward pass to the table, in milliseconds."""
    encoding.zero_grad(set_to_none=True)
    outputs: list[Tensor] = []
    forward = seconds(lambda: outputs.append(encoding(x)), device)
    cotangent = torch.ones_like(outputs[0])
    backward = seconds(lambda: outputs[0].backward(cotangent), device)
    return {"forward": 1e3 * forward, "backward": 1e3 * backward, "both": 1e3 * (forward + backward)}


def summary(turns: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Median and range of every part."""
    parts = {part: [turn[part] for turn in turns] for part in turns[0]}
    return {part: {"median": statistics.median(t), "min": min(t), "max": max(t)} for part, t in parts.items()}


def main() -> None:
    """Measure all back ends in turn and print and write medians and ranges."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--rays", type=int, default=4096, help="each with 48 samples")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--output", type=Path, default=ROOT / "outputs" / "benchmark_encoding.json")
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        print("CUDA: not measured (no device)")
        return
    x, encodings = ray_points(arguments.rays, arguments.device), back_ends(arguments.device)
    turns: dict[str, list[dict[str, float]]] = {name: [] for name in encodings}
    for number in range(-2, arguments.rounds):
        for name, encoding in encodings.items():
            turn = one_turn(encoding, x, arguments.device)
            if number >= 0:  # before that, kernels are compiled and caches filled
                turns[name].append(turn)
    cuda = arguments.device == "cuda"
    report = {
        "device": torch.cuda.get_device_name() if cuda else platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "points": x.shape[0],
        "rounds": arguments.rounds,
        "grid": GRID,
        "milliseconds": {name: summary(results) for name, results in turns.items()},
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(report, indent=2) + "\n")
    for name, parts in report["milliseconds"].items():
        both = parts["both"]
        print(f"{name:>10}: {both['median']:.2f} ms ({both['min']:.2f} to {both['max']:.2f})")


if __name__ == "__main__":
    main()
