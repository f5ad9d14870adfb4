"""Masks of single frames as sets of voxels, each of one class of things."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Int16, Int32, Int64
from numpy import ndarray


@dataclass(frozen=True, eq=False)
class FrameMasks:
    """The voxels that a frame sees, and under which of its masks.

    Attributes:
        voxels: Numbers of the voxels, each once.
        masks: Id of the mask over each, 0 for none. Ids mean nothing in another frame.
    """

    voxels: Int32[ndarray, "seen"]
    masks: Int32[ndarray, "seen"]


@dataclass(frozen=True, eq=False)
class MaskSets:
    """All masks of things of all frames, numbered.

    Attributes:
        frames: The frame of each mask.
        ids: Its id in that frame.
        classes: Its class.
        mask_of_entry: Mask of each pair of a mask and one of its voxels.
        voxel_of_entry: Voxel of each such pair.
        foreign: How many masks of another class, of stuff or void too, each of the M voxels lies under.
        seen: How many frames see each voxel, under a mask or not.
    """

    frames: Int64[ndarray, "masks"]
    ids: Int64[ndarray, "masks"]
    classes: Int64[ndarray, "masks"]
    mask_of_entry: Int64[ndarray, "entries"]
    voxel_of_entry: Int32[ndarray, "entries"]
    foreign: Int64[ndarray, "voxels"]
    seen: Int64[ndarray, "voxels"]

    def __len__(self) -> int:
        return len(self.frames)

    @classmethod
    def of(
        cls, frames: Sequence[FrameMasks], classes: Int16[ndarray, "voxels"], is_thing: Sequence[bool]
    ) -> "MaskSets":
        """Number the masks of the frames.

        The class of a mask is that of most of its voxels; what it holds of others is left out, and so is a mask of
        stuff or void. A mask that has run over a neighbour of another class is so cut along it.

        Args:
            frames: What each frame sees.
            classes: Classes of the voxels, void -1.
            is_thing: Whether each class is of things.
        """
        keys, voxels = [np.empty((0, 2), np.int64)], [np.empty(0, np.int32)]
        for number, frame in enumerate(frames):
            is_used = frame.masks > 0
            keys.append(np.stack([np.full(int(is_used.sum()), number), frame.masks[is_used]], axis=1))
            voxels.append(frame.voxels[is_used])
        occurring, numbers = np.unique(np.concatenate(keys), axis=0, return_inverse=True)
        of_entries, entries = numbers.reshape(-1), np.concatenate(voxels)
        counts = np.zeros((len(occurring), len(is_thing) + 1), np.int64)
        np.add.at(counts, (of_entries, classes[entries]), 1)  # void is -1, the last place
        of_masks = counts.argmax(axis=1)
        is_kept = np.array([*is_thing, False])[of_masks]
        is_own = is_kept[of_entries] & (classes[entries] == of_masks[of_entries])
        foreign = np.bincount(entries[~is_own], minlength=len(classes))
        seen = np.bincount(np.concatenate([voxels[0], *(frame.voxels for frame in frames)]), minlength=len(classes))
        new = np.cumsum(is_kept) - 1
        of_frames, ids = occurring[is_kept].T
        return cls(of_frames, ids, of_masks[is_kept], new[of_entries[is_own]], entries[is_own], foreign, seen)

    @property
    def own(self) -> Int64[ndarray, "voxels"]:
        """How many masks of its own class each voxel lies under."""
        return np.bincount(self.voxel_of_entry, minlength=len(self.foreign))

    @cached_property
    def matrix(self) -> Any:
        """Whether a mask [row] holds a voxel [column], scipy CSR of float32."""
        from scipy.sparse import csr_matrix

        ones = np.ones(len(self.mask_of_entry), np.float32)
        return csr_matrix((ones, (self.mask_of_entry, self.voxel_of_entry)), shape=(len(self), len(self.foreign)))

    def votes(self, groups: Int64[ndarray, "masks"], is_used: Bool[ndarray, "masks"]) -> Any:
        """How many masks of each group [column] hold each voxel [row], scipy CSR.

        Args:
            groups: Number of the group of each mask, from 0.
            is_used: Masks that vote.
        """
        from scipy.sparse import csr_matrix

        used = np.flatnonzero(is_used)
        shape = len(self), int(groups.max(initial=-1)) + 1
        chosen = csr_matrix((np.ones(len(used), np.float32), (used, groups[used])), shape=shape)
        return (self.matrix.T @ chosen).tocsr()
