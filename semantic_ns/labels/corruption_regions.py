"""Whole instances that get a wrong class in some frames (region-wise noise of Zhi et al. 2021, section 4.3)."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from typing import Literal

import numpy as np
from jaxtyping import Int64, Integer
from numpy import ndarray

from semantic_ns.errors import SceneError
from semantic_ns.labels.corruption_frames import evenly_spaced
from semantic_ns.labels.taxonomy import VOID

Order = Literal["even", "sort"]
_Instances = Sequence[Integer[ndarray, "_height _width"] | None]
_Labels = Sequence[Integer[ndarray, "_height _width"]]


def noisy_regions(
    labels: _Labels, instances: _Instances, classes: Collection[int], ratio: float, order: Order
) -> Iterator[tuple[int, int]]:
    """Pairs (frame, instance) that noise is to strike, by ascending instance.

    An instance is of the class that most of its pixels have over all frames, void being one of them. Its frames are
    those with a label in which it occupies at least a pixel, by ascending share of the image, then by number. Of n
    frames K = int(n ratio) are chosen: `sort` takes the first, where the instance is small; `even` spreads them.

    Args:
        labels: classes of each frame, -1 is void; a frame of nothing but void has no label.
        instances: instance ids of each frame, None where they are not known.
        classes: classes whose instances are corrupted.
        ratio: 0..1.
        order: order in which images are corrupted, as above.

    Raises:
        SceneError: if there is no instance of the classes.
    """
    frames_of_instances = _frames_of_instances(labels, instances, classes)
    if not frames_of_instances:
        raise SceneError(
            "Expected an instance of the classes for region noise in the labelled frames, found none; choose classes "
            "that are in sight."
        )
    for instance, frames in sorted(frames_of_instances.items()):
        for place in _chosen_places(len(frames), ratio, order):
            yield frames[place], instance


def _frames_of_instances(labels: _Labels, instances: _Instances, classes: Collection[int]) -> dict[int, list[int]]:
    """The frames of each instance of the classes by ascending share of the image that it occupies."""
    num_values = max(int(image.max()) for image in labels) + 2
    pixels_of_class: dict[int, Int64[ndarray, "values"]] = defaultdict(lambda: np.zeros(num_values, np.int64))
    shares: dict[int, list[tuple[float, int]]] = defaultdict(list)
    for frame, (image, ids) in enumerate(zip(labels, instances, strict=True)):
        if ids is None or not (image != VOID).any():
            continue
        present, places = np.unique(ids, return_inverse=True)
        pairs = places.reshape(-1) * num_values + (image.ravel().astype(np.int64) - VOID)
        counts = np.bincount(pairs, minlength=present.size * num_values).reshape(present.size, num_values)
        for instance, row in zip(present.tolist(), counts, strict=True):
            pixels_of_class[instance] += row
            shares[instance].append((int(row.sum()) / image.size, frame))
    return {
        instance: [frame for _, frame in sorted(shares[instance])]
        for instance, pixels in pixels_of_class.items()
        if int(pixels.argmax()) + VOID in classes
    }


def _chosen_places(total: int, ratio: float, order: Order) -> list[int]:
    count = int(total * ratio)
    if order == "sort":
        return list(range(count))
    if ratio <= 0.5:
        return evenly_spaced(count, total).tolist()
    return np.setdiff1d(np.arange(total), evenly_spaced(total - count, total)).tolist()
