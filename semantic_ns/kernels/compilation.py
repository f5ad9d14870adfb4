"""How CPU kernels are compiled, and where the machine code is kept."""

import hashlib
import os
from pathlib import Path

import numba
from numba import njit

_PACKAGE = Path(__file__).resolve().parents[1]


def _cache_folder() -> Path:
    """A folder for the kernels as they are now.

    numba looks for changes in the file of a function alone: neither in those whose functions it has compiled into it,
    nor in the options below.
    """
    code = hashlib.sha256(numba.__version__.encode())
    for path in [Path(__file__), *sorted(_PACKAGE.rglob("*_numba.py"))]:
        code.update(path.read_bytes())
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "semantic_ns" / "kernels" / code.hexdigest()[:16]


if not numba.config.CACHE_DIR:  # pyright: ignore[reportAttributeAccessIssue, reportPrivateImportUsage]  # NUMBA_CACHE_DIR of the user goes first
    numba.config.CACHE_DIR = str(_cache_folder())  # pyright: ignore[reportAttributeAccessIssue, reportPrivateImportUsage]

# Parts are inlined. Machine code of a part that stands alone is shared by all kernels that call it, and which of their
# copies is taken depends on what was loaded first. The copies round differently, so the first training of a machine,
# which compiles, would end elsewhere than the second one with the same seed.
kernel = njit(parallel=True, fastmath=True, cache=True, nogil=True)
"""Decorator of what Python calls: all cores, without Python's lock, kept between starts."""
part = njit(fastmath=True, cache=True, forceinline=True)
"""Decorator of what kernels call; its code becomes part of each kernel's own."""
exact_kernel = njit(parallel=True, cache=True, nogil=True)
"""The same for what must keep to IEEE arithmetic: NaN, infinity, the order of sums."""
exact_part = njit(cache=True, forceinline=True)
"""The same for parts."""
inlined_part = njit(fastmath=True, cache=True, inline="always")
"""Decorator of parts that must not hide a loop from the compiler."""
