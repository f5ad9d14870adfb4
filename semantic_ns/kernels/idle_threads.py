"""Lets idle threads of GNU's OpenMP library sleep in a process that has loaded it already.

A thread of libgomp that waits for the next kernel spins for milliseconds, and so takes a core from whatever else wants
to run. `OMP_WAIT_POLICY=PASSIVE` forbids it, but is read when the library is loaded: torch loads it long before
nerfstudio imports a plugin. Once the library manages more threads than there are cores, however, its threads spin for a
few microseconds only (`do_spin` in libgomp's `config/linux/wait.h`). So this adds a second pool, whose threads are as
many as the cores and sleep until the process ends. The pools that run kernels keep their threads and their division of
work, so that results stay the same to the digit.
"""

import ctypes
import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

import numba

_MAPS = Path("/proc/self/maps")
_PATH_COLUMN = 5


def let_idle_threads_sleep(num_torch_threads: int) -> tuple[str, ...]:
    """Add the sleeping pool to each GNU OpenMP library of this process, once.

    Nothing happens where torch and kernels use one thread, or without a GNU OpenMP library (macOS, Windows, a torch
    that brings Intel's or LLVM's).

    Args:
        num_torch_threads: how many threads torch uses.

    Returns:
        The paths of the libraries.
    """
    # To be asked has numba load its library.
    return () if numba.get_num_threads() == num_torch_threads == 1 else _keep_sleeping_pools()


@cache
def _keep_sleeping_pools() -> tuple[str, ...]:
    libraries = loaded_libraries(_read_maps())
    if libraries:
        ready = threading.Event()
        threading.Thread(target=_keep_pools, args=(libraries, ready), name="sleeping OpenMP pools", daemon=True).start()
        ready.wait()
    return libraries


def loaded_libraries(maps: str) -> tuple[str, ...]:
    """Paths of the GNU OpenMP libraries in the text of `/proc/<pid>/maps`.

    There may be two: torch's wheel brings one, and numba asks for the system's by another name.
    """
    columns = (line.split(maxsplit=_PATH_COLUMN) for line in maps.splitlines())
    paths = {entry[_PATH_COLUMN] for entry in columns if len(entry) > _PATH_COLUMN}
    return tuple(sorted(path for path in paths if Path(path).name.startswith("libgomp")))


def _read_maps() -> str:
    try:
        return _MAPS.read_text("utf8", errors="surrogateescape")
    except OSError:  # only Linux has it
        return ""


def _keep_pools(libraries: Sequence[str], ready: threading.Event) -> None:
    """Make the pools and wait for ever: a pool ends with the thread that made it."""
    try:
        for path in libraries:
            # A library that cannot be asked only keeps its spinning.
            with suppress(OSError, AttributeError):
                _make_pool(path)
    finally:
        ready.set()
    threading.Event().wait()


def _make_pool(path: str) -> None:
    library = ctypes.CDLL(path, mode=os.RTLD_NOW | os.RTLD_NOLOAD)
    num_cores = library.omp_get_num_procs()
    # What a compiler makes of `#pragma omp parallel`: each thread calls the function, which may be any harmless one.
    library.GOMP_parallel(library.omp_get_thread_num, None, ctypes.c_uint(num_cores), ctypes.c_uint(0))
