"""Which frames have changed since a revision, by what the session has shown meanwhile."""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Bool, Int64, UInt8
from numpy import ndarray

from semantic_ns.labelling.answers import confidence_layer
from semantic_ns.labelling.spreading import SpreadLabels
from semantic_ns.labelling.surface import LabelSurface


class SeenVoxels:
    """Which voxels of a surface each frame shows, a bit for each of them.

    Args:
        surface: The surface.
    """

    def __init__(self, surface: LabelSurface) -> None:
        self.surface = surface
        num_words = -(-surface.graph.num_nodes // 64)
        self._bits = np.zeros((len(surface.frames), 8 * num_words), np.uint8)
        for frame, voxels in enumerate(surface.pixel_voxels):
            is_seen = np.zeros(surface.graph.num_nodes + 1, np.bool_)
            is_seen[voxels.reshape(-1)] = True  # -1, no voxel, is the last one
            self._bits[frame] = self._packed(is_seen[:-1])

    def frames_with(self, voxels: Bool[ndarray, "voxels"]) -> Bool[ndarray, "frames"]:
        """The frames that show any of some voxels."""
        bits = self._packed(voxels).view(np.uint64)
        seen, used = self._bits.view(np.uint64), np.flatnonzero(bits)
        if 4 * len(used) < len(bits):  # else a copy of their columns costs more than the others
            seen, bits = seen[:, used], bits[used]
        return (seen & bits).any(axis=1)

    def _packed(self, voxels: Bool[ndarray, "voxels"]) -> UInt8[ndarray, "bytes"]:
        packed = np.zeros(self._bits.shape[1], np.uint8)
        bits = np.packbits(voxels)
        packed[: len(bits)] = bits
        return packed


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
        self._seen: SeenVoxels | None = None
        self._known: dict[LabelSurface, SeenVoxels] = {}

    def painted(self, frames: Iterable[int], revision: int) -> None:
        """Painted pixels of some frames are others from a revision on."""
        self._changed_at[list(frames)] = revision

    def expect(self, seen: SeenVoxels) -> None:
        """Take what the frames show of a surface, before its voxels are taken: it need not be computed then."""
        self._known[seen.surface] = seen

    def take(self, surface: LabelSurface, shown: SpreadLabels, revision: int) -> None:
        """Compare the classes of the voxels at a revision with those that were taken last.

        Those of another surface are others in all frames, and so are the first ones of a revision that is not the
        first.
        """
        if self._seen is None or self._seen.surface is not surface:
            is_known = self._seen is None and revision == self._revision
            if surface not in self._known:
                self.expect(SeenVoxels(surface))
            self._seen = self._known[surface]
            changed = np.full(len(self._changed_at), not is_known)
        else:
            assert self._shown is not None
            changed = self._seen.frames_with(_differences(self._shown, shown))
        self._changed_at[changed] = revision
        self._shown = shown

    def since(self, revision: int) -> list[int]:
        """Frames that show something else than at a revision, ascending."""
        return np.flatnonzero(self._changed_at > revision).tolist()


def _differences(before: SpreadLabels, after: SpreadLabels) -> Bool[ndarray, "voxels"]:
    """The voxels whose class differs, or whose confidence does, in the steps in which the page receives it."""
    first, second = confidence_layer(before.confidence[None]), confidence_layer(after.confidence[None])
    return (before.labels != after.labels) | (first != second)[0]
