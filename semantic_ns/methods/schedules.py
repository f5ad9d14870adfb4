"""Weights that change in the course of a run, as functions of the share of it that is done."""

from semantic_ns.errors import SceneError


def ramp(progress: float, first: float, last: float) -> float:
    """0 up to ``first``, 1 from ``last`` on, linear between them.

    Args:
        progress: share of the run that is done, 0 to 1.
        first: share at which the rise begins.
        last: share at which it ends; where it does not lie behind ``first``, the rise is a step.
    """
    if progress <= first:
        return float(progress >= last)
    return min(1.0, (progress - first) / (last - first)) if progress < last else 1.0


def checked_ramp(shares: tuple[float, float], option: str) -> tuple[float, float]:
    """The two shares of a run of an option, if they are in order.

    Raises:
        SceneError: a share lies outside 0 to 1, or the second before the first.
    """
    first, last = shares
    if not 0.0 <= first <= last <= 1.0:
        raise SceneError(
            f"Expected two shares of the run for {option}, from 0 to 1 and in order, found {first} {last}; "
            "name two such shares, such as 0.4 0.8."
        )
    return first, last
