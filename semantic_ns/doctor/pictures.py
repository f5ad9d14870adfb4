"""A picture grid of some frames: colour, labels, depth, and labels over colour."""

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor
from torch.nn.functional import interpolate

from semantic_ns.doctor.loading import LoadedScene
from semantic_ns.evaluation.captions import GridRow, captioned_grid, class_legend
from semantic_ns.evaluation.pictures import paint

_LARGEST_WIDTH_PX = 320


def picture_grid(scene: LoadedScene, num_frames: int = 4) -> UInt8[ndarray, "grid_height grid_width 3"]:
    """One row per frame, evenly spread over the scene; depth from 0 (unknown is black) to the largest of the rows.

    Frames are those of the commonest size. Depth is left out where none of them has any. Rows have the names of the
    images as titles; a legend names the classes of these frames.
    """
    scene = scene.of_commonest_size()
    indices = np.unique(np.linspace(0, len(scene.views) - 1, num_frames).astype(int)).tolist()
    read_depth = scene.views.read_depth
    depths = {i: torch.from_numpy(read_depth(i).astype(np.float32))[..., None] for i in indices} if read_depth else {}
    high = max((float(depth.max()) for depth in depths.values()), default=0.0)
    depths = depths if high > 0 else {}  # none of these frames has depth
    titles = ["colour", "labels", *([f"depth, 0 to {high:.3g} m"] if depths else []), "labels over colour"]
    rows, seen = [], []
    for index in indices:
        color = torch.from_numpy(scene.read_color(index)).float()
        classes = torch.from_numpy(scene.views.read_labels(index)).long()
        seen.append(classes)
        labels = scene.taxonomy.colorize(classes)
        row = [color, labels]
        if index in depths:
            row.append(paint(depths[index], 0.0, high).masked_fill(depths[index] <= 0, 0.0))
        row.append(torch.lerp(color, labels, 0.5))
        column_titles = titles if index == indices[0] else ()
        rows.append(GridRow([_shrunk(picture) for picture in row], scene.views.images[index].name, column_titles))
    grid = captioned_grid(rows, class_legend(scene.taxonomy, *seen))
    return (grid.clamp(0, 1) * 255).round().byte().numpy()


def _shrunk(picture: Float[Tensor, "height width 3"]) -> Float[Tensor, "_height _width 3"]:
    """The picture, at most 320 pixels wide; colours of classes are not mixed."""
    height, width = picture.shape[:2]
    if width <= _LARGEST_WIDTH_PX:
        return picture
    size = (max(1, round(height * _LARGEST_WIDTH_PX / width)), _LARGEST_WIDTH_PX)
    return interpolate(picture.permute(2, 0, 1)[None], size, mode="nearest-exact")[0].permute(1, 2, 0)
