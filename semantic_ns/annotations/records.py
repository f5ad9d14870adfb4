"""Checked access to the records of annotations: numbers may be texts, texts and points must be sound."""

import math
import reprlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from semantic_ns.dataparsers.scene import ImageSize
from semantic_ns.errors import SceneError
from semantic_ns.io.images import MAX_PIXELS

_MAX_COORDINATE = 1e7
_MAX_DIGITS = 40
_NO_NUMBERS = ("nan", "inf", "infinity")
_NAMES_OF_KINDS = {str: "a text", list: "a list", Mapping: "an object {...}"}


def entry_of(record: Any, key: str, kind: type, where: str) -> Any:
    """The entry `key` of a JSON object, which must be of a kind: str, list or Mapping.

    Raises:
        SceneError: if the record is no object or its entry is missing or of another kind; `where` names the record.
    """
    value = value_of(record, key)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise SceneError(
            f"Expected {_NAMES_OF_KINDS[kind]} as {key} of {where}, found {in_short(value)}; correct the file."
        )
    return value


def value_of(record: Any, key: str) -> Any:
    """The entry `key` of a JSON object, and None where there is none or the record is no object."""
    return record.get(key) if isinstance(record, Mapping) else None


def name_of(record: Any, key: str, where: str) -> str:
    """A name without outer blanks: a text that can be shown and written, or a number.

    Raises:
        SceneError: if it is missing, empty, or has signs that cannot be shown, such as line breaks.
    """
    value = value_of(record, key)
    name = str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if not name or not name.isprintable():
        raise SceneError(f"Expected a name as {key} of {where}, found {in_short(value)}; correct the file.")
    return name


def number_of(record: Any, key: str, where: str) -> float:
    """A number, which may be written as text; NaN where a tool could not give one (`null`, `NaN`, `Infinity`).

    Raises:
        SceneError: if it is missing, no number, or larger than any image.
    """
    value = value_of(record, key)
    if isinstance(record, Mapping) and key in record and _is_unknown(value):
        return math.nan
    number = _parse(value)
    if number is None or abs(number) > _MAX_COORDINATE:
        raise SceneError(f"Expected a finite number as {key} of {where}, found {in_short(value)}; correct the file.")
    return number


def _is_unknown(value: Any) -> bool:
    """Whether this stands for a number that a tool computed and that is none; JSON of browsers has `null` for it."""
    if isinstance(value, str):
        return value.strip().lower().lstrip("+-") in _NO_NUMBERS
    return value is None or (isinstance(value, float) and not math.isfinite(value))


def whole_number_of(record: Any, key: str, where: str) -> int:
    """A whole number, which may be written as text or with a point (`"3"`, `3.0`).

    Raises:
        SceneError: if it is missing or no whole number.
    """
    value = value_of(record, key)
    number = _parse(value)
    if number is None or number != round(number):
        raise SceneError(f"Expected a whole number as {key} of {where}, found {in_short(value)}; correct the file.")
    return round(number)


def _parse(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str) and len(value) > _MAX_DIGITS:
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if np.isfinite(number) else None


def id_of(record: Any, key: str, where: str) -> str:
    """An id as text, the same for `3`, `3.0` and `"3"`.

    Raises:
        SceneError: if it is missing or neither a number nor a text.
    """
    value = value_of(record, key)
    number = _parse(value)
    if number is not None and number == round(number):
        return str(round(number))
    if not isinstance(value, str) or not value.strip():
        raise SceneError(
            f"Expected a whole number or a text as {key} of {where}, found {in_short(value)}; correct the file."
        )
    return value.strip()


def size_of(record: Any, keys: tuple[str, str], where: str) -> ImageSize | None:
    """Width and height of an image, or None where neither is given.

    Args:
        record: JSON object or attributes that hold the size.
        keys: names of width and height.
        where: place of the record, for errors.

    Raises:
        SceneError: if one is missing, no whole number, not above 0, or there would be more than `MAX_PIXELS`.
    """
    if value_of(record, keys[0]) is None and value_of(record, keys[1]) is None:
        return None
    width, height = (whole_number_of(record, key, where) for key in keys)
    if min(width, height) < 1 or width * height > MAX_PIXELS:
        raise SceneError(
            f"Expected {keys[0]} and {keys[1]} above 0 and at most {MAX_PIXELS} pixels of {where}, found "
            f"{in_short((width, height))}; correct them."
        )
    return width, height


def points_of(values: Any, where: str) -> Float64[ndarray, "points 2"]:
    """Points (x, y) in pixels from a list of pairs; the image's corner is (0, 0), the first pixel's centre (.5, .5).

    Coordinates are NaN where a tool could not give a number (`null`, `NaN`, `Infinity`).

    Raises:
        SceneError: if there is something else than pairs of numbers, or a number is larger than any image.
    """
    try:
        points = np.zeros((0, 2)) if isinstance(values, list) and not values else np.asarray(values, np.float64)
    except (TypeError, ValueError, OverflowError, RecursionError):
        points = np.zeros(0)
    points = np.where(np.isfinite(points), points, np.nan)
    if points.ndim != 2 or points.shape[1] != 2 or (np.abs(points) > _MAX_COORDINATE).any():
        raise SceneError(f"Expected points of two finite numbers in {where}, found {in_short(values)}; correct them.")
    return points


_SHORT = reprlib.Repr()
_SHORT.maxlevel = 3
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 60


def in_short(value: Any) -> str:
    """A value as text of one line and at most 60 letters, for an error."""
    text = "none" if value is None else _SHORT.repr(value)
    text = text if text.isprintable() else text.encode("unicode_escape").decode("ascii")
    return text if len(text) <= 60 else f"{text[:57]}..."
