"""Which regions of the surface are most worth looking at next, and where in which frame a mark answers for each.

A region is a connected part of the surface that shows one class, looks alike, and is not sure: voxels are joined along
the strong edges of the surface's graph, which paint and creases weaken. Regions are ranked by the pixels of all frames
that are likely to be wrong for them. Each is shown in the frame that sees most of it, and its mark is a disc in its
middle there, which stays inside: what a person says of a whole region is seldom true of each of its pixels.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int32
from numpy import ndarray

from semantic_ns.labelling.owner_map import OwnerMap
from semantic_ns.labelling.painting import NOBODY
from semantic_ns.labelling.ranking import UNSURE, connected_by, joined_edges
from semantic_ns.labelling.spreading import REACHED, SpreadLabels
from semantic_ns.labelling.surface import LabelSurface

NUM_RANKED = 24
_MOST_PIXELS = 1_500_000
"""Pixels of all frames together that are looked at."""
_MOSTLY = 0.5
_LARGEST_RADIUS = 1 / 32
"""Of the disc of a mark, beside the width of the image."""
_LEAST_RADIUS = 0.5


@dataclass(frozen=True)
class RegionRank:
    """A region and why to look at it.

    Attributes:
        frame: The frame that sees most of it.
        x: Where the disc that answers for it lies in that frame, pixels to the right; the centre of the first is 0.5.
        y: The same, pixels down.
        radius: The radius of the disc, pixels.
        guess: Id of the class that it shows; None where nothing is known.
        confidence: How sure that is, 0..1, the mean over the pixels that show it.
        score: The share of the pixels of all frames that are likely to be wrong for it, 0..1.
        reason: A sentence for people.
    """

    frame: int
    x: float
    y: float
    radius: float
    guess: int | None
    confidence: float
    score: float
    reason: str


@dataclass(frozen=True, eq=False)
class RankedRegions:
    """Regions of a surface that are worth looking at.

    Attributes:
        numbers: The number of the region of each voxel, -1 where it is sure.
        ranks: The regions with the highest score, the highest first; of equal ones that of the lowest number.
    """

    numbers: Int32[ndarray, "voxels"]
    ranks: list[RegionRank]


class SurfaceRegions:
    """What the ranks of regions follow from beside the labels: it is made once for a surface.

    Args:
        surface: The surface.
    """

    def __init__(self, surface: LabelSurface) -> None:
        graph = surface.graph
        self._num_voxels = graph.num_nodes
        self._first, self._second = joined_edges(graph)
        step = max(1, int(np.ceil((surface.pixel_voxels.size / _MOST_PIXELS) ** 0.5)))
        self._spacing = step * surface.stride
        self._voxels = np.ascontiguousarray(surface.pixel_voxels[:, ::step, ::step])
        self._num_pixels = self._counted(self._voxels)
        self._largest_radius = max(_LEAST_RADIUS, surface.frames[0].width * _LARGEST_RADIUS)

    def ranked(self, shown: SpreadLabels, owners: Mapping[int, OwnerMap]) -> RankedRegions:
        """The regions that are not sure.

        Args:
            shown: The classes of the voxels.
            owners: Of the frames that have marks, the number of the mark that each pixel belongs to, 0 for none.
                Pixels with a mark are taken for right.
        """
        numbers = self._numbered(shown)
        painted = {frame: of_frame.every(self._spacing) != NOBODY for frame, of_frame in owners.items()}
        num_open = self._num_pixels - sum(
            (self._counted(self._voxels[frame][is_painted]) for frame, is_painted in painted.items()),
            np.zeros(self._num_voxels, np.int64),
        )
        sizes = _sums(numbers, num_open)
        wrong = _sums(numbers, num_open * (1 - shown.confidence.astype(np.float64)))
        best = np.argsort(-wrong, kind="stable")[:NUM_RANKED]
        best = best[sizes[best] > 0]
        places = self._places(numbers, best, painted)
        seen = np.stack([np.bincount(one.reshape(-1) + 1, minlength=len(best) + 1)[1:] for one in places])
        ranks = []
        for place, (number, frame) in enumerate(zip(best.tolist(), seen.argmax(axis=0).tolist(), strict=True)):
            voxels = numbers == number
            guess, confidence = int(shown.labels[voxels][0]), 1 - float(wrong[number] / sizes[number])
            share, score = float(sizes[number]) / self._voxels.size, float(wrong[number]) / self._voxels.size
            reason = _reason(share, confidence, bool(shown.contradicted[voxels].mean() >= _MOSTLY))
            disc = self._disc(places[frame] == place)
            ranks.append(RegionRank(frame, *disc, None if guess < 0 else guess, confidence, score, reason))
        return RankedRegions(numbers, ranks)

    def _numbered(self, shown: SpreadLabels) -> Int32[ndarray, "voxels"]:
        """The region of each voxel that is not sure, -1 for the others."""
        is_open = (shown.confidence < UNSURE) | shown.contradicted
        first, second = self._first, self._second
        is_kept = is_open[first] & is_open[second] & (shown.labels[first] == shown.labels[second])
        numbers = connected_by(first[is_kept], second[is_kept], self._num_voxels)
        return np.where(is_open, numbers, -1).astype(np.int32)

    def _places(
        self, numbers: Int32[ndarray, "voxels"], best: ndarray, painted: Mapping[int, Bool[ndarray, "rows columns"]]
    ) -> ndarray:
        """The place among the best regions of each pixel that is looked at [frames, rows, columns], -1 for none."""
        of_regions = np.full(self._num_voxels + 1, -1, np.int8)
        of_regions[best] = np.arange(len(best))
        # One entry more at the end of each table, so that -1 for none stays -1.
        of_voxels = np.append(of_regions[numbers], np.int8(-1))
        places = of_voxels[self._voxels]
        for frame, is_painted in painted.items():
            places[frame][is_painted] = -1
        return places

    def _disc(self, region: Bool[ndarray, "rows columns"]) -> tuple[float, float, float]:
        """x, y and radius of a disc in the middle of a region of pixels that are looked at."""
        from scipy.ndimage import distance_transform_edt, find_objects

        (rows, columns) = find_objects(region.astype(np.int8))[0]
        depths = np.asarray(distance_transform_edt(np.pad(region[rows, columns], 1)))[1:-1, 1:-1]
        row, column = np.unravel_index(int(depths.argmax()), depths.shape)
        radius = (float(depths.max()) - 1) * self._spacing
        x, y = (
            int(first + offset) * self._spacing + 0.5 for first, offset in ((columns.start, column), (rows.start, row))
        )
        return x, y, min(max(radius, _LEAST_RADIUS), self._largest_radius)

    def _counted(self, voxels: Int32[ndarray, "*pixels"]) -> ndarray:
        """How many pixels show each voxel."""
        return np.bincount(voxels.reshape(-1) + 1, minlength=self._num_voxels + 1)[1:]


def _sums(numbers: Int32[ndarray, "voxels"], values: ndarray) -> Float64[ndarray, "regions"]:
    """The sum of values over the voxels of each region."""
    return np.bincount(numbers + 1, values, len(numbers) + 1)[1:]


def _reason(share: float, confidence: float, is_contradicted: bool) -> str:
    if is_contradicted:
        why = "marks of two classes contradict each other"
    else:
        why = "far from any mark" if confidence < REACHED else "unsure"
    return f"{share:.1%} of all pixels, {why}"
