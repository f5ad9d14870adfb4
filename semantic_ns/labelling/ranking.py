"""Which frames are most worth looking at next."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int, Int32
from numpy import ndarray

from semantic_ns.labelling.spreading import REACHED, SpreadLabels

UNSURE = 0.5
"""Confidence below which labels count as unsure."""
_MOST_PIXELS = 20_000
"""Pixels of a frame that are looked at."""
_Numbers = Int[ndarray, "rows columns"]


@dataclass(frozen=True)
class FrameRank:
    """A frame and why to look at it.

    Attributes:
        frame: Its number.
        score: The share of its pixels that are likely to be wrong, 0..1, plus that on which marks contradict each
            other.
        reason: A sentence for people.
    """

    frame: int
    score: float
    reason: str


def rank_frames(
    pixel_voxels: Int32[ndarray, "frames height width"],
    shown: SpreadLabels,
    is_painted: Callable[
        [int, Int[ndarray, "rows columns"], Int[ndarray, "rows columns"]], Bool[ndarray, "rows columns"]
    ],
    stride: int,
) -> list[FrameRank]:
    """All frames, first those with the highest score; equal ones in their order.

    Args:
        pixel_voxels: The voxel of every n-th pixel, -1 for none.
        shown: The classes of the voxels.
        is_painted: Whether pixels of a frame, given by their rows and columns, are painted; these are taken for right.
        stride: n.
    """
    step = max(1, int(np.ceil((pixel_voxels[0].size / _MOST_PIXELS) ** 0.5)))
    ranks = []
    for frame, of_frame in enumerate(pixel_voxels):
        voxels = of_frame[::step, ::step]
        confidence = np.where(voxels >= 0, shown.confidence[voxels], 0)
        contradicted = (voxels >= 0) & shown.contradicted[voxels]
        painted = is_painted(frame, *(np.indices(voxels.shape) * (stride * step)))
        confidence, contradicted = np.where(painted, 1, confidence), contradicted & ~painted
        ranks.append(FrameRank(frame, *_score(confidence, contradicted)))
    return sorted(ranks, key=lambda rank: (-rank.score, rank.frame))


def _score(confidence: ndarray, contradicted: ndarray) -> tuple[float, str]:
    unlabelled = float((confidence < REACHED).mean())
    unsure = float(((confidence >= REACHED) & (confidence < UNSURE)).mean())
    contradictions = float(contradicted.mean())
    parts = [f"{unlabelled:.0%} of its pixels are far from any mark", f"{unsure:.0%} are unsure"]
    if contradictions > 0:
        parts.append("marks of two classes contradict each other")
    return float(1 - confidence.mean()) + contradictions, ", ".join(parts)
