"""How long does it take to choose what to label, beyond rendering?

A pool as a field would render it is made up: cameras inside a box of 6 x 5 x 2.6 m that see its walls, with smooth
random entropies. Every strategy chooses regions from a budget of 2 % of the pixels to one of 16 %, the longest round
but one of the protocol. The bar is 10 s on 2 cores for 180 frames of 320x240. Division into super-pixels, which happens
once in a run, is timed beside it.
"""

import argparse
import json
import os
import platform
import statistics
import time
from pathlib import Path
from typing import get_args

import numpy as np
from scipy import ndimage

from semantic_ns.active_learning.config import SelectionConfig, Strategy
from semantic_ns.active_learning.pool.pool import Pool
from semantic_ns.active_learning.pool.units import Units, divide, super_pixels
from semantic_ns.active_learning.strategies.selection import select

ROOT = Path(__file__).resolve().parent.parent
ROOM_M = np.array([6.0, 5.0, 2.6])
HEIGHT, WIDTH, FOCAL_PX = 240, 320, 160.0
NUM_CLASSES = 24


def rays_of(rows: np.ndarray, columns: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A camera position in the room, and directions of pixels; the camera is level and looks anywhere."""
    angle = generator.uniform(0, 2 * np.pi)
    forward = np.array([np.cos(angle), np.sin(angle), 0.0])
    right, down = np.array([np.sin(angle), -np.cos(angle), 0.0]), np.array([0.0, 0.0, -1.0])
    across, along = (columns - WIDTH / 2) / FOCAL_PX, (rows - HEIGHT / 2) / FOCAL_PX
    return generator.uniform(0.25, 0.75, 3) * ROOM_M, forward + across[:, None] * right + along[:, None] * down


def made_up_pool(num_frames: int, num_rays: int, generator: np.random.Generator) -> Pool:
    """Every n-th pixel of frames inside a box."""
    stride = int(np.ceil(np.sqrt(num_frames * HEIGHT * WIDTH / num_rays)))
    rows, columns = (grid.reshape(-1) for grid in np.mgrid[0:HEIGHT:stride, 0:WIDTH:stride])
    shape = (len(range(0, HEIGHT, stride)), len(range(0, WIDTH, stride)))
    positions, points, normals, entropies = [], [], [], []
    for _ in range(num_frames):
        origin, directions = rays_of(rows, columns, generator)
        with np.errstate(divide="ignore"):
            distances = (np.where(directions > 0, ROOM_M, 0.0) - origin) / directions
        positions.append(origin)
        points.append(origin + distances.min(axis=1, keepdims=True) * directions)
        normals.append(np.eye(3)[distances.argmin(axis=1)])
        entropies.append(ndimage.gaussian_filter(generator.random(shape), 6 / stride).reshape(-1))
    entropy = np.concatenate(entropies).astype(np.float32)
    ones = np.ones_like(entropy)
    return Pool(
        stride=stride,
        frames=np.repeat(np.arange(num_frames, dtype=np.int32), len(rows)),
        rows=np.tile(rows, num_frames).astype(np.int32),
        columns=np.tile(columns, num_frames).astype(np.int32),
        entropy=entropy,
        confidence=1 - entropy,
        margin=1 - entropy,
        points_m=np.concatenate(points).astype(np.float32),
        spread_m=0 * ones,
        accumulation=ones,
        normals=np.concatenate(normals).astype(np.float32),
        camera_positions_m=np.array(positions, np.float32),
        viewing_directions=np.tile(np.array([[1, 0, 0]], np.float32), (num_frames, 1)),
        features=generator.normal(size=(len(entropy), NUM_CLASSES)).astype(np.float16),
        colors=np.tile(entropy[:, None], (1, 3)),
        disagreement=entropy,
    )


def made_up_units(num_frames: int, region_pixels: int, generator: np.random.Generator) -> Units:
    """The super-pixels of a few images of smooth noise, again and again."""
    images = [ndimage.gaussian_filter(generator.random((HEIGHT, WIDTH, 3)), (5, 5, 0)) for _ in range(4)]
    images = [((image - image.min()) / np.ptp(image)).astype(np.float32) for image in images]
    few = divide(images, "region", region_pixels)
    firsts, counts = np.searchsorted(few.frames, range(4)), np.bincount(few.frames)
    maps, num_pixels, first = [], [], 0
    for frame in range(num_frames):
        own = slice(firsts[frame % 4], firsts[frame % 4] + counts[frame % 4])
        maps.append((few.maps[frame % 4] - own.start + first).astype(np.int32))
        num_pixels.append(few.num_pixels[own])
        first += counts[frame % 4]
    frames = np.repeat(np.arange(num_frames, dtype=np.int32), [len(part) for part in num_pixels])
    sizes = np.concatenate(num_pixels)
    return Units(maps, frames, sizes, np.ones_like(sizes))


def measure(arguments: argparse.Namespace) -> dict[str, object]:
    """Seconds of each strategy, over the repetitions; the first, which may compile, is not counted."""
    generator = np.random.default_rng(0)
    pool = made_up_pool(arguments.frames, arguments.rays, generator)
    units = made_up_units(arguments.frames, SelectionConfig().region_pixels, generator)
    labelled = generator.random(len(units)) < 0.02
    budget = 0.14 * float(units.num_pixels.sum())
    measured: dict[str, object] = {"pool_pixels": len(pool.frames), "units": len(units)}
    for strategy in get_args(Strategy):
        config, seconds, num_chosen = SelectionConfig(strategy=strategy), [], 0
        for _ in range(arguments.repetitions + 1):
            start = time.perf_counter()
            num_chosen = len(select(pool, units, labelled, budget, "pixels", config, 0))
            seconds.append(time.perf_counter() - start)
        counted = seconds[1:]
        measured[strategy] = {"median": statistics.median(counted), "seconds": counted, "chosen": num_chosen}
        print(f"{strategy:>16}: {statistics.median(counted):6.2f} s for {num_chosen} regions", flush=True)
    image = ndimage.gaussian_filter(generator.random((HEIGHT, WIDTH, 3)), (5, 5, 0)).astype(np.float32)
    start = time.perf_counter()
    super_pixels(image, SelectionConfig().region_pixels)
    measured["super_pixels_per_frame"] = time.perf_counter() - start
    return measured


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=180)
    parser.add_argument("--rays", type=int, default=1_200_000, help="pixels of the pool, at most")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--output", type=Path, default=ROOT / "outputs" / "benchmark_selection.json")
    arguments = parser.parse_args()
    circumstances = {"cores": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()}
    measured = circumstances | measure(arguments)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(measured, indent=2) + "\n")
    print(f"written to {arguments.output}")


if __name__ == "__main__":
    main()
