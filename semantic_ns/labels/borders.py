"""Label images that were interpolated: where two classes meet stand thin seams of the ids between theirs.

Where class 1 meets class 5, interpolation writes 2, 3 or 4, which are other classes. In an image of ids, two regions
nearly always meet without a pixel between them, so the share of seams among all borders tells the two apart.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

_WIDEST_SEAM_PX = 4
_LEAST_SHARE = 0.25
_LEAST_SEAMS = 20


@dataclass(frozen=True)
class Borders:
    """Borders of two regions whose ids differ by 2 or more, counted along the rows and columns of label images.

    Attributes:
        sharp: those where the regions meet.
        seams: those with up to 4 pixels between the regions, whose ids rise or fall from one region's to the other's.
    """

    sharp: int
    seams: int

    @classmethod
    def of(cls, ids: Int64[ndarray, "height width"]) -> "Borders":
        """Those of one label image."""
        along_rows, along_columns = _count(ids), _count(ids.T)
        return cls(*(a + b for a, b in zip(along_rows, along_columns, strict=True)))

    @classmethod
    def of_some(
        cls, files: Sequence[Path], read: Callable[[Path], Int64[ndarray, "_height _width"]], num_files: int
    ) -> "Borders":
        """Those of at most `num_files` label images, spread evenly over the files."""
        chosen = np.unique(np.linspace(0, len(files) - 1, min(len(files), num_files)).astype(int)) if files else []
        borders = cls(0, 0)
        for index in chosen:
            borders += cls.of(read(files[index]))
        return borders

    def __add__(self, other: "Borders") -> "Borders":
        return Borders(self.sharp + other.sharp, self.seams + other.seams)

    @property
    def are_interpolated(self) -> bool:
        """Whether seams are too many for objects that are as thin and stand so by chance."""
        return self.seams >= _LEAST_SEAMS and self.seams >= _LEAST_SHARE * (self.seams + self.sharp)

    def sentence(self) -> str:
        """What the seams say, without its end."""
        share = self.seams / (self.seams + self.sharp)
        return (
            f"at {share:.0%} of the borders between classes stand thin seams of other ids, as after resizing or "
            "turning with interpolation: make the label images again with nearest neighbours"
        )


def _count(ids: Int64[ndarray, "rows columns"]) -> tuple[int, int]:
    """Sharp borders and seams along the rows; on both sides of a border two pixels of a region are equal."""
    width = ids.shape[1]
    counts = [0] * (_WIDEST_SEAM_PX + 1)
    for seam in range(min(_WIDEST_SEAM_PX, width - 4) + 1):
        num = width - seam - 3  # places of a window of two pixels, the seam and two pixels
        window = [ids[:, start : start + num] for start in range(seam + 4)]
        first, last = window[1], window[-2]
        is_border = (window[0] == first) & (window[-1] == last) & (np.abs(last - first) >= 2)
        sign = np.sign(last - first)
        for here, there in pairwise(window[1:-1]):
            is_border &= np.sign(there - here) == sign
        counts[seam] = int(is_border.sum())
    return counts[0], sum(counts[1:])
