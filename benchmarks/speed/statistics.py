"""What the speed benchmark makes of its turns: medians, spreads, ratios turn by turn, times to a quality."""

import statistics
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

Turns = Mapping[str, Sequence[Mapping[str, Any]]]
"""What each round measured, by arm; a turn without measurement holds `not_measured` alone."""

MEASURES = (
    "training_rays_per_second",
    "rendering_rays_per_second",
    "seconds_per_frame",
    "peak_gib_training",
    "peak_gib",
    "peak_gpu_gib",
)
TRAINING, RENDERING = MEASURES[:2]

RATIOS: dict[str, tuple[str, str, str]] = {
    "training: semantic-nerf / nerfacto": (TRAINING, "semantic-nerf", "nerfacto"),
    "training: semantic-nerf / nerfacto-same-sizes": (TRAINING, "semantic-nerf", "nerfacto-same-sizes"),
    "training: semantic-nerf / per-sample-head": (TRAINING, "semantic-nerf", "per-sample-head"),
    "training: semantic-ngp / semantic-nerf": (TRAINING, "semantic-ngp", "semantic-nerf"),
    "training: triton / torch": (TRAINING, "semantic-nerf-triton", "semantic-nerf-torch"),
    "training: triton / tcnn": (TRAINING, "semantic-nerf-triton", "semantic-nerf-tcnn"),
    "rendering: semantic-nerf / nerfacto": (RENDERING, "semantic-nerf", "nerfacto"),
    "rendering: semantic-nerf / nerfacto-same-sizes": (RENDERING, "semantic-nerf", "nerfacto-same-sizes"),
    "rendering: semantic-nerf / per-sample-head": (RENDERING, "semantic-nerf", "per-sample-head"),
    "rendering: semantic-ngp / semantic-nerf": (RENDERING, "semantic-ngp", "semantic-nerf"),
    # Time with over time without is the rate without over the rate with.
    "training time: semantics on / off": (TRAINING, "semantic-nerf-no-head", "semantic-nerf"),
    "rendering time: semantics on / off": (RENDERING, "semantic-nerf-no-head", "semantic-nerf"),
    "training time: per-sample head on / off": (TRAINING, "nerfacto-same-sizes", "per-sample-head"),
    "training time: C = 40 / C = 13": (TRAINING, "semantic-nerf-C13", "semantic-nerf-C40"),
    "training time: C = 101 / C = 13": (TRAINING, "semantic-nerf-C13", "semantic-nerf-C101"),
    "rendering time: C = 101 / C = 13": (RENDERING, "semantic-nerf-C13", "semantic-nerf-C101"),
}
"""Measure, arm above the line and arm below it."""


def summary(values: Sequence[float]) -> dict[str, Any]:
    """Median, range and the values themselves."""
    return {
        "median": statistics.median(values),
        "min": min(values),
        "max": max(values),
        "turns": list(values),
    }


def arm_summaries(turns: Turns) -> dict[str, dict[str, Any]]:
    """Per arm each measure's summary, and what is the same in all turns; or `not_measured`."""
    result: dict[str, dict[str, Any]] = {}
    for name, results in turns.items():
        first = dict(results[0])
        listed = {measure: summary([turn[measure] for turn in results]) for measure in MEASURES if measure in first}
        first.pop("frame_seconds", None)
        result[name] = first | listed
    return result


def turn_ratios(turns: Turns) -> dict[str, dict[str, Any]]:
    """The summaries of those of `RATIOS` whose two arms were measured; each ratio is between turns of one round."""
    result: dict[str, dict[str, Any]] = {}
    for name, (measure, above, below) in RATIOS.items():
        pairs = list(zip(turns.get(above, ()), turns.get(below, ()), strict=False))
        if pairs and all(measure in turn for pair in pairs for turn in pair):
            result[name] = summary([ours[measure] / theirs[measure] for ours, theirs in pairs])
    return result


def paired_summary(milliseconds: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Medians of arms that took turns in one process, and the quartiles of their times over those of the first arm."""
    first = next(iter(milliseconds.values()))
    ratios = {
        name: [ours / theirs for ours, theirs in zip(turns, first, strict=True)] for name, turns in milliseconds.items()
    }
    return {
        name: {
            "milliseconds_per_step": statistics.median(turns),
            "over_first": statistics.median(ratios[name]),
            "quartiles": statistics.quantiles(ratios[name], n=4)[::2],
            "of_sums": sum(turns) / sum(first),
            "turns": list(turns),
        }
        for name, turns in milliseconds.items()
    }


def seconds_to(points: Sequence[Mapping[str, float]], score: str, threshold: float) -> dict[str, float] | None:
    """Training seconds at which a score first reaches a threshold, linear between the two points around it.

    Args:
        points: measured points with `seconds` and the score, in ascending time.
        score: name of the score.
        threshold: what it has to reach.

    Returns:
        `seconds` and the times `after` and `before` of the points around it; before the first point nothing is known,
        so that a score reached there has the seconds of that point. None where no point reaches the threshold.
    """
    if points and points[0][score] >= threshold:
        return {"seconds": points[0]["seconds"], "after": 0.0, "before": points[0]["seconds"]}
    for low, high in pairwise(points):
        if low[score] < threshold <= high[score]:
            share = (threshold - low[score]) / (high[score] - low[score])
            seconds = low["seconds"] + share * (high["seconds"] - low["seconds"])
            return {"seconds": seconds, "after": low["seconds"], "before": high["seconds"]}
    return None
