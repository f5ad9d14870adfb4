"""A picture grid of some frames: colour, labels, depth, and labels over colour."""

import numpy as np
import torch
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image

from semantic_ns.doctor.loading import LoadedScene
from semantic_ns.evaluation.pictures import paint, tile

_LARGEST_WIDTH_PX = 320


def picture_grid(scene: LoadedScene, num_frames: int = 4) -> UInt8[ndarray, "grid_height grid_width 3"]:
    """One row per frame, evenly spread over the scene; depth from 0 (unknown is black) to the largest of the rows."""
    indices = np.unique(np.linspace(0, len(scene.views) - 1, num_frames).astype(int)).tolist()
    read_depth = scene.views.read_depth
    depths = {i: torch.from_numpy(read_depth(i).astype(np.float32))[..., None] for i in indices} if read_depth else {}
    high = max((float(depth.max()) for depth in depths.values()), default=1.0)
    rows = []
    for index in indices:
        color = torch.from_numpy(scene.read_color(index)).float()
        color = color.expand(-1, -1, 3)
        labels = scene.taxonomy.colorize(torch.from_numpy(scene.views.read_labels(index)).long())
        row = [color, labels]
        if index in depths:
            row.append(paint(depths[index], 0.0, high).masked_fill(depths[index] <= 0, 0.0))
        rows.append([*row, torch.lerp(color, labels, 0.5)])
    grid = (tile(rows).clamp(0, 1) * 255).round().byte().numpy()
    factor = min(1.0, _LARGEST_WIDTH_PX / scene.views.size[0])
    size = (round(grid.shape[1] * factor), round(grid.shape[0] * factor))
    return grid if factor == 1.0 else np.asarray(Image.fromarray(grid).resize(size, Image.Resampling.NEAREST))
