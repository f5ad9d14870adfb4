"""Even choice among ordered things."""

from jaxtyping import Int64
from numpy import arange, minimum, ndarray


def evenly_spaced(count: int, total: int) -> Int64[ndarray, "count"]:
    """Indices of `count` of `total` things, spread evenly (released code of Zhi et al. 2021).

    With q, r = divmod(total, count), index_i = q i + min(i, r): the first r gaps are q + 1, the others q.

    Args:
        count: 0..total; 0 gives no index.
        total: number of items to choose from.
    """
    if not 0 <= count <= total:
        raise ValueError(f"count must be 0..{total}, got {count}")
    gap, remainder = divmod(total, max(count, 1))
    indices = arange(count)
    return gap * indices + minimum(indices, remainder)
