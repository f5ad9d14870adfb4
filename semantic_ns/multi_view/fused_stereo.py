"""Depth by stereo that is the mean of what several frames say.

Each frame has errors of its own: the steps between planes, and what it sees at a slant. Where others agree with it, the
mean of all has fewer of them, and more of its pixels are confirmed then.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from semantic_ns.geometry.views import ViewCameras
from semantic_ns.multi_view.stereo import agreement, are_confirmed

_TOLERANCE = 0.08
"""Up to which share of it another frame agrees with a depth."""
_TIMES = 2
"""How often means are taken: a third time changes little."""
_NUM_CONFIRMING = 2
"""Other frames that must agree with a mean, whatever confirms the depth of a single frame."""


def mean_with_others(
    depths: Float[Tensor, "frames height width"],
    cameras: ViewCameras,
    around: Sequence[Int64[Tensor, "_others"]],
    tolerance: float,
) -> Float[Tensor, "frames height width"]:
    """Depth of each pixel times 1 + sum of r over 1 + number of r, for all frames that agree with it.

    A frame that has r times the depth there which a point should have in it says that this point is about r times as
    far away: exactly so where both cameras are at one place.

    Args:
        depths: planar depth, 0 where unknown, which it stays.
        cameras: cameras of the frames.
        around: which frames are asked about each one.
        tolerance: a frame agrees with a depth up to this share of it.
    """
    found = []
    for number, others in enumerate(around):
        ratios, agrees = agreement(depths, cameras, number, others, tolerance)
        mean = (1 + ratios.where(agrees, 0.0).sum(dim=0)) / (1 + agrees.sum(dim=0))
        found.append(depths[number] * mean)
    return torch.stack(found)


@torch.no_grad()
def fused_depth(
    depths: Float[Tensor, "frames height width"], cameras: ViewCameras, around: Sequence[Int64[Tensor, "_others"]]
) -> Float[Tensor, "frames height width"]:
    """Depth of frames where two others agree with it, and the mean with those; 0 elsewhere.

    Args:
        depths: planar depth in metres by `finer_depth`, confirmed or not, 0 where unknown.
        cameras: cameras in metres.
        around: which frames are asked about each one.
    """
    for _ in range(_TIMES):
        depths = mean_with_others(depths, cameras, around, _TOLERANCE)
    return depths.where(are_confirmed(depths, cameras, around, _TOLERANCE, _NUM_CONFIRMING), 0.0)
