"""Whether the scale of depth images is that of the poses: as given, points of most pixels agree between views."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from semantic_ns.geometry.depth_agreement import DepthAgreement, DepthViews, measure_agreement, spread_pairs

_LEAST_SHARE = 0.5
_LEAST_GAIN = 0.1
_LEAST_POINTS = 200
_FACTORS = (0.001, 0.01, 0.1, 0.2, 0.25, 0.3048, 0.5, 0.75, 0.9, 1.1, 1.33, 2.0, 3.281, 4.0, 5.0, 10.0, 100.0, 1000.0)
"""By which depth may be wrong: units of usual devices, and scales in between."""
_HIGH_SHARE = 0.9
"""Of the points that agree as given; from there on nothing is to be said of how depth may be corrected."""
_SAID_GAIN = 0.05
_SIMPLER = 0.03
"""By which a scale together with an offset has to be better than one of them alone."""
_WIDEST = 0.3
"""Largest offset that is tried, as a share of the median of depth; scales are tried between .9 and 1.1."""
_NUM_TRIED = 15
_FEW_POINTS = 100
"""Of each pair of views, while it is tried."""


class Correction(NamedTuple):
    """What depth may be corrected by: multiplied by a factor, then an offset in metres added."""

    factor: float = 1.0
    offset_m: float = 0.0

    def clause(self) -> str:
        """The same as an instruction, without what changes nothing."""
        verb, where = ("added", "to") if self.offset_m > 0 else ("subtracted", "from")
        said = [
            f"they are multiplied by {self.factor:.3g}" if self.factor != 1 else "",
            f"{abs(self.offset_m):.2g} m is {verb} {where} them" if self.offset_m else "",
        ]
        return " and ".join(part for part in said if part)

    def applied(self, views: DepthViews) -> DepthViews:
        """The views with corrected depth; what is unknown stays so."""
        depth = np.maximum(views.depth_m * self.factor + self.offset_m, 0)
        return views._replace(depth_m=np.where(views.depth_m > 0, depth, 0).astype(np.float32))


def judge_scale(views: DepthViews, num_first: int, num_others: int) -> tuple[bool, str]:
    """Whether depth agrees between views as it is given, and no other scale lets a tenth more of the points agree.

    Args:
        views: Views to compare.
        num_first: The number of views whose points are looked at.
        num_others: The number of views that see those of each.

    Returns:
        Whether it does, or cannot be judged, and why, as a clause; it says also by which small scale or offset far more
        of the points would agree.
    """
    pairs = spread_pairs(len(views.depth_m), num_first, num_others)
    given = measure_agreement(views, pairs)
    if given.num_points < _LEAST_POINTS:
        return True, "too few pixels are seen from two places to compare them between views"
    refusal = refusal_of_scale(given, lambda factor: measure_agreement(views, pairs, factor))
    if refusal is not None:
        return False, refusal
    if given.share < _LEAST_SHARE:
        return False, f"only {given.share:.0%} of their points agree between views"
    said = f"{given.share:.0%} of their points agree between views"
    correction, share = best_correction(views, pairs, given)
    if share > given.share + _SAID_GAIN:
        said += f", and {share:.0%} if {correction.clause()}, which is not done: they may all be wrong by so much"
    return True, said


def best_correction(
    views: DepthViews, pairs: Sequence[tuple[int, int]], given: DepthAgreement
) -> tuple[Correction, float]:
    """The scale near 1 and the offset with which most points agree, and their share; the simplest of about equal ones.

    Where nine tenths of the points agree as given, nothing is tried.

    Args:
        views: Views to compare.
        pairs: First and second view of each comparison.
        given: The agreement of depth as it is given.
    """
    if given.share >= _HIGH_SHARE:
        return Correction(), given.share
    widest = _WIDEST * float(np.median(views.depth_m[views.depth_m > 0]))

    def best(corrections: Sequence[Correction]) -> tuple[Correction, float]:
        found = [measure_agreement(each.applied(views), pairs, num_points=_FEW_POINTS) for each in corrections]
        most = max(each.num_points for each in found)
        shares = np.array([each.share if each.num_points > most / 4 else 0.0 for each in found])
        equal = np.flatnonzero(shares == shares.max())
        place = int(equal[len(equal) // 2])
        return corrections[place], float(shares[place])

    def best_offset(middle: float, half: float, factor: float = 1.0) -> tuple[Correction, float]:
        return best([Correction(factor, float(x)) for x in np.linspace(middle - half, middle + half, _NUM_TRIED)])

    def best_factor(offset_m: float) -> tuple[Correction, float]:
        return best([Correction(float(x), offset_m) for x in np.linspace(0.9, 1.1, _NUM_TRIED)])

    rough, _ = best_offset(0.0, widest)
    offset = best_offset(rough.offset_m, 2 * widest / (_NUM_TRIED - 1))
    factor = best_factor(0.0)
    simple = max(offset, factor, key=lambda found: found[1])
    both = best_factor(offset[0].offset_m)
    correction, _ = both if both[1] > simple[1] + _SIMPLER else simple
    return correction, _score(measure_agreement(correction.applied(views), pairs), given)


def refusal_of_scale(given: DepthAgreement, measure: Callable[[float], DepthAgreement]) -> str | None:
    """What speaks against the scale of depth, from the agreement as given and a function for that at other scales."""
    if given.share + _LEAST_GAIN >= 1:  # no scale can be better by so much, and to try them all takes long
        return None
    scaled = {factor: measure(factor) for factor in _FACTORS}
    factor, best = max(scaled.items(), key=lambda item: _score(item[1], given))
    if not (_score(best, given) > given.share + _LEAST_GAIN and best.share > _LEAST_SHARE):
        return None
    return (
        f"{given.share:.0%} of their points agree between views, and {best.share:.0%} if they are multiplied by "
        f"{factor:g}: their scale is not that of the poses"
    )


def _score(found: DepthAgreement, given: DepthAgreement) -> float:
    """The share of agreeing points; 0 where other views can judge far fewer than as given."""
    return found.share if found.num_points > given.num_points / 4 else 0.0
