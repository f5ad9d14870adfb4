"""Simpler ways from masks of single frames to instances, to compare with: ids as they come, and frame by frame."""

import numpy as np
from jaxtyping import Int32, Int64
from numpy import ndarray

from semantic_ns.instances.association import most_votes
from semantic_ns.instances.masks import MaskSets

_LEAST_IOU = 0.25
"""A mask that overlaps every known instance by less is a new one."""


def trusted_ids(masks: MaskSets) -> Int64[ndarray, "masks"]:
    """Groups of the masks that have one id and one class, as if ids meant the same in every frame."""
    pairs = np.stack([masks.classes, masks.ids], axis=1)
    return np.unique(pairs, axis=0, return_inverse=True)[1].reshape(-1)


def assigned_frame_by_frame(masks: MaskSets) -> Int64[ndarray, "masks"]:
    """Groups by linear assignment: the masks of each frame, one after the other, to the instances known so far.

    Assigned is by the largest sum of IoU (Kuhn 1955), taken over the voxels that the frame has masks over; an instance
    holds every voxel of its masks.
    """
    from scipy.optimize import linear_sum_assignment

    groups = np.full(len(masks), -1)
    known: list[tuple[int, set[int]]] = []
    sets = [set[int]() for _ in range(len(masks))]
    for mask, voxel in zip(masks.mask_of_entry.tolist(), masks.voxel_of_entry.tolist(), strict=True):
        sets[mask].add(voxel)
    for frame in np.unique(masks.frames).tolist():
        members = np.flatnonzero(masks.frames == frame).tolist()
        seen = set[int]().union(*(sets[member] for member in members))
        iou = np.zeros((len(members), len(known)))
        for row, member in enumerate(members):
            for column, (number, voxels) in enumerate(known):
                if number == masks.classes[member]:
                    visible = voxels & seen
                    iou[row, column] = len(visible & sets[member]) / len(visible | sets[member])
        for row, column in zip(*linear_sum_assignment(-iou), strict=True):
            if iou[row, column] >= _LEAST_IOU:
                groups[members[row]] = column
        for member in members:
            if groups[member] < 0:
                groups[member] = len(known)
                known.append((int(masks.classes[member]), set()))
            known[groups[member]][1].update(sets[member])
    return groups


def voted(masks: MaskSets, groups: Int64[ndarray, "masks"]) -> Int32[ndarray, "voxels"]:
    """The group, from 1, of most masks over each voxel, 0 for none; no mask is left out."""
    return most_votes(masks, groups, np.ones(len(masks), bool))[0]
