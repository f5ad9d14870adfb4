"""Masks of single frames become instances of the scene, by what the majority of the frames says.

Two masks show one thing if most frames that see both put them under one mask (view consensus: Yan et al. 2024,
"MaskClustering", equations 1 to 4, here with average linkage). A frame observes a mask if it has masks over a share of
at least `VISIBLE` of its voxels, and a mask of the frame contains it if it holds a share of at least `CONTAINED` of
those. Of masks of one class

    consensus(A, B) = sum over a in A, b in B of |frames with one mask that contains a and b|
                    / sum over a in A, b in B of |frames that observe a and b|,

and the two groups of the highest consensus are joined until it is below 1/2. A mask that has run over several things
is told by the frames that observe it: most of them have no mask that contains it. It is left out.

Voxels then vote: each mask for its group at its voxels, and masks of other classes for none. A group that does not win
most of the voxels that it votes on is a piece of another, or an edge of something else, and is left out.
"""

import heapq
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int16, Int32, Int64
from numpy import ndarray

from semantic_ns.instances.masks import MaskSets
from semantic_ns.instances.parts import LEAST_VOXELS, NO_INSTANCE, nearest_of_class, renumbered

VISIBLE = 0.3
"""Share of a mask that a frame has to have masks over to count: the published value."""
CONTAINED = 0.8
"""Share of what a frame sees of a mask that one mask has to hold to contain it: the published value."""
MAJORITY = 0.5


@dataclass(frozen=True, eq=False)
class MaskViews:
    """What frames say of masks.

    Attributes:
        observed: Whether each frame observes each mask.
        contains: Whether mask b [column], of a frame that observes it, contains mask a [row]; scipy CSR.
    """

    observed: Bool[ndarray, "masks frames"]
    contains: Any

    @property
    def is_torn(self) -> Bool[ndarray, "masks"]:
        """Masks that most of the frames that observe them have no mask for which contains them."""
        num_observed = self.observed.sum(axis=1)
        return num_observed - np.asarray(self.contains.sum(axis=1)).reshape(-1) > MAJORITY * num_observed


def compare_masks(masks: MaskSets) -> MaskViews:
    """What the frames say of each mask.

    Args:
        masks: The masks, of one class or of several; those of two classes share no voxel.
    """
    from scipy.sparse import csr_matrix

    shared = (masks.matrix @ masks.matrix.T).tocoo()  # voxels of two masks
    num_frames = int(masks.frames.max(initial=-1)) + 1
    covered: Float64[ndarray, "masks frames"] = np.zeros((len(masks), num_frames))
    np.add.at(covered, (shared.row, masks.frames[shared.col]), shared.data)
    size = np.bincount(masks.mask_of_entry, minlength=len(masks))
    observed = covered >= np.maximum(VISIBLE * size, 1)[:, None]
    frames = masks.frames[shared.col]
    is_inside = observed[shared.row, frames] & (shared.data >= CONTAINED * covered[shared.row, frames])
    rows, columns = shared.row[is_inside], shared.col[is_inside]
    inside = csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), shape=(len(masks),) * 2)
    return MaskViews(observed, inside)


def group_masks(masks: MaskSets, views: MaskViews) -> Int64[ndarray, "masks"]:
    """The number of the group of each mask, from 0; torn masks are groups of their own.

    Args:
        masks: The masks.
        views: What frames say of them.
    """
    groups = np.arange(len(masks))
    is_torn = views.is_torn
    for number in np.unique(masks.classes).tolist():
        members = np.flatnonzero((masks.classes == number) & ~is_torn)
        inside, observed = views.contains[members].astype(np.float32), views.observed[members].astype(np.float32)
        together = np.asarray((inside @ inside.T).todense(), np.float32)
        groups[members] = members[average_linkage(together, observed @ observed.T)]
    return np.unique(groups, return_inverse=True)[1].reshape(-1)


def average_linkage(
    together: Float32[ndarray, "masks masks"], both: Float32[ndarray, "masks masks"]
) -> Int64[ndarray, "masks"]:
    """Join the two groups with the highest quotient of the sums of two symmetric tables, while it is at least 1/2.

    Of pairs with the same quotient the one with the larger sum of `both` goes first, then the one whose groups have the
    smaller first members.

    Args:
        together: How often two are one.
        both: How often two could be.

    Returns:
        The smallest member of the group of each.
    """
    groups = np.arange(len(both))
    links = [
        {int(j): (float(together[i, j]), float(both[i, j])) for j in np.flatnonzero(both[i]) if j != i}
        for i in range(len(both))
    ]
    queue: list[tuple[float, float, int, int]] = []

    def offer(i: int, j: int) -> None:
        shared, seen = links[i][j]
        if shared >= MAJORITY * seen:
            heapq.heappush(queue, (-shared / seen, -seen, min(i, j), max(i, j)))

    for i, row in enumerate(links):
        for j in row:
            if i < j:
                offer(i, j)
    while queue:
        quotient, seen, i, j = heapq.heappop(queue)
        now = links[i].get(j)
        if now is None or (-now[0] / now[1], -now[1]) != (quotient, seen):
            continue  # one of the two has changed since
        groups[groups == j] = i
        del links[i][j], links[j][i]
        for other, (shared, could) in links[j].items():
            old = links[i].get(other, (0.0, 0.0))
            links[i][other] = links[other][i] = old[0] + shared, old[1] + could
            del links[other][j]
        links[j] = {}
        for other in links[i]:
            offer(i, other)
    return groups


