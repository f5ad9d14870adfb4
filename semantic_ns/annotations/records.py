"""Checked access to the records of JSON annotations."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from semantic_ns.errors import SceneError

_NAMES_OF_KINDS = {int: "a whole number", str: "a text", list: "a list", Mapping: "an object {...}"}


def entry_of(record: Any, key: str, kind: type, where: str) -> Any:
    """The entry `key` of a JSON object, which must be of a kind: int, str, list or Mapping.

    Raises:
        SceneError: if the record is no object or its entry is missing or of another kind; `where` names the record.
    """
    value = record.get(key) if isinstance(record, Mapping) else None
    if not isinstance(value, kind) or isinstance(value, bool):
        raise SceneError(
            f"Expected {_NAMES_OF_KINDS[kind]} as {key} of {where}, found {in_short(value)}; correct the file."
        )
    return value


def points_of(values: Any, least: int, where: str) -> Float64[ndarray, "points 2"]:
    """Points (x, y) in pixels from a list of pairs; the image's corner is (0, 0), the first pixel's centre (.5, .5).

    Raises:
        SceneError: if there are fewer than `least` points, or something else than pairs of finite numbers.
    """
    try:
        points = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        points = np.zeros(0)
    if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
        raise SceneError(f"Expected points of two finite numbers in {where}, found {in_short(values)}; correct them.")
    if len(points) < least:
        raise SceneError(f"Expected at least {least} points in {where}, found {len(points)}; redraw or remove it.")
    return points


def in_short(value: Any) -> str:
    """A value as text of at most 60 letters, for an error."""
    text = "none" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
