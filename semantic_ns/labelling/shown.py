"""The labels of every frame that follow from marks and from the classes of voxels."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float32, Int16, Int32, Shaped, UInt8
from numpy import ndarray

from semantic_ns.errors import SceneError
from semantic_ns.io.console import announce
from semantic_ns.labelling.classes import as_final
from semantic_ns.labelling.edges import along_edges
from semantic_ns.labelling.spreading import SpreadLabels
from semantic_ns.labelling.state import NOTHING, SessionState, Unchecked
from semantic_ns.labelling.surface import LabelSurface

Said = Callable[[int], tuple[Int16[ndarray, "height width"], Float32[ndarray, "height width"]]]
"""Gives class ids of a frame, -1 for none, and how sure they are, 0..1."""


@dataclass(frozen=True, eq=False)
class ShownLabels:
    """What is painted, and what is spread where nothing is painted.

    Attributes:
        state: Classes and marks in force.
        surface: The surface.
        spread: The classes of its voxels.
    """

    state: SessionState
    surface: LabelSurface
    spread: SpreadLabels

    def painted(self, frame: Unchecked) -> Int16[ndarray, "height width"]:
        """Painted pixels alone: the class id, -2 where void is painted, -1 elsewhere."""
        self.state.info(frame)
        return self.state.painted(frame)

    def labels(self, frame: Unchecked) -> Int16[ndarray, "height width"]:
        """Class ids, painted where painted, else those of the voxels; -1 where nothing is known, or for void."""
        painted = self.painted(frame)  # first of all: it refuses a frame that there is none of
        labels = self._spread_on(frame, self.spread.labels, np.int16(NOTHING))
        is_painted = painted != NOTHING
        labels[is_painted] = np.maximum(painted[is_painted], NOTHING)
        return labels

    def confidence(self, frame: Unchecked) -> Float32[ndarray, "height width"]:
        """How sure the labels are, 0..1; 1 where painted."""
        is_painted = self.painted(frame) != NOTHING
        confidence = self._spread_on(frame, self.spread.confidence, np.float32(0))
        confidence[is_painted] = 1
        return confidence

    def every(self, step: int) -> tuple[Int16[ndarray, "frames rows columns"], Float32[ndarray, "frames rows columns"]]:
        """Labels and confidence of every n-th pixel along rows and columns of all frames, which have one size."""
        first = self.surface.frames[0]
        rows, columns = np.mgrid[0 : first.height : step, 0 : first.width : step]
        shape = len(self.surface.frames), *rows.shape
        labels, confidence = np.empty(shape, np.int16), np.empty(shape, np.float32)
        for frame in range(len(labels)):
            painted, voxels = self.state.painted_at(frame, rows, columns), self.surface.voxels_at(frame, rows, columns)
            spread = np.where(voxels >= 0, self.spread.labels[voxels], np.int16(NOTHING))
            labels[frame] = np.where(painted == NOTHING, spread, np.maximum(painted, NOTHING))
            sure = np.where(voxels >= 0, self.spread.confidence[voxels], np.float32(0))
            confidence[frame] = np.where(painted == NOTHING, sure, np.float32(1))
        return labels, confidence

    def _spread_on(self, frame: int, of_voxels: ndarray, nothing: np.generic) -> Shaped[ndarray, "height width"]:
        """What the voxels that the pixels of a frame show have, or nothing; a new array."""
        voxels = self.surface.pixel_voxels[frame]
        # At the size of the map, and only then of the frame.
        return self.surface.enlarged(np.where(voxels >= 0, of_voxels[voxels], nothing), frame)


class LabelsAlongEdges(ShownLabels):
    """The same, but that spread labels end at the edges of the picture, and not of the pixels whose voxel is known.

    Of a frame whose picture cannot be read they are as they are shown.

    Args:
        shown: What a session shows.
        color: Gives the colours of a frame.
    """

    def __init__(self, shown: ShownLabels, color: Callable[[int], UInt8[ndarray, "height width 3"]]) -> None:
        super().__init__(shown.state, shown.surface, shown.spread)
        object.__setattr__(self, "_color", color)
        object.__setattr__(self, "_last", lru_cache(1)(self._found))

    _color: Callable[[int], UInt8[ndarray, "height width 3"]]
    _last: Callable[[int], Int32[ndarray, "height width"]]

    def _spread_on(self, frame: int, of_voxels: ndarray, nothing: np.generic) -> Shaped[ndarray, "height width"]:
        voxels = self._last(frame)
        return np.where(voxels >= 0, of_voxels[voxels], nothing)

    def _found(self, frame: int) -> Int32[ndarray, "height width"]:
        surface = self.surface
        if surface.stride == 1:
            return surface.voxels_of(frame)
        try:
            color = self._color(frame)
        except SceneError as error:
            announce("labelling", f"outlines of {surface.frames[frame].name} are those of blocks: {error}")
            return surface.voxels_of(frame)
        return along_edges(surface.pixel_voxels[frame], color, surface.stride)


class SaidLabels(ShownLabels):
    """What is painted, and what something else than the voxels says where nothing is painted.

    Classes are those of the session that is shown: what is said of one that was merged into another counts for that
    one, and of one that came later for none.

    Args:
        shown: What a session shows.
        said: A function that gives what is said of a frame; it may be slow.
    """

    def __init__(self, shown: ShownLabels, said: Said) -> None:
        super().__init__(shown.state, shown.surface, shown.spread)
        object.__setattr__(self, "_said", lru_cache(1)(said))

    _said: Said

    def labels(self, frame: Unchecked) -> Int16[ndarray, "height width"]:
        """Class ids, painted where painted, else those that are said; -1 where nothing is said, or for void."""
        painted = self.painted(frame)
        said = as_final(self._said(frame)[0], self.state.classes)
        return np.where(painted == NOTHING, said, np.maximum(painted, NOTHING)).astype(np.int16)

    def confidence(self, frame: Unchecked) -> Float32[ndarray, "height width"]:
        """How sure the labels are, 0..1; 1 where painted."""
        return np.where(self.painted(frame) == NOTHING, self._said(frame)[1], np.float32(1))
