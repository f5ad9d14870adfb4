"""Points that are far from all points chosen before."""

import numpy as np
from jaxtyping import Float32, Float64
from numpy import ndarray
from scipy.spatial import KDTree

from semantic_ns.active_learning.strategies import farthest_numba as kernels
from semantic_ns.active_learning.strategies.candidates import Candidates, Choice, with_rounding

_MOST_PLACES = 50_000
_MOST_AXES = 8


def choose_farthest(places: Float64[ndarray, "candidates axes"], candidates: Candidates) -> Choice:
    """Take the candidate whose distance from the nearest labelled or chosen one is largest; again and again.

    Gonzalez 1985; with features as places, core-set selection (Sener and Savarese 2018, algorithm 1). Without any
    label the first is the first by rank. Candidates whose place is not finite come last, by rank, and so do all but the
    first 50 000 by rank of more: that many lie close everywhere.

    Args:
        places: places of the candidates, in any space with Euclidean distances.
        candidates: open candidates, their costs, and the budget.

    Returns:
        the choice; scores are distances at the time of the choice, NaN for the first without any label.
    """
    has_place = np.isfinite(places).all(axis=1)
    by_rank = np.argsort(candidates.ranks)
    by_rank = by_rank[np.argsort(~has_place[by_rank], kind="stable")]
    labelled, by_rank = by_rank[~candidates.is_open[by_rank]], by_rank[candidates.is_open[by_rank]]
    seeds = labelled[has_place[labelled]]
    scores, left, begun = np.full(len(candidates), np.nan), with_rounding(candidates.budget), by_rank[:0]
    if len(seeds) == 0 and len(by_rank) > 0:
        if not has_place[by_rank[0]] or candidates.costs[by_rank[0]] > left:
            return candidates.affordable(by_rank, scores)
        begun = seeds = by_rank[:1]
        left, by_rank = left - candidates.costs[begun[0]], by_rank[1:]
    num_free = min(_MOST_PLACES, int(has_place[by_rank].sum()))
    free = np.sort(by_rank[:num_free])
    order, distances, count = np.empty(num_free, np.int64), np.empty(num_free), 0
    if num_free > 0:
        nearest = KDTree(places[seeds]).query(places[free])[1]
        # Seeds that are nearest to nothing give nothing away.
        used, owners = np.unique(nearest, return_inverse=True)
        count = kernels.choose_farthest(
            np.ascontiguousarray(places), seeds[used], free, owners, candidates.costs, left, order, distances
        )
    scores[order[:count]] = distances[:count]
    rest = by_rank[num_free:] if count == num_free else by_rank[:0]
    return candidates.affordable(np.concatenate([begun, order[:count], rest]), scores)


def principal_axes(features: Float64[ndarray, "candidates channels"]) -> Float64[ndarray, "candidates axes"]:
    """Features along the 8 axes of largest variance (all, if there are no more): distances hardly change."""
    centred = features - features.mean(axis=0)
    axes = np.linalg.eigh(centred.T @ centred)[1][:, ::-1]  # the largest first
    return centred @ axes[:, :_MOST_AXES]


def pose_places(
    positions: Float32[ndarray, "frames 3"], directions: Float32[ndarray, "frames 3"]
) -> Float64[ndarray, "frames 6"]:
    """Camera positions and viewing directions as places that weigh both alike.

    Positions are divided by their root mean squared distance from their mean, so that their unit does not matter.

    Args:
        positions: positions in any unit.
        directions: unit length.
    """
    centred = positions.astype(np.float64) - positions.mean(axis=0, dtype=np.float64)
    scale = np.sqrt((centred**2).sum(axis=1).mean())
    return np.concatenate([centred / max(scale, 1e-12), directions.astype(np.float64)], axis=1)
