"""The labels of every frame that follow from marks and from the classes of voxels."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int16
from numpy import ndarray

from semantic_ns.labelling.spreading import SpreadLabels
from semantic_ns.labelling.state import NOTHING, SessionState, Unchecked
from semantic_ns.labelling.surface import LabelSurface


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
