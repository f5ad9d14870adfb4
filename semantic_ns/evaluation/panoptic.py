"""Panoptic quality (Kirillov et al. 2019): whether things are found one by one, and stuff as a whole.

A segment is all pixels of a class and, if the class is of things, of one instance id. A predicted and a true segment of
one class match if their IoU is above 1/2; then at most one segment matches each. With TP matches, FP predicted and FN
true segments without one,

    PQ = sum of the IoU of matches / (TP + FP/2 + FN/2) = SQ * RQ,
    SQ = mean IoU of matches,  RQ = TP / (TP + FP/2 + FN/2),

of each class; the PQ of several classes is their mean over those with a true or predicted segment.

Void, as in that paper: pixels that are void in the truth are taken out of predicted segments before IoU is taken, and a
predicted segment without a match does not count if more than half of it is void. A true pixel of a thing without an id
is void, and a predicted one belongs to no segment.

Pixels given together are one image. The quality of a scene takes all its images as one, so that an id must hold in
every image; the quality per image matches in each image and adds up the counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64, Integer
from numpy import ndarray

from semantic_ns.labels.taxonomy import VOID

NO_INSTANCE = 0
"""Instance id of stuff, and of a pixel of a thing of which the instance is not known."""
_MATCH = 0.5
_MOSTLY_VOID = 0.5


@dataclass(frozen=True, eq=False)
class Segments:
    """The class and the instance of pixels.

    Attributes:
        classes: Classes 0..C-1, void -1.
        instances: Ids from 1, 0 for none; those of stuff do not matter.
    """

    classes: Integer[ndarray, "pixels"]
    instances: Integer[ndarray, "pixels"]

    def numbered(self, is_thing: Sequence[bool]) -> tuple[Int64[ndarray, "segments"], Int64[ndarray, "pixels"]]:
        """The class of each segment, and of each pixel the segment that it belongs to, -1 for none."""
        things = np.array([*is_thing, False])[self.classes]  # void is -1, the last place
        ids = np.where(things, self.instances, NO_INSTANCE).astype(np.int64)
        is_used = (self.classes != VOID) & ~(things & (ids == NO_INSTANCE))
        keys = (self.classes[is_used].astype(np.int64) << 32) | ids[is_used]
        occurring, numbers = np.unique(keys, return_inverse=True)
        of_pixels = np.full(len(ids), -1, np.int64)
        of_pixels[is_used] = numbers.reshape(-1)
        return occurring >> 32, of_pixels


@dataclass(frozen=True, eq=False)
class PanopticCounts:
    """What was matched, class by class; counts of several images add up.

    Attributes:
        is_thing: Whether each class is of things.
        iou: Sum of the IoU of matches.
        matched: Matches.
        surplus: Predicted segments without one.
        missed: True segments without one.
    """

    is_thing: Bool[ndarray, "classes"]
    iou: Float64[ndarray, "classes"]
    matched: Int64[ndarray, "classes"]
    surplus: Int64[ndarray, "classes"]
    missed: Int64[ndarray, "classes"]

    def __add__(self, other: "PanopticCounts") -> "PanopticCounts":
        return PanopticCounts(
            self.is_thing,
            self.iou + other.iou,
            self.matched + other.matched,
            self.surplus + other.surplus,
            self.missed + other.missed,
        )

    def scores(self, of: Bool[ndarray, "classes"] | None = None) -> "PanopticScores":
        """The mean quality of some classes, of all by default."""
        weight = self.matched + (self.surplus + self.missed) / 2
        is_counted = weight > 0 if of is None else (weight > 0) & of
        if not is_counted.any():
            return PanopticScores(float("nan"), float("nan"), float("nan"), 0, 0, 0)
        iou, matched, weight = self.iou[is_counted], self.matched[is_counted], weight[is_counted]
        segmentation = np.divide(iou, matched, out=np.zeros_like(iou), where=matched > 0)
        counts = (int(values[is_counted].sum()) for values in (self.matched, self.surplus, self.missed))
        return PanopticScores(
            float((iou / weight).mean()), float(segmentation.mean()), float((matched / weight).mean()), *counts
        )

    @property
    def things(self) -> "PanopticScores":
        """The quality of classes of things."""
        return self.scores(self.is_thing)


@dataclass(frozen=True)
class PanopticScores:
    """Means over classes with a segment, in [0, 1], NaN without one; and the counts of segments in all.

    Attributes:
        pq: Panoptic quality.
        sq: Segmentation quality, 0 for a class without a match.
        rq: Recognition quality.
        matched: Segments that match.
        surplus: Predicted segments that do not.
        missed: True segments that do not.
    """

    pq: float
    sq: float
    rq: float
    matched: int
    surplus: int
    missed: int


def match_segments(prediction: Segments, truth: Segments, is_thing: Sequence[bool]) -> PanopticCounts:
    """Match the segments of one image, or of all images of a scene as one.

    Args:
        prediction: What was predicted.
        truth: What is there; void pixels are not scored.
        is_thing: Whether each of the C classes is of things.
    """
    found_class, found = prediction.numbered(is_thing)
    true_class, true = truth.numbered(is_thing)
    num_found, num_true, num_classes = len(found_class), len(true_class), len(is_thing)
    # One row and one column more, for pixels of no segment.
    table = np.bincount((found + 1) * (num_true + 1) + true + 1, minlength=(num_found + 1) * (num_true + 1))
    table = table.reshape(num_found + 1, num_true + 1)
    both, of_void = table[1:, 1:], table[1:, 0]
    found_size, true_size = table[1:].sum(axis=1), table[:, 1:].sum(axis=0)
    union = (found_size - of_void)[:, None] + true_size - both
    iou = np.where(found_class[:, None] == true_class, both / np.maximum(union, 1), 0)
    rows, columns = np.nonzero(iou > _MATCH)

    def per_class(classes: Int64[ndarray, "segments"], weights: ndarray | None = None) -> ndarray:
        return np.bincount(classes, weights, num_classes)

    is_surplus = of_void <= _MOSTLY_VOID * found_size
    is_surplus[rows] = False
    is_missed = np.ones(num_true, bool)
    is_missed[columns] = False
    return PanopticCounts(
        np.array(is_thing, bool),
        per_class(found_class[rows], iou[rows, columns]).astype(np.float64),
        per_class(found_class[rows]),
        per_class(found_class[is_surplus]),
        per_class(true_class[is_missed]),
    )
