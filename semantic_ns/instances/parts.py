"""Connected parts of the labelled surface: things that do not touch others of their class are instances already."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float64, Int, Int16, Int32
from numpy import ndarray

from semantic_ns.surface.voxels import Voxels

NO_INSTANCE = 0
"""Id of a voxel that belongs to no thing."""
LEAST_VOXELS = 8
"""Parts of fewer voxels are specks: a thing of less than two voxels along each axis has no shape on this grid."""


def connected_parts(voxels: Voxels, classes: Int16[ndarray, "voxels"], is_thing: Sequence[bool]) -> ndarray:
    """The connected part of each voxel of a thing, numbered from 1, int32 [voxels]; 0 for other voxels.

    Voxels of one class that touch, also at an edge or a corner, are of one part.

    Args:
        voxels: The M voxels of the surface.
        classes: Their classes 0..C-1, void -1.
        is_thing: Whether each class is of things.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    is_part = np.array([*is_thing, False])[classes]
    neighbours = voxels.neighbours()
    rows, columns = np.nonzero((neighbours >= 0) & is_part[:, None])
    others = neighbours[rows, columns]
    joined = classes[rows] == classes[others]
    edges = coo_matrix((np.ones(int(joined.sum()), bool), (rows[joined], others[joined])), shape=(len(voxels),) * 2)
    numbers = np.asarray(connected_components(edges, directed=False)[1])
    parts = np.zeros(len(voxels), np.int32)
    parts[is_part] = np.unique(numbers[is_part], return_inverse=True)[1].reshape(-1) + 1
    return parts


def without_specks(
    parts: Int32[ndarray, "voxels"], classes: Int16[ndarray, "voxels"], centres: Float64[ndarray, "voxels 3"]
) -> ndarray:
    """Parts in which a speck has become part of the nearest larger one of its class, numbered from 1, int32 [voxels].

    Specks have fewer than eight voxels. Where a class has nothing larger, its specks stay as they are.

    Args:
        parts: The part of each voxel, 0 for none.
        classes: Their classes.
        centres: Where they lie.
    """
    sizes = np.bincount(parts)
    is_speck = (parts > NO_INSTANCE) & (sizes[parts] < LEAST_VOXELS)
    is_whole = (parts > NO_INSTANCE) & ~is_speck
    return renumbered(nearest_of_class(np.where(is_whole, parts, NO_INSTANCE), is_speck, classes, centres, parts))


def nearest_of_class(
    ids: Int32[ndarray, "voxels"],
    is_asked: Bool[ndarray, "voxels"],
    classes: Int[ndarray, "voxels"],
    centres: Float64[ndarray, "voxels 3"],
    otherwise: Int32[ndarray, "voxels"],
) -> ndarray:
    """Ids in which voxels that are asked for have that of the nearest voxel of their class that has one.

    Args:
        ids: Id of each voxel, 0 for none.
        is_asked: Voxels whose id is looked for.
        classes: Their classes, or other groups in which to look.
        centres: Where they lie.
        otherwise: Ids for classes in which no voxel has one.
    """
    from scipy.spatial import KDTree

    found = ids.copy()
    for number in np.unique(classes[is_asked]).tolist():
        asked = np.flatnonzero(is_asked & (classes == number))
        known = np.flatnonzero(~is_asked & (classes == number) & (ids > NO_INSTANCE))
        if len(known) == 0:
            found[asked] = otherwise[asked]
        else:
            found[asked] = ids[known[KDTree(centres[known]).query(centres[asked])[1]]]
    return found


def renumbered(ids: Int32[ndarray, "voxels"]) -> ndarray:
    """Ids numbered from 1 in the order of their size, the largest first; 0 stays, int32 [voxels]."""
    sizes = np.bincount(ids)
    sizes[NO_INSTANCE] = 0
    order = np.argsort(-sizes, kind="stable")
    numbers = np.zeros(len(sizes), np.int32)
    numbers[order] = np.arange(1, len(sizes) + 1)
    numbers[sizes == 0] = NO_INSTANCE
    return numbers[ids]
