"""Greedy choice of what covers most."""

import heapq
from typing import no_type_check

import numpy as np

from semantic_ns.kernels.compilation import part
from semantic_ns.surface.voxels_numba import neighbours_of_key

NEAR = 0.5
"""Factor of voxels near a label."""
_RADIUS = 2
"""Voxels from one with a label to the farthest that is near it, along each axis."""
_NUM_AROUND = (2 * _RADIUS + 1) ** 3


@part
@no_type_check
def _cover(voxels, keys, is_damped, factors, around):
    """Set the factors of voxels to 0, and of those near them to a half at most."""
    for voxel in voxels:
        if factors[voxel] == 0.0:  # and so are those near it, already
            continue
        factors[voxel] = 0.0
        if is_damped:
            neighbours_of_key(keys, keys[voxel], _RADIUS, around)
            for k in range(_NUM_AROUND):
                if around[k] >= 0:
                    factors[around[k]] = min(factors[around[k]], NEAR)


@part
@no_type_check
def cover_labelled(first, shown, is_open, keys, factors):
    """Cover what the candidates show that are not open."""
    around = np.empty(_NUM_AROUND, np.int64)
    for unit in range(is_open.shape[0]):
        if not is_open[unit]:
            _cover(shown[first[unit] : first[unit + 1]], keys, True, factors, around)


@part
@no_type_check
def _score(voxels, weights, factors, cost):
    total = 0.0
    for voxel in voxels:
        total += weights[voxel] * factors[voxel]
    return total / cost


@part
@no_type_check
def choose(first, shown, weights, factors, costs, ranks, keys, is_damped, budget, is_open, order, scores):
    """Fill ``order`` and ``scores`` with the open units of the largest scores, each after those before are covered.

    Scores only fall, so that a unit whose score is fresh and not below the stale ones of the others is the best (lazy
    evaluation, Minoux 1978). ``factors`` and ``is_open`` follow.

    Returns:
        number of units, their costs together, and whether the budget has ended it; else no unit scores any more.
    """
    around = np.empty(_NUM_AROUND, np.int64)
    heap = [(0.0, np.int64(0), np.int64(0)) for _ in range(0)]
    for unit in range(is_open.shape[0]):
        if is_open[unit]:
            score = _score(shown[first[unit] : first[unit + 1]], weights, factors, costs[unit])
            if score > 0:
                heap.append((-score, ranks[unit], np.int64(unit)))
    heapq.heapify(heap)
    count, spent = 0, 0.0
    while len(heap) > 0:
        _, rank, unit = heapq.heappop(heap)
        voxels = shown[first[unit] : first[unit + 1]]
        score = _score(voxels, weights, factors, costs[unit])
        if score <= 0:
            continue
        entry = (-score, rank, unit)
        if len(heap) > 0 and heap[0] < entry:
            heapq.heappush(heap, entry)
            continue
        if spent + costs[unit] > budget:
            return count, spent, True
        order[count], scores[count] = unit, score
        spent += costs[unit]
        is_open[unit] = False
        count += 1
        _cover(voxels, keys, is_damped, factors, around)
    return count, spent, False
