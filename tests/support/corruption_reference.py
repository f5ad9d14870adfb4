"""Slow, obvious twins of the label corruptions."""

from collections.abc import Sequence

import numpy as np


def even(count: int, total: int) -> list[int]:
    """Steps of which the first ones are longer by one."""
    if count == 0:
        return []
    gap, num_longer = divmod(total, count)
    indices, index = [], 0
    for i in range(count):
        indices.append(index)
        index += gap + 1 if i < num_longer else gap
    return indices


def grown_regions(labels: np.ndarray, percent: float, generator: np.random.Generator) -> np.ndarray:
    """Regions that are really dilated."""
    result = np.full_like(labels, -1)
    for label in np.unique(labels[labels != -1]):
        is_class = labels == label
        result[_region_of_class(is_class, int(percent / 100 * is_class.sum()), generator)] = label
    return result


def _region_of_class(is_class: np.ndarray, target: int, generator: np.random.Generator) -> np.ndarray:
    region = np.zeros_like(is_class)
    region[tuple(np.argwhere(is_class)[generator.integers(is_class.sum())])] = True
    if target == 0:
        return region
    while (region & is_class).sum() < target:
        larger = _dilated(region)
        if ((larger & is_class) == (region & is_class)).all():
            uncovered = np.argwhere(is_class & ~larger)
            larger[tuple(uncovered[generator.integers(len(uncovered))])] = True
        region = larger
    return region & is_class


def _dilated(region: np.ndarray) -> np.ndarray:
    result = np.zeros_like(region)
    for row, column in np.argwhere(region):
        result[max(0, row - 2) : row + 3, max(0, column - 2) : column + 3] = True
    return result


def noisy_pairs(
    labels: Sequence[np.ndarray], instances: Sequence[np.ndarray], instance_ids: Sequence[int], ratio: float, order: str
) -> list[tuple[int, int]]:
    """(frame, instance) of region noise, for instances that are known to be of the class."""
    pairs = []
    for instance in instance_ids:
        seen = [
            ((ids == instance).mean(), frame)
            for frame, (image, ids) in enumerate(zip(labels, instances, strict=True))
            if (image != -1).any() and (ids == instance).any()
        ]
        by_area = [frame for _, frame in sorted(seen)]
        count = int(len(by_area) * ratio)
        if order == "sort":
            chosen = by_area[:count]
        elif ratio <= 0.5:
            chosen = [by_area[i] for i in even(count, len(by_area))]
        else:
            left_out = even(len(by_area) - count, len(by_area))
            chosen = [frame for i, frame in enumerate(by_area) if i not in left_out]
        pairs += [(frame, instance) for frame in chosen]
    return pairs
