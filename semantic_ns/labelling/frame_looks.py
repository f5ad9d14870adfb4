"""How the pictures of frames look, in few numbers: what tells two captures whose frames have the same names apart."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image

from semantic_ns.labelling.surface import FrameInfo

_SIDE_PX = 8
_NUM_FRAMES = 4
"""Frames whose pictures are looked at; each takes a fraction of a second."""


def looks_of(frames: Sequence[FrameInfo]) -> dict[str, list[int]]:
    """Brightness 0..255 of the pictures of some frames in a grid of 8 x 8 cells, by the name of the frame."""
    places = np.unique(np.linspace(0, len(frames) - 1, _NUM_FRAMES).round().astype(int))
    looks = {frames[place].name: _look(frames[place]) for place in places.tolist()}
    return {name: look.ravel().tolist() for name, look in looks.items() if look is not None}


def difference(looks: Any, frames: Sequence[FrameInfo]) -> float | None:
    """By how much the pictures of frames differ from how they looked: the median of the mean differences of each.

    Args:
        looks: That of `looks_of`.
        frames: The frames of now.

    Returns:
        A difference of brightness 0..255; None where no frame has a look, or none of these can be read.
    """
    by_name = {info.name: info for info in frames}
    found = []
    for name, look in looks.items() if isinstance(looks, Mapping) else ():
        now = _look(by_name[name]) if name in by_name else None
        if now is not None and len(look) == now.size:
            found.append(float(np.abs(np.array(look, float) - now.ravel()).mean()))
    return float(np.median(found)) if found else None


def _look(info: FrameInfo) -> UInt8[ndarray, "8 8"] | None:
    # The photo first: pictures without the distortion of a lens are other ones.
    paths: list[Path] = [info.photo, info.image]
    for path in dict.fromkeys(paths):
        try:
            return _look_of_file(path, path.stat().st_mtime_ns)
        except (OSError, ValueError, SyntaxError):
            continue
    return None


@lru_cache(2 * _NUM_FRAMES)  # a start needs each twice: for a new journal, and beside the one that there is
def _look_of_file(path: Path, _written: int) -> UInt8[ndarray, "8 8"]:
    with Image.open(path) as image:
        image.draft("L", (8 * _SIDE_PX, 8 * _SIDE_PX))  # JPEG files are then read at a fraction of their size
        return np.asarray(image.convert("L").resize((_SIDE_PX, _SIDE_PX), Image.Resampling.BOX))
