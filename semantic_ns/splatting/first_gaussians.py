"""The Gaussians that a training begins with where depth is known: the leaves of an octree of the pixels."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from semantic_ns.errors import SceneError
from semantic_ns.splatting.fit import View
from semantic_ns.splatting.fit_config import COMMON_BLUR, FINE_BLUR
from semantic_ns.splatting.octree import OctreeConfig, gaussians_of_points
from semantic_ns.splatting.project import Gaussians

_MAX_POINTS = 8_000_000
"""Largest number of pixels that become points: they take some 500 bytes each while the octree is made."""


@dataclass(frozen=True)
class Leaves:
    """Leaves of the octree of pixels.

    Attributes:
        finest: side of the finest ones over the median side that a used pixel has at its depth.
        coarsest: side of the coarsest ones over that of the finest.
        thickness: see `OctreeConfig`.
        every: of so many rows and columns one is used, whose pixels stand for squares.
        blur: that of the Gaussians, pixels².
    """

    finest: float = 0.8
    coarsest: float = 8.0
    thickness: float = OctreeConfig.thickness
    every: int = 1
    blur: float = FINE_BLUR


OF_IMAGES = Leaves()
"""Of depth images."""
OF_STEREO = Leaves(3.2, 4.0, 0.3, every=2, blur=COMMON_BLUR)
"""Of depth by stereo, whose errors are those of a surface many pixels thick: few Gaussians, for training to split.
A quarter of the pixels make the same Gaussians."""


def has_depth(views: Sequence[View]) -> bool:
    """Whether the depth of any used pixel is known."""
    return any(
        view.depth is not None and bool(((view.depth > 0) if view.mask is None else (view.depth > 0) & view.mask).any())
        for view in views
    )


def first_gaussians(
    views: Sequence[View],
    labels: Sequence[Int[Tensor, "_height _width"]] | None = None,
    most: int | None = None,
    leaves: Leaves = OF_IMAGES,
) -> tuple[Gaussians, Float[Tensor, "gaussians 3"]]:
    """Gaussians at the surface that the depth of the views shows, before any training.

    Args:
        views: images with depth.
        labels: classes of their pixels, 0..C-1, void -1, by whose outlines Gaussians are divided; None divides none.
        most: number of Gaussians beyond which leaves are twice as large, again and again; None for any number.
        leaves: how large leaves are at first.

    Raises:
        SceneError: if no depth is known.
    """
    num_pixels = sum(view.camera.height * view.camera.width for view in views)
    every = max(leaves.every, math.ceil(math.sqrt(num_pixels / _MAX_POINTS)))
    points, colors, sides, classes = [], [], [], []
    for number, view in enumerate(views):
        assert view.depth is not None
        fx, fy, cx, cy = view.camera.lens
        row, column = torch.meshgrid(torch.arange(view.camera.height), torch.arange(view.camera.width), indexing="ij")
        is_known = view.depth > 0 if view.mask is None else (view.depth > 0) & view.mask
        if every > 1:  # each pixel that is left stands for a square of them
            is_known = is_known & (row % every == every // 2) & (column % every == every // 2)
        z = view.depth[is_known]
        x, y = (column[is_known] + 0.5 - cx) / fx * z, (row[is_known] + 0.5 - cy) / fy * z
        rotation, translation = view.camera.w2c[:, :3], view.camera.w2c[:, 3]
        points.append((torch.stack([x, y, z], dim=-1) - translation) @ rotation)
        colors.append(view.color_where(is_known))
        sides.append(every * z / torch.sqrt(fx * fy))
        classes.append(torch.full_like(z, -1).int() if labels is None else labels[number][is_known].int())
    side = torch.cat(sides)
    if len(side) == 0:
        raise SceneError(
            "Expected depth of some pixels of the training images, found none; check the depth images with sns-doctor, "
            "or give --depth rendered."
        )
    finest = leaves.finest * float(side.median())
    parts = torch.cat(points).numpy(), torch.cat(colors).numpy(), side.numpy()
    while True:
        config = OctreeConfig(finest, leaves.coarsest * finest, thickness=leaves.thickness)
        gaussians, color = gaussians_of_points(*parts, config, torch.cat(classes).numpy())
        if most is None or len(gaussians) <= max(most, 1):
            return replace(gaussians, blur=leaves.blur), color
        finest *= 2
