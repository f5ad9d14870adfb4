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
    """All masks of all frames, numbered; a mask over voxels of several classes is several masks.

    Attributes:
        frames: The frame of each mask.
        ids: Its id in that frame.
        classes: Its class.
        mask_of_entry: Mask of each pair of a mask and one of its voxels.
        voxel_of_entry: Voxel of each such pair.
        num_voxels: Number of voxels of the surface.
    """

    frames: Int64[ndarray, "masks"]
    ids: Int64[ndarray, "masks"]
    classes: Int64[ndarray, "masks"]
    mask_of_entry: Int64[ndarray, "entries"]
    voxel_of_entry: Int32[ndarray, "entries"]
    num_voxels: int

    def __len__(self) -> int:
        return len(self.frames)

    @classmethod
    def of(
        cls, frames: Sequence[FrameMasks], classes: Int16[ndarray, "voxels"], is_thing: Sequence[bool]
    ) -> "MaskSets":
        """Number the masks of the frames.

        The class of a voxel stands above the mask: what a mask holds of another class is another mask, and what it
        holds of stuff or void is left out. A mask that has run over a neighbour of another class is so cut along it.

        Args:
            frames: What each frame sees.
            classes: Classes of the voxels, void -1.
            is_thing: Whether each class is of things.
        """
        things = np.array([*is_thing, False])
        keys, voxels = [np.empty((0, 3), np.int64)], [np.empty(0, np.int32)]
        for number, frame in enumerate(frames):
            is_used = (frame.masks > 0) & things[classes[frame.voxels]]
            some = frame.voxels[is_used]
            keys.append(np.stack([np.full(len(some), number), frame.masks[is_used], classes[some]], axis=1))
            voxels.append(some)
        occurring, of_entries = np.unique(np.concatenate(keys), axis=0, return_inverse=True)
        of_frames, ids, of_masks = occurring.T
        return cls(of_frames, ids, of_masks, of_entries.reshape(-1), np.concatenate(voxels), len(classes))

    @cached_property
    def matrix(self) -> Any:
        """Whether a mask [row] holds a voxel [column], scipy CSR of float32."""
        from scipy.sparse import csr_matrix

        ones = np.ones(len(self.mask_of_entry), np.float32)
        return csr_matrix((ones, (self.mask_of_entry, self.voxel_of_entry)), shape=(len(self), self.num_voxels))

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
