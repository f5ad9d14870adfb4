"""Whether the scale of depth images is that of the poses: as given, points of most pixels agree between views."""

from collections.abc import Callable

from semantic_ns.geometry.depth_agreement import DepthAgreement, DepthViews, measure_agreement, spread_pairs

_LEAST_SHARE = 0.5
_LEAST_GAIN = 0.1
_LEAST_POINTS = 200
_FACTORS = (0.001, 0.01, 0.1, 0.2, 0.25, 0.3048, 0.5, 0.75, 0.9, 1.1, 1.33, 2.0, 3.281, 4.0, 5.0, 10.0, 100.0, 1000.0)
"""By which depth may be wrong: units of usual devices, and scales in between."""


def judge_scale(views: DepthViews, num_first: int, num_others: int) -> tuple[bool, str]:
    """Whether depth agrees between views as it is given, and no other scale lets a tenth more of the points agree.

    Args:
        views: Views to compare.
        num_first: The number of views whose points are looked at.
        num_others: The number of views that see those of each.

    Returns:
        Whether it does, or cannot be judged, and why, as a clause.
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
    return True, f"{given.share:.0%} of their points agree between views"


def refusal_of_scale(given: DepthAgreement, measure: Callable[[float], DepthAgreement]) -> str | None:
    """What speaks against the scale of depth, from the agreement as given and a function for that at other scales."""
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
