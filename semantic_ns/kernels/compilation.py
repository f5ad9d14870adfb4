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

# IEEE arithmetic, without numba's ``fastmath``: the compiler may then neither reorder a sum nor fuse a product with it,
# so a kernel gives the same bits however it was compiled. With ``fastmath`` the first training on a machine, which
# compiles, ended elsewhere than the next one with the same seed, which finds the kernels in the cache; and kernels for
# another processor ended elsewhere again. It saved no time: the loops that matter are written for vector registers.
kernel = njit(parallel=True, cache=True, nogil=True)
"""Decorator of what Python calls: all cores, without Python's lock, kept between starts."""
part = njit(cache=True)
"""Decorator of what kernels call."""
inlined_part = njit(cache=True, forceinline=True)
"""Decorator of parts that become code of their caller; hash grids are 8 % faster so. All parts would compile longer."""