def vote(masks: MaskSets, groups: Int64[ndarray, "masks"], is_used: Bool[ndarray, "masks"]) -> Int32[ndarray, "voxels"]:
    """The group, from 1, that most masks over each voxel vote for; the smaller among equals.

    It is 0 where no mask votes, or more masks of other classes lie over the voxel. A group that wins fewer than half of
    the voxels that it votes on is left out, and the others are counted anew.

    Args:
        masks: The masks.
        groups: Number of the group of each mask, from 0.
        is_used: Masks that vote.
    """
    is_used = is_used.copy()
    while True:
        winners, num_votes = most_votes(masks, groups, is_used)
        winners[masks.foreign > num_votes] = 0
        used = is_used[masks.mask_of_entry]
        own = groups[masks.mask_of_entry[used]] + 1
        pairs = np.unique(np.stack([own, masks.voxel_of_entry[used]], axis=1), axis=0)
        num_groups = int(groups.max(initial=-1)) + 2
        won = np.bincount(pairs[winners[pairs[:, 1]] == pairs[:, 0], 0], minlength=num_groups)
        is_loser = won < MAJORITY * np.bincount(pairs[:, 0], minlength=num_groups)
        is_out = is_used & is_loser[groups + 1]
        if not is_out.any():
            return winners
        is_used &= ~is_out


def most_votes(
    masks: MaskSets, groups: Int64[ndarray, "masks"], is_used: Bool[ndarray, "masks"]
) -> tuple[Int32[ndarray, "voxels"], Int64[ndarray, "voxels"]]:
    """The group, from 1, that most masks over each voxel vote for, 0 for none, and their number; see `vote`."""
    votes = masks.votes(groups, is_used)
    rows = np.repeat(np.arange(votes.shape[0]), np.diff(votes.indptr))
    order = np.lexsort((votes.indices, -votes.data, rows))
    first = order[np.flatnonzero(np.diff(rows[order], prepend=-1))]
    winners, counts = np.zeros(votes.shape[0], np.int32), np.zeros(votes.shape[0], np.int64)
    winners[rows[first]] = votes.indices[first] + 1
    counts[rows[first]] = votes.data[first]
    return winners, counts


def join_masks(masks: MaskSets, classes: Int16[ndarray, "voxels"]) -> Int32[ndarray, "voxels"]:
    """The instance of each voxel by the masks over it, from 1, 0 where no mask says; each is of one class.

    Args:
        masks: The masks.
        classes: Classes of the voxels.
    """
    if len(masks) == 0:
        return np.zeros(len(classes), np.int32)
    views = compare_masks(masks)
    return vote(masks, group_masks(masks, views), ~views.is_torn)


def complete(
    ids: Int32[ndarray, "voxels"],
    parts: Int32[ndarray, "voxels"],
    classes: Int16[ndarray, "voxels"],
    centres: Float64[ndarray, "voxels 3"],
    masks: MaskSets | None = None,
) -> Int32[ndarray, "voxels"]:
    """Ids for all voxels of things, numbered from 1 by their size.

    A voxel without an id gets that of the nearest voxel of its connected part, else of its class; in a class without
    any id, the connected parts are the instances. An instance that is then a speck, see `without_specks`, is left out
    if fewer than half of the views of its voxels show a mask of its class there: voxels of a wrong class get a mask
    from the few frames in which little else of some thing is in sight.

    Args:
        ids: The id of each voxel by masks, 0 for none.
        parts: Its connected part, 0 if it is of no thing.
        classes: Its class.
        centres: Where it lies.
        masks: The masks that ids come from; without them all specks stay.
    """
    filled = _filled(ids, parts, classes, centres)
    if masks is not None:
        is_doubtful = (np.bincount(filled) < LEAST_VOXELS) & (
            np.bincount(filled, masks.own) < MAJORITY * np.bincount(filled, masks.seen)
        )
        is_left_out = is_doubtful[filled] & (ids != NO_INSTANCE)
        if is_left_out.any():
            filled = _filled(np.where(is_left_out, np.int32(NO_INSTANCE), ids), parts, classes, centres)
    return renumbered(filled)


def _filled(
    ids: Int32[ndarray, "voxels"],
    parts: Int32[ndarray, "voxels"],
    classes: Int16[ndarray, "voxels"],
    centres: Float64[ndarray, "voxels 3"],
) -> Int32[ndarray, "voxels"]:
    """Ids of all voxels of things; see `complete`."""
    is_open = (parts > NO_INSTANCE) & (ids == NO_INSTANCE)
    within = nearest_of_class(ids, is_open, parts, centres, np.zeros_like(ids))
    is_open &= within == NO_INSTANCE
    own = (parts + ids.max(initial=0)).astype(np.int32)
    return nearest_of_class(within, is_open, classes, centres, own)
