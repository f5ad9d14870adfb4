"""Farthest-point order without looking at every point each time."""

from typing import no_type_check

import numpy as np

from semantic_ns.kernels.compilation import part

_END = -1


@part
@no_type_check
def _distance(places, i, j):
    total = 0.0
    for axis in range(places.shape[1]):
        total += (places[i, axis] - places[j, axis]) ** 2
    return np.sqrt(total)


@part
@no_type_check
def _hand_over(places, old, new, chosen, heads, following, distances):
    """Give the points of cell ``old`` that are nearer to the centre of ``new`` to that cell; leave ``chosen`` out.

    Returns the farthest point that ``old`` keeps, -1 if none.
    """
    point, kept, farthest = heads[old], _END, _END
    while point != _END:
        after = following[point]
        if point != chosen:
            distance = _distance(places, point, chosen)
            if distance < distances[point]:
                distances[point] = distance
                following[point] = heads[new]
                heads[new] = point
            else:
                following[point] = kept
                kept = point
                if farthest == _END or _is_farther(distances, point, farthest):
                    farthest = point
        point = after
    heads[old] = kept
    return farthest


@part
@no_type_check
def _is_farther(distances, one, other):
    """Whether a point is farther from all chosen ones; of equal ones, whether it comes first."""
    return distances[one] > distances[other] or (distances[one] == distances[other] and one < other)


@part
@no_type_check
def _farthest_of(head, following, distances):
    farthest, point = head, head
    while point != _END:
        if _is_farther(distances, point, farthest):
            farthest = point
        point = following[point]
    return farthest


@part
@no_type_check
def choose_farthest(places, seeds, free, owners, costs, budget, order, scores):  # noqa: C901
    """Fill ``order`` and ``scores`` with points and their distances from the seeds and all before them; how many.

    Every point belongs to the cell of the nearest centre. A new centre at least twice a cell's radius from that
    cell's takes no point from it (triangle inequality), so that most cells are not looked into.

    Args:
        places: [N, K].
        seeds: points that are centres from the start.
        free: points to choose from, no seeds.
        owners: index of the seed nearest to each free point.
        costs: [N].
        budget: budget for the chosen points.
        order: [free].
        scores: [free].
    """
    most = seeds.shape[0] + free.shape[0]
    centres, heads, farthest = np.empty(most, np.int64), np.full(most, _END), np.full(most, _END)
    following, distances = np.full(places.shape[0], _END), np.full(places.shape[0], np.inf)
    count, spent, cells = 0, 0.0, seeds.shape[0]
    centres[:cells] = seeds
    for i in range(free.shape[0]):
        point, cell = free[i], owners[i]
        distances[point] = _distance(places, point, seeds[cell])
        following[point] = heads[cell]
        heads[cell] = point
    for cell in range(cells):
        farthest[cell] = _farthest_of(heads[cell], following, distances)
    while True:
        source = -1
        for cell in range(cells):
            if farthest[cell] != _END and (source == -1 or _is_farther(distances, farthest[cell], farthest[source])):
                source = cell
        if source == -1:
            return count
        chosen = farthest[source]
        if spent + costs[chosen] > budget:
            return count
        spent += costs[chosen]
        order[count], scores[count] = chosen, distances[chosen]
        count += 1
        centres[cells] = chosen
        for cell in range(cells):
            if farthest[cell] != _END:
                apart = _distance(places, chosen, centres[cell])
                if cell == source or apart < 2.0 * distances[farthest[cell]]:
                    farthest[cell] = _hand_over(places, cell, cells, chosen, heads, following, distances)
        farthest[cells] = _farthest_of(heads[cells], following, distances)
        cells += 1
