"""Which frames are most worth looking at next.

A person minds a wrong object more than as many wrong pixels of a wall: an object counts by its pixels that are likely
to be wrong over the root of the pixels of all frames that show it. Objects are connected parts of the surface that
show one class and look alike. What has been looked at counts less, whether or not it has become right, since the
places about which a session stays unsure are the same ones for long.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int, Int32, Int64
from numpy import ndarray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from semantic_ns.labelling.spreading import REACHED, SpreadLabels
from semantic_ns.labelling.surface import LabelSurface
from semantic_ns.propagation.surface_graph import SurfaceGraph

UNSURE = 0.5
"""Confidence below which labels count as unsure."""
_MOST_PIXELS = 20_000
"""Pixels of a frame that are looked at."""
_LIKE = 0.3
"""Weight from which on an edge joins two voxels to one object; that between voxels that look the same is 1."""
_MARKED = 0.5
"""What a frame still counts after each mark on it."""
_SEEN = 0.7
"""What a voxel still counts after each mark on a frame that shows it."""


@dataclass(frozen=True)
class FrameRank:
    """A frame and why to look at it.

    Attributes:
        frame: Its number.
        score: How much it is worth, see `rank_frames`; says something beside those of other frames alone.
        reason: A sentence for people.
    """

    frame: int
    score: float
    reason: str


def rank_frames(
    surface: LabelSurface,
    shown: SpreadLabels,
    is_painted: Callable[
        [int, Int[ndarray, "rows columns"], Int[ndarray, "rows columns"]], Bool[ndarray, "rows columns"]
    ],
    num_marks: Mapping[int, int],
) -> list[FrameRank]:
    """All frames, first those with the highest score; equal ones in their order.

    The score of a frame is the sum over its pixels, but for painted ones and those without a voxel, of
    (1 - confidence) .7^seen / sqrt(size), times .5^marks: `size` are the pixels of all frames that show the object,
    `seen` the marks on all frames that show the voxel, and `marks` those on the frame.

    Args:
        surface: The surface.
        shown: The classes of its voxels.
        is_painted: Whether pixels of a frame, given by their rows and columns, are painted; these are taken for right.
        num_marks: The number of marks on each frame that has some.
    """
    step = max(1, int(np.ceil((surface.pixel_voxels[0].size / _MOST_PIXELS) ** 0.5)))
    pixel_voxels = surface.pixel_voxels[:, ::step, ::step]
    marks = np.array([num_marks.get(frame, 0) for frame in range(len(pixel_voxels))])
    # The last entry is that of pixels without a voxel.
    values = np.append(_voxel_values(surface.graph, pixel_voxels, shown, marks), 0)
    ranks = []
    for frame, voxels in enumerate(pixel_voxels):
        confidence = np.where(voxels >= 0, shown.confidence[voxels], 0)
        contradicted = (voxels >= 0) & shown.contradicted[voxels]
        painted = is_painted(frame, *(np.indices(voxels.shape) * (surface.stride * step)))
        score = float(values[voxels][~painted].sum() * _MARKED ** float(marks[frame] - marks.min()))
        ranks.append(FrameRank(frame, score, _reason(np.where(painted, 1, confidence), contradicted & ~painted)))
    return sorted(ranks, key=lambda rank: (-rank.score, rank.frame))


def joined_edges(graph: SurfaceGraph) -> tuple[Int64[ndarray, "edges"], Int32[ndarray, "edges"]]:
    """The two voxels of each edge between voxels that look alike."""
    is_joined = (graph.neighbours > np.arange(graph.num_nodes)[:, None]) & (graph.weights >= _LIKE)
    return np.nonzero(is_joined)[0], graph.neighbours[is_joined]


def connected_by(
    first: Int[ndarray, "edges"], second: Int[ndarray, "edges"], num_voxels: int
) -> Int32[ndarray, "voxels"]:
    """The number of the connected part of each voxel, by the two voxels of each edge."""
    edges = coo_array((np.ones(len(first), np.bool_), (first, second)), shape=(num_voxels,) * 2)
    return connected_components(edges, directed=False)[1]


def _voxel_values(
    graph: SurfaceGraph,
    pixel_voxels: Int32[ndarray, "frames rows columns"],
    shown: SpreadLabels,
    marks: Int64[ndarray, "frames"],
) -> Float64[ndarray, "voxels"]:
    """What a pixel of each voxel is worth in a frame without marks."""
    first, second = joined_edges(graph)
    is_one = shown.labels[first] == shown.labels[second]
    numbers = connected_by(first[is_one], second[is_one], graph.num_nodes)
    sizes = np.bincount(numbers, np.bincount(pixel_voxels.reshape(-1) + 1, minlength=graph.num_nodes + 1)[1:])
    seen = np.zeros(graph.num_nodes, np.int64)
    for frame in np.flatnonzero(marks):
        voxels = np.unique(pixel_voxels[frame])
        seen[voxels[voxels >= 0]] += marks[frame]
    # Less the fewest, so that nothing becomes 0 after many marks; a common factor changes no order.
    discount = _SEEN ** (seen - seen.min()).astype(np.float64)
    return (1 - shown.confidence.astype(np.float64)) * discount / np.sqrt(np.maximum(sizes, 1))[numbers]


def _reason(confidence: ndarray, contradicted: ndarray) -> str:
    unlabelled = float((confidence < REACHED).mean())
    unsure = float(((confidence >= REACHED) & (confidence < UNSURE)).mean())
    parts = [f"{unlabelled:.0%} of its pixels are far from any mark", f"{unsure:.0%} are unsure"]
    if contradicted.any():
        parts.append("marks of two classes contradict each other")
    return ", ".join(parts)
