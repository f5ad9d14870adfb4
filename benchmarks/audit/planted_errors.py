"""Errors planted in label images, and how well a list of regions finds them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Integer
from numpy import ndarray

from semantic_ns.audit.regions import connected_parts

Labels = Integer[ndarray, "height width"]
Mask = Bool[ndarray, "height width"]


@dataclass(frozen=True, eq=False)
class Planted:
    """A connected region that was given a wrong class.

    Attributes:
        frame: number of its image.
        kind: how it came about.
        mask: its pixels.
        wrong: the class.
        truth: labels of the whole image before.
        is_to_be_found: false for crumbs, which a list may have or not.
    """

    frame: int
    kind: str
    mask: Mask
    wrong: int
    truth: Labels
    is_to_be_found: bool = True


def components(mask: Mask) -> list[Mask]:
    """The connected parts of a mask."""
    parts = []
    for box, pixels in connected_parts(mask):
        part = np.zeros_like(mask)
        part[box] = pixels
        parts.append(part)
    return parts


def plant_instance(labels: Labels, classes: Sequence[int], rng: np.random.Generator, smallest: int) -> Labels:
    """One connected region of a class, of `smallest` pixels to a fifth of the image, gets another class."""
    present = [part for label in np.unique(labels[np.isin(labels, classes)]) for part in components(labels == label)]
    regions = [part for part in present if smallest <= part.sum() <= labels.size / 5]
    changed = labels.copy()
    if regions:
        region = regions[rng.integers(len(regions))]
        changed[region] = _another(classes, labels[region], rng)
    return changed


def plant_blob(labels: Labels, classes: Sequence[int], rng: np.random.Generator, smallest: int) -> Labels:
    """A disc inside the image, of once to four times `smallest` pixels, gets a class that is not in it; not void."""
    radius = np.sqrt(smallest * rng.uniform(1, 4) / np.pi)
    middle = [rng.uniform(radius, length - radius) for length in labels.shape]
    rows, columns = (np.arange(length) + 0.5 - m for length, m in zip(labels.shape, middle, strict=True))
    disc = (rows[:, None] ** 2 + columns**2 <= radius**2) & np.isin(labels, classes)
    changed = labels.copy()
    changed[disc] = _another(classes, labels[disc], rng)
    return changed


def plant_swap(labels: Labels, classes: Sequence[int], rng: np.random.Generator, smallest: int) -> Labels:
    """Two classes of the image, of `smallest` pixels at least, change places; the image stays if there are none."""
    present = [label for label in classes if (labels == label).sum() >= smallest]
    changed = labels.copy()
    if len(present) > 1:
        first, second = rng.choice(present, 2, replace=False)
        changed[labels == first], changed[labels == second] = second, first
    return changed


def _another(classes: Sequence[int], present: Integer[ndarray, "pixels"], rng: np.random.Generator) -> int:
    return int(rng.choice(sorted(set(classes) - set(present.tolist()))))


PLANT: dict[str, Callable[[Labels, Sequence[int], np.random.Generator, int], Labels]] = {
    "instance": plant_instance,
    "blob": plant_blob,
    "swap": plant_swap,
}


def plant(
    images: Sequence[Labels], classes: Sequence[int], shares: dict[str, float], seed: int, smallest: int
) -> tuple[list[Labels], list[Planted]]:
    """Plant errors of each kind in a share of the images, at most one kind in an image.

    Returns:
        The changed images, and every connected region that one wrong class was given; those of `smallest` pixels at
        least are to be found.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(images)).tolist()
    changed, planted = list(images), []
    for kind, share in shares.items():
        for _ in range(min(round(share * len(images)), len(order))):
            frame = order.pop()
            changed[frame] = PLANT[kind](images[frame], classes, rng, smallest)
            planted += _regions(frame, kind, images[frame], changed[frame], smallest)
    return changed, planted


def _regions(frame: int, kind: str, truth: Labels, changed: Labels, smallest: int) -> list[Planted]:
    return [
        Planted(frame, kind, mask, int(wrong), truth, bool(mask.sum() >= smallest))
        for wrong in np.unique(changed[changed != truth])
        for mask in components((changed != truth) & (changed == wrong))
    ]


@dataclass(frozen=True, eq=False)
class Listed:
    """A region of the list, in the ids of the label images."""

    frame: int
    mask: Mask
    suggested: int


def precision_and_recall(
    listed: Sequence[Listed], planted: Sequence[Planted], ranks: Sequence[int]
) -> list[dict[str, float]]:
    """What the first regions of the list are worth, for each number of regions in `ranks`.

    A region is an error if at least half of its pixels were planted, and right if besides at least half of its pixels
    had the suggested class before. A planted error is found if the list covers at least half of its pixels; recall is
    over those that are to be found.
    """
    wanted = [error for error in planted if error.is_to_be_found]
    are_errors = [_share(_planted_pixels(region, planted), region.mask) >= 0.5 for region in listed]
    are_right = [
        is_error and _share(_truth(region.frame, planted) == region.suggested, region.mask) >= 0.5
        for region, is_error in zip(listed, are_errors, strict=True)
    ]
    rows = []
    for rank in ranks:
        first = listed[:rank]
        found = [_share(_union(error.frame, error.mask.shape, first), error.mask) >= 0.5 for error in wanted]
        rows.append(
            {
                "regions": len(first),
                "precision": _mean(are_errors[:rank]),
                "precision_with_class": _mean(are_right[:rank]),
                "recall": _mean(found),
            }
        )
    return rows


def recall_by_kind(listed: Sequence[Listed], planted: Sequence[Planted]) -> dict[str, float]:
    """Share of the planted errors of each kind that the whole list finds."""
    return {
        kind: precision_and_recall(listed, [error for error in planted if error.kind == kind], [len(listed)])[0][
            "recall"
        ]
        for kind in sorted({error.kind for error in planted if error.is_to_be_found})
    }


def _planted_pixels(region: Listed, planted: Sequence[Planted]) -> Mask:
    same = [error.mask for error in planted if error.frame == region.frame]
    return np.logical_or.reduce([np.zeros_like(region.mask), *same])


def _truth(frame: int, planted: Sequence[Planted]) -> Labels:
    return next(error.truth for error in planted if error.frame == frame)


def _union(frame: int, shape: tuple[int, ...], listed: Sequence[Listed]) -> Mask:
    return np.logical_or.reduce([np.zeros(shape, bool), *[region.mask for region in listed if region.frame == frame]])


def _share(chosen: Mask, mask: Mask) -> float:
    return float(chosen[mask].mean())


def _mean(values: Sequence[bool]) -> float:
    return float(np.mean(values)) if values else float("nan")
