"""Images of places of `benchmarks.captures`, with their cameras."""

import math
from collections.abc import Callable
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from nerfstudio.cameras.cameras import Cameras

from semantic_ns.synthetic_scene import Content, render_content

SIZE = (64, 48)
HFOV_DEGREES = 75.0


@cache
def rendered(place: Callable[[], Content], walk: Callable[[], np.ndarray]) -> tuple[np.ndarray, list[Any], float]:
    """Cameras, colours and the median planar depth."""
    poses, content = walk(), place()
    views = [render_content(content, pose, *SIZE, HFOV_DEGREES) for pose in poses]
    colors = [torch.from_numpy(view.rgb).float() / 255 for view in views]
    return poses, colors, float(np.median([view.depth_m for view in views]))


def images_of(poses: np.ndarray, colors: list[Any], scale: float = 1.0, **cameras: Any) -> Any:
    c2w = torch.from_numpy(poses * np.array([1.0, -1.0, -1.0, 1.0]))[:, :3].float()
    c2w[:, :, 3] *= scale
    width, height = SIZE
    focal = width / 2 / math.tan(math.radians(HFOV_DEGREES / 2))
    made = Cameras(c2w, focal, focal, width / 2, height / 2, width, height, **cameras)
    return SimpleNamespace(cameras=made, color_of=lambda index: colors[index])
