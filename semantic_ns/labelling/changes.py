"""Which frames have changed since a revision, by what the session has shown meanwhile."""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Bool, Int64
from numpy import ndarray

from semantic_ns.labelling.answers import confidence_layer
from semantic_ns.labelling.spreading import SpreadLabels
from semantic_ns.labelling.surface import LabelSurface


class FrameChanges:
    """For each frame, the revision at which what it shows was last another than before.

    Args:
        num_frames: Number of frames.
        revision: The revision from which on changes are known; all that came before counts as a change of it.
    """

    def __init__(self, num_frames: int, revision: int) -> None:
        self._changed_at: Int64[ndarray, "frames"] = np.full(num_frames, revision, np.int64)
        self._revision = revision
        self._shown: SpreadLabels | None = None
        self._surface: LabelSurface | None = None
        self._sees: Bool[ndarray, "frames voxels"] = np.empty((num_frames, 0), np.bool_)

    def painted(self, frames: Iterable[int], revision: int) -> None:
        """Painted pixels of some frames are others from a revision on."""
        self._changed_at[list(frames)] = revision

    def take(self, surface: LabelSurface, shown: SpreadLabels, revision: int) -> None:
        """Compare the classes of the voxels at a revision with those that were taken last.

        Those of another surface are others in all frames, and so are the first ones of a revision that is not the
        first.
        """
        if surface is not self._surface:
            is_known = self._surface is None and revision == self._revision
            self._sees = _seen_voxels(surface)
            changed = np.full(len(self._changed_at), not is_known)
        else:
            assert self._shown is not None
            changed = (self._sees & _differences(self._shown, shown)).any(axis=1)
        self._changed_at[changed] = revision
        self._shown, self._surface = shown, surface

    def since(self, revision: int) -> list[int]:
        """Frames that show something else than at a revision, ascending."""
        return np.flatnonzero(self._changed_at > revision).tolist()


def _differences(before: SpreadLabels, after: SpreadLabels) -> Bool[ndarray, "voxels"]:
    """The voxels whose class differs, or whose confidence does, in the steps in which the page receives it."""
    first, second = confidence_layer(before.confidence[None]), confidence_layer(after.confidence[None])
    return (before.labels != after.labels) | (first != second)[0]


def _seen_voxels(surface: LabelSurface) -> Bool[ndarray, "frames voxels"]:
    """Which voxels each frame shows."""
    sees = np.zeros((len(surface.frames), surface.graph.num_nodes + 1), np.bool_)
    for frame, voxels in enumerate(surface.pixel_voxels):
        sees[frame, voxels.reshape(-1)] = True  # -1, no voxel, is the last column
    return sees[:, :-1]
