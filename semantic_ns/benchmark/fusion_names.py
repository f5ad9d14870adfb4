"""Where the scores of fusion baselines stand in a result."""

from itertools import product
from typing import get_args

from semantic_ns.fusion.label_fusion import Rule

PREDICTIONS = "predictions"
"""The predictions as they are, their classes that the scene does not have counted as wrong: so fused ones and a field's
are scored."""
DEPTHS = ("given", "rendered")


def baseline_name(rule: str, depth: str) -> str:
    """Where the scores of a fusion stand in a result."""
    return f"{rule}_{depth}_depth"


BASELINES = tuple(baseline_name(rule, depth) for rule, depth in product(get_args(Rule), DEPTHS))
