"""Where no label reaches: a surface walk from there seldom meets one."""

import numpy as np
from jaxtyping import Bool, Float32, Int32
from numpy import ndarray

from semantic_ns.active_learning.config import SelectionConfig
from semantic_ns.active_learning.pool.pool import Pool
from semantic_ns.active_learning.strategies.candidates import Candidates, Choice
from semantic_ns.active_learning.strategies.surface_entropy import Surface, choose_greedily, show, voxel_weights
from semantic_ns.errors import SceneError
from semantic_ns.propagation.posterior import label_reachability
from semantic_ns.propagation.surface_graph import SHARP_EDGES, SurfaceGraph, SurfacePoints, build_surface_graph

_NUM_NODES = 30_000
_OUTLIERS = 0.001
"""Share of the points on either side, along each axis, beyond which the surface is not looked at."""
_MARGIN_M = 0.2


def choose_unreached(pool: Pool, candidates: Candidates, config: SelectionConfig) -> Choice:
    """Take the unit that shows most of what no label reaches, for its cost; again and again.

    As `choose_by_surface`, with another weight of a voxel: one minus the probability that a walk over the surface from
    there meets a label before it dies (`label_reachability`). Walks like to stay on one colour and one plane. So what
    looks unlike everything that has a label counts most, however sure the field may be of it: an object without any
    label is taken for what it stands on, and entropy does not know. Classes and their probabilities do not enter.

    Args:
        pool: pool with colours.
        candidates: the units.
        config: its switches leave out one part each; `use_entropy` is of no matter.

    Raises:
        SceneError: if the pool lacks colours.
    """
    voxels, first, shown = show(pool, candidates, config)
    graph, nodes = _surface_of(pool)
    # Found once a round: that choices damp the voxels near them is enough (4 and 16 times chose no better).
    unreached = _unreached(graph, nodes, ~candidates.is_open[candidates.of_pixels])
    weights = voxel_weights(pool, voxels, config, voxels.mean(unreached))
    return choose_greedily(Surface(voxels.keys, weights, first, shown), candidates, config)


def _surface_of(pool: Pool) -> tuple[SurfaceGraph | None, Int32[ndarray, "pixels"]]:
    """The surface in voxels, none without any point, and the voxel of each pixel, -1 for none."""
    if pool.colors is None:
        raise SceneError("Expected a pool with colours for the strategy reach, found none; render it again.")
    is_point = np.isfinite(pool.points_m).all(axis=1)
    nodes = np.full(len(is_point), -1, np.int32)
    if not is_point.any():
        return None, nodes
    points = pool.points_m[is_point]
    low, high = np.quantile(points, [_OUTLIERS, 1 - _OUTLIERS], axis=0) + np.array([[-_MARGIN_M], [_MARGIN_M]])
    unit = ((points - low) / (high - low).max()).astype(np.float32)
    shown = SurfacePoints(unit, pool.colors[is_point], pool.normals[is_point])
    graph = build_surface_graph(shown, _NUM_NODES, SHARP_EDGES)
    nodes[is_point] = graph.voxels.at(unit)
    return graph, nodes


def _unreached(
    graph: SurfaceGraph | None, nodes: Int32[ndarray, "pixels"], is_labelled: Bool[ndarray, "pixels"]
) -> Float32[ndarray, "pixels"]:
    """What labels do not reach, for each pixel; 0 for pixels that are not on the surface."""
    if graph is None:
        return np.zeros(len(nodes), np.float32)
    has_label = np.zeros(graph.num_nodes, np.bool_)
    has_label[nodes[is_labelled & (nodes >= 0)]] = True
    unreached = 1 - label_reachability(graph, has_label)
    return np.where(nodes >= 0, unreached[np.maximum(nodes, 0)], np.float32(0))
