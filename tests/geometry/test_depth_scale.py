"""When the scale of depth images is refused."""

import numpy as np
import pytest

from semantic_ns.geometry.depth_agreement import DepthAgreement
from semantic_ns.geometry.depth_scale import refusal_of_scale


def agreement(percent: int, num_points: int = 1000) -> DepthAgreement:
    agreeing = num_points * percent // 100
    return DepthAgreement(np.array([agreeing]), np.array([num_points - agreeing]), np.array([0]))


@pytest.mark.parametrize("given", range(30, 101))
@pytest.mark.parametrize("best", [50, 60, 95, 100])
def test_a_scale_is_refused_where_another_one_is_better_by_a_tenth_and_half_agree(given: int, best: int) -> None:
    """Whether other scales are tried at all decides nothing."""
    refusal = refusal_of_scale(agreement(given), lambda factor: agreement(best if factor == 0.25 else 0))
    assert (refusal is not None) == (best / 100 > given / 100 + 0.1 and best > 50)
    assert refusal is None or (f"{best}%" in refusal and "multiplied by 0.25" in refusal)


@pytest.mark.parametrize(("given", "num_tried"), [(89, 18), (90, 0), (100, 0)])
def test_no_scale_is_tried_where_none_could_be_better_by_a_tenth(given: int, num_tried: int) -> None:
    tried: list[float] = []

    def measure(factor: float) -> DepthAgreement:
        tried.append(factor)
        return agreement(given)

    assert refusal_of_scale(agreement(given), measure) is None
    assert len(set(tried)) == len(tried) == num_tried
