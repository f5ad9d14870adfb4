"""The labels of every frame that follow from marks and from the classes of voxels."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float32, Int16
from numpy import ndarray

from semantic_ns.labelling.classes import as_final
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
        painted, voxels = self.painted(frame), self.surface.voxels_of(frame)
        labels = np.where(voxels >= 0, self.spread.labels[voxels], np.int16(NOTHING))
        return np.where(painted == NOTHING, labels, np.maximum(painted, NOTHING)).astype(np.int16)

    def confidence(self, frame: Unchecked) -> Float32[ndarray, "height width"]:
        """How sure the labels are, 0..1; 1 where painted."""
        painted, voxels = self.painted(frame), self.surface.voxels_of(frame)
        confidence = np.where(voxels >= 0, self.spread.confidence[voxels], np.float32(0))
        return np.where(painted == NOTHING, confidence, np.float32(1))


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
