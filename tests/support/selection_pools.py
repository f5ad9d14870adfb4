"""Pools of pixels that no field has rendered, and divisions of them, for tests of the choice of units."""

from typing import Any

import numpy as np

from semantic_ns.active_learning.pool.pool import Pool
from semantic_ns.active_learning.pool.units import Units

FRAMES, HEIGHT, WIDTH = 5, 8, 12


def pool_of(points_m: np.ndarray, **changed: Any) -> Pool:
    """A pool of every pixel of frames [F, H, W, 3] of surface points, sure of everything unless told otherwise."""
    frames, height, width = points_m.shape[:3]
    grid = np.stack(np.meshgrid(range(frames), range(height), range(width), indexing="ij"), axis=-1).reshape(-1, 3)
    columns: dict[str, Any] = dict(zip(("frames", "rows", "columns"), grid.T.astype(np.int32), strict=True))
    ones = np.ones(len(grid), np.float32)
    columns |= {name: ones.copy() for name in ("entropy", "confidence", "margin", "accumulation")}
    columns |= {
        "stride": 1,
        "points_m": points_m.reshape(-1, 3).astype(np.float32),
        "spread_m": 0 * ones,
        "colors": np.full((len(grid), 3), 0.5, np.float32),
        "normals": np.tile(np.array([[0, 0, 1]], np.float32), (len(grid), 1)),
        "camera_positions_m": np.zeros((frames, 3), np.float32),
        "viewing_directions": np.tile(np.array([[0, 0, -1]], np.float32), (frames, 1)),
    }
    return Pool(**columns | changed)


def random_pool(seed: int, size_m: float = 0.6) -> Pool:
    """Random points in a cube, seen with random certainty; some rays end nowhere, some on two surfaces."""
    generator = np.random.default_rng(seed)
    count = FRAMES * HEIGHT * WIDTH

    def draw(*shape: int) -> np.ndarray:
        return generator.random((count, *shape), np.float32)

    normals = generator.normal(size=(count, 3))
    directions = generator.normal(size=(FRAMES, 3))
    return pool_of(
        size_m * (generator.random((FRAMES, HEIGHT, WIDTH, 3)) - 0.5),
        entropy=draw(),
        confidence=draw(),
        margin=draw(),
        spread_m=0.2 * draw() ** 2,
        accumulation=1 - 0.12 * draw(),
        normals=(normals / np.linalg.norm(normals, axis=1, keepdims=True)).astype(np.float32),
        camera_positions_m=generator.normal(size=(FRAMES, 3)).astype(np.float32),
        viewing_directions=(directions / np.linalg.norm(directions, axis=1, keepdims=True)).astype(np.float32),
        features=generator.normal(size=(count, 5)).astype(np.float16),
        colors=draw(3),
        disagreement=draw(),
    )


def block_units(frames: int = FRAMES, height: int = HEIGHT, width: int = WIDTH, block: int = 3) -> Units:
    """Square blocks of every frame; the last row and column of pixels belong to the blocks before them."""
    per_column, per_row = max(1, (height - 1) // block), max(1, (width - 1) // block)
    rows = np.minimum(np.arange(height) // block, per_column - 1)
    columns = np.minimum(np.arange(width) // block, per_row - 1)
    blocks = rows[:, None] * per_row + columns
    count = per_column * per_row
    maps = [(blocks + frame * count).astype(np.int32) for frame in range(frames)]
    num_pixels = np.tile(np.bincount(blocks.reshape(-1)), frames)
    return Units(maps, np.repeat(np.arange(frames, dtype=np.int32), count), num_pixels, np.ones_like(num_pixels))
