"""Regions of one image in which the field contradicts the given labels, and how strongly.

Per pixel, l is the given label, m the most likely class of the field and p(m) its probability. A region is a connected
set (by sides) of pixels with one l and one m != l.

The evidence of a region is sum ln(p(m) / (1 - p(m))) over its pixels. Since p(l) <= 1 - p(m), it is at most the
log-likelihood ratio sum ln(p(m) / p(l)) of the two labels, with equality where the field hesitates between these two
alone: a region is never accused with more than the field says. Pixels are taken as independent, so the number ranks
regions, and is no probability.
"""

from dataclasses import dataclass
from typing import cast

import numpy as np
from jaxtyping import Bool, Float32, Float64, Integer
from numpy import ndarray
from scipy import ndimage

from semantic_ns.labels.taxonomy import VOID

LARGEST_PROBABILITY = 0.999
"""Networks are not calibrated beyond it: one pixel of probability 1 would outweigh any region."""
_SQUARE = np.ones((3, 3), bool)


@dataclass(frozen=True)
class RegionRule:
    """Which regions count.

    Attributes:
        min_area: smallest area in pixels.
        min_confidence: smallest mean p(m). The field has seen the given labels: where one of n views is wrong, p(m)
            tends to 1 - 1/n, so that large values find nothing where views are few.
        border_px: regions that disappear when so many pixels are eroded are left out: they are borders of objects,
            which labels and field draw a pixel apart. What lies beyond the image erodes nothing.
    """

    min_area: int = 20
    min_confidence: float = 0.5
    border_px: int = 2

    def __post_init__(self) -> None:
        if self.min_area < 1 or self.border_px < 0 or not 0.0 <= self.min_confidence <= 1.0:
            raise ValueError(f"min_area must be >= 1, border_px >= 0 and min_confidence in [0, 1], got {self}")


@dataclass(frozen=True, eq=False)
class Region:
    """Pixels of one image with one given label that the field contradicts with one class.

    Attributes:
        frame: number of the image.
        given: the given label, 0..C-1.
        suggested: the class of the field, another one.
        box: rows and columns of the bounding box.
        mask: pixels of the box that belong to the region.
        confidence: mean p(m).
        evidence: evidence against the label; the module defines it.
    """

    frame: int
    given: int
    suggested: int
    box: tuple[slice, slice]
    mask: Bool[ndarray, "rows columns"]
    confidence: float
    evidence: float

    @property
    def area(self) -> int:
        """Number of pixels."""
        return int(self.mask.sum())

    @property
    def pixels(self) -> tuple[ndarray, ndarray]:
        """Row and column of each pixel in the image."""
        rows, columns = np.nonzero(self.mask)
        return rows + self.box[0].start, columns + self.box[1].start


def log_odds(probability: Float32[ndarray, "*shape"]) -> Float64[ndarray, "*shape"]:
    """ln(p / (1 - p)), with p at most `LARGEST_PROBABILITY` and 0 below 1/2, where another class may be as likely."""
    clipped = np.clip(probability.astype(np.float64), 0.5, LARGEST_PROBABILITY)
    return np.log(clipped / (1 - clipped))


def find_regions(
    given: Integer[ndarray, "height width"],
    field: Integer[ndarray, "height width"],
    confidence: Float32[ndarray, "height width"],
    rule: RegionRule,
    frame: int = 0,
) -> list[Region]:
    """The regions of one image that count, most evidence first.

    Args:
        given: labels -1..C-1; void (-1) contradicts nothing.
        field: m, 0..C-1; where it has no surface, void (-1), it contradicts nothing.
        confidence: p(m).
        rule: thresholds that a region must pass.
        frame: number of the image, for the result.
    """
    differs = (given != VOID) & (field != VOID) & (given != field)
    regions = []
    for pair in np.unique(np.stack([given[differs], field[differs]]), axis=1).T:
        is_pair = differs & (given == pair[0]) & (field == pair[1])
        for box, mask in connected_parts(is_pair):
            mean = float(confidence[box][mask].mean())
            if mask.sum() < rule.min_area or mean < rule.min_confidence:
                continue
            if not _survives_erosion(mask, box, given.shape, rule.border_px):
                continue
            evidence = float(log_odds(confidence[box][mask]).sum())
            regions.append(Region(frame, int(pair[0]), int(pair[1]), box, mask, mean, evidence))
    return sorted(regions, key=lambda region: -region.evidence)


def connected_parts(
    mask: Bool[ndarray, "height width"],
) -> list[tuple[tuple[slice, slice], Bool[ndarray, "_rows _columns"]]]:
    """Bounding box of each part that is connected by sides, and its pixels in the box."""
    numbers, _ = cast(tuple[ndarray, int], ndimage.label(mask))
    return [(box, numbers[box] == number) for number, box in enumerate(ndimage.find_objects(numbers), start=1)]


def _survives_erosion(
    mask: Bool[ndarray, "rows columns"], box: tuple[slice, slice], size: tuple[int, ...], width: int
) -> bool:
    if width == 0:
        return True
    # Only where the box ends inside the image is what lies beyond it known not to belong to the region.
    edges = [(int(side.start > 0), int(side.stop < length)) for side, length in zip(box, size, strict=True)]
    padded = np.pad(mask, [(before * width, after * width) for before, after in edges])
    return bool(ndimage.binary_erosion(padded, _SQUARE, iterations=width, border_value=1).any())
