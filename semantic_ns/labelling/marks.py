"""Marks of a person on an image: where, and what is said about it."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Bool, Float64, Int32
from numpy import ndarray

from semantic_ns.errors import SceneError
from semantic_ns.io.run_lengths import decode_coco
from semantic_ns.labelling.shapes_numba import paint_stroke

Action = Literal["paint", "erase", "void"]
"""To give a class, to take marks away, or to say that a pixel has no class: "do not know"."""

MAX_POINTS = 20_000
MIN_RADIUS, MAX_RADIUS = 0.5, 512.0
_FARTHEST = 1e6
"""Largest coordinate, pixels: farther outside the image lies nothing that a person drew."""
_MOST_VISITS = 4e8
"""Pixels that are looked at for one stroke; more would keep everybody waiting."""
_MAX_REGIONS = 100_000
_MAX_LETTERS = 1_000_000
_MAX_FRAME = 2**31 - 1

RegionsOf = Callable[[], Int32[ndarray, "height width"]]
"""Gives the super-pixels of the image of a mark; asked only if the mark is made of them."""


@dataclass(frozen=True)
class Mark:
    """What a person says about some pixels of one image, or of several.

    Attributes:
        frame: The number of the image; of several, that of one of them.
        class_id: The class that is painted; None to erase or for void.
        shape: Which pixels, in image pixels (x to the right, y down, the centre of the first pixel at 0.5, 0.5):
            `{"kind": "click", "x", "y", "radius"}`, `{"kind": "stroke", "points": [[x, y], ...], "radius"}`,
            `{"kind": "polygon", "points": [[x, y], ...]}`, `{"kind": "region", "region_ids": [...]}`,
            `{"kind": "mask", "runs": text}` with the compressed run lengths of COCO, or
            `{"kind": "masks", "runs": {"3": text, ...}}` with those of each image that it is on, by its number.
        action: What is said.
    """

    frame: int
    class_id: int | None
    shape: Mapping[str, Any]
    action: Action = "paint"

    @classmethod
    def from_json(cls, values: Any) -> "Mark":
        """A mark as `to_json` gives it, checked but for what only its session knows: its frame and its class.

        Raises:
            SceneError: if it is not such a dictionary, or a number is missing, not finite or out of range.
        """
        if not isinstance(values, Mapping):
            raise _refusal("a dictionary for a mark", values)
        action = values.get("action", "paint")
        if action not in get_args(Action):
            raise _refusal(f"one of {', '.join(get_args(Action))} as the action of a mark", action)
        class_id = values.get("class_id")
        if action == "paint":
            class_id = _whole(class_id, "class_id of a mark that paints", 65535)
        elif class_id is not None:
            raise _refusal(f"no class_id in a mark of the action {action}", class_id)
        frame, shape = _whole(values.get("frame"), "frame of a mark", _MAX_FRAME), _shape(values.get("shape"))
        if shape["kind"] == "masks" and str(frame) not in shape["runs"]:
            raise _refusal("one of the frames of its masks as the frame of a mark", frame)
        return cls(frame, class_id, shape, action)

    def to_json(self) -> dict[str, Any]:
        """The mark as a dictionary of plain values."""
        return {"frame": self.frame, "class_id": self.class_id, "shape": dict(self.shape), "action": self.action}

    @property
    def frames(self) -> list[int]:
        """The numbers of the images that it is on."""
        return [int(frame) for frame in self.shape["runs"]] if self.shape["kind"] == "masks" else [self.frame]

    @property
    def parts(self) -> list["Mark"]:
        """What it says of each of its images; `mask` gives the pixels of such a part."""
        return [replace(self, frame=frame) for frame in self.frames]

    def mask(self, height: int, width: int, regions: RegionsOf) -> Bool[ndarray, "height width"]:
        """The pixels that the mark covers in its image; what lies outside the image is cut off.

        Args:
            height: The height of the image, pixels.
            width: Its width, pixels.
            regions: The super-pixels of the image.

        Raises:
            SceneError: if none lies in the image, or regions or runs are not those of this image.
        """
        mask = self._covered(height, width, regions)
        if not mask.any():
            raise SceneError(
                f"Expected a mark on the image of {width}x{height} pixels, found a {self.shape['kind']} that covers no "
                "pixel of it; mark inside the image."
            )
        return mask

    def _covered(self, height: int, width: int, regions: RegionsOf) -> Bool[ndarray, "height width"]:
        shape = self.shape
        if shape["kind"] in {"mask", "masks"}:
            runs = shape["runs"] if shape["kind"] == "mask" else shape["runs"][str(self.frame)]
            try:
                return decode_coco(runs, width, height)
            except ValueError as error:
                raise SceneError(
                    f"Expected the run lengths of a mask of {width}x{height} pixels, found {error}; send the mask at "
                    "the size of the image."
                ) from error
        if shape["kind"] == "region":
            of_image = regions()
            ids = np.array(shape["region_ids"], np.int64)
            if ids.max() > of_image.max():
                raise _refusal(f"region_ids 0..{of_image.max()} of this image", int(ids.max()))
            return np.isin(of_image, ids)
        if shape["kind"] == "polygon":
            return polygon_mask(np.array(shape["points"], np.float64), height, width)
        points = [[shape["x"], shape["y"]]] if shape["kind"] == "click" else shape["points"]
        return stroke_mask(np.array(points, np.float64), shape["radius"], height, width)


def stroke_mask(
    points: Float64[ndarray, "points 2"], radius: float, height: int, width: int
) -> Bool[ndarray, "height width"]:
    """Pixels whose centre lies within a radius of a line, and those that its points lie in.

    Args:
        points: (x, y) of the line's points, pixels; one makes a disc.
        radius: The radius, pixels.
        height: The height of the image, pixels.
        width: Its width, pixels.

    Raises:
        SceneError: if the stroke is too long for so large a brush.
    """
    lengths = np.abs(np.diff(points, axis=0)) if len(points) > 1 else np.zeros((1, 2))
    visits = np.prod(np.minimum(lengths + 2 * radius + 2, (width, height)), axis=1).sum()
    if visits > _MOST_VISITS:
        raise SceneError(
            f"Expected a stroke that passes over at most {_MOST_VISITS:.0e} pixels, counted once for each of its "
            f"points, found about {visits:.0e}; draw it in parts, or with fewer points or a smaller brush."
        )
    mask = np.zeros((height, width), np.bool_)
    paint_stroke(points, float(radius), mask)
    columns, rows = np.floor(points).astype(np.int64).T
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    mask[rows[inside], columns[inside]] = True
    return mask


def polygon_mask(points: Float64[ndarray, "points 2"], height: int, width: int) -> Bool[ndarray, "height width"]:
    """Pixels whose centre lies inside a polygon, by the even-odd rule.

    Args:
        points: (x, y) of its corners, pixels.
        height: The height of the image, pixels.
        width: Its width, pixels.
    """
    turns = np.zeros((height, width + 1), np.int64)
    for (ax, ay), (bx, by) in zip(points, np.roll(points, -1, axis=0), strict=True):
        low, high = (min(max(math.ceil(y - 0.5), 0), height) for y in (min(ay, by), max(ay, by)))
        if low >= high:
            continue
        rows = np.arange(low, high)
        crossings = ax + (rows + 0.5 - ay) * ((bx - ax) / (by - ay))
        # A line to the left crosses an odd number of edges of the polygon for the pixels from there on.
        turns[rows, np.clip(np.ceil(crossings - 0.5), 0, width).astype(np.int64)] += 1
    return np.cumsum(turns, axis=1)[:, :width] % 2 == 1


def _shape(values: Any) -> dict[str, Any]:
    if not isinstance(values, Mapping):
        raise _refusal("a dictionary for the shape of a mark", values)
    kind = values.get("kind")
    if kind == "click":
        return {"kind": kind, **{axis: _coordinate(values.get(axis)) for axis in "xy"}, "radius": _radius(values)}
    if kind == "stroke":
        return {"kind": kind, "points": _points(values, 1), "radius": _radius(values)}
    if kind == "polygon":
        return {"kind": kind, "points": _points(values, 3)}
    if kind == "region":
        return {"kind": kind, "region_ids": _region_ids(values.get("region_ids"))}
    if kind == "mask":
        return {"kind": kind, "runs": _runs(values.get("runs"))}
    if kind == "masks":
        return {"kind": kind, "runs": _runs_of_frames(values.get("runs"))}
    raise _refusal("click, stroke, polygon, region, mask or masks as the kind of a shape", kind)


def _runs(runs: Any) -> str:
    if not isinstance(runs, str) or len(runs) > _MAX_LETTERS:
        raise _refusal(f"a text of at most {_MAX_LETTERS} letters as the runs of a mask", runs)
    return runs


def _runs_of_frames(runs: Any) -> dict[str, str]:
    if not isinstance(runs, Mapping) or not runs or not all(map(_is_frame, runs)):
        raise _refusal("the runs of masks by the numbers of their frames", runs)
    return {frame: _runs(of_frame) for frame, of_frame in runs.items()}


def _is_frame(text: object) -> bool:
    """Whether a text is the number of a frame, written in the one way in which `str` writes it."""
    return isinstance(text, str) and text.isascii() and text.isdigit() and text == str(int(text[:10])) and (
        int(text) <= _MAX_FRAME
    )  # fmt: skip


def _points(values: Mapping[str, Any], fewest: int) -> list[list[float]]:
    points = values.get("points")
    if not isinstance(points, list) or not fewest <= len(points) <= MAX_POINTS:
        found = f"{len(points)} of them" if isinstance(points, list) else points
        raise _refusal(f"a list of {fewest} to {MAX_POINTS} points of a {values['kind']}", found)
    for point in points:
        if not isinstance(point, list | tuple) or len(point) != 2:
            raise _refusal("x and y of each point", point)
    return [[_coordinate(x), _coordinate(y)] for x, y in points]


def _region_ids(ids: Any) -> list[int]:
    if not isinstance(ids, list) or not 1 <= len(ids) <= _MAX_REGIONS:
        raise _refusal(f"a list of 1 to {_MAX_REGIONS} region_ids", ids)
    return sorted({_whole(number, "region id", 2**31 - 1) for number in ids})


def _radius(values: Mapping[str, Any]) -> float:
    radius = _number(values.get("radius"), "the radius of a brush")
    if not MIN_RADIUS <= radius <= MAX_RADIUS:
        raise _refusal(f"a radius of {MIN_RADIUS:g} to {MAX_RADIUS:g} pixels", radius)
    return radius


def _coordinate(value: Any) -> float:
    number = _number(value, "a coordinate")
    if abs(number) > _FARTHEST:
        raise _refusal(f"coordinates of at most {_FARTHEST:g} pixels", number)
    return number


def _number(value: Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e300 or not math.isfinite(value):
        raise _refusal(f"a finite number for {what}", value)
    return float(value)


def _whole(value: Any, what: str, largest: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= largest:
        raise _refusal(f"a whole number 0..{largest} for the {what}", value)
    return value


def _refusal(expected: str, found: object) -> SceneError:
    text = repr(found) if not isinstance(found, int) or abs(found) < 1e300 else "a number of hundreds of digits"
    shown = text if len(text) <= 60 else text[:57] + "..."
    return SceneError(f"Expected {expected}, found {shown}; send another mark.")
