"""Lets idle threads of GNU's OpenMP library sleep in a process that has loaded it already.

A thread of libgomp that waits for the next kernel spins for milliseconds, and so takes a core from whatever else wants
to run. `OMP_WAIT_POLICY=PASSIVE` forbids it, but is read when the library is loaded: torch loads it long before
nerfstudio imports a plugin. Once the library manages more threads than there are cores, however, its threads spin for a
few microseconds only (`do_spin` in libgomp's `config/linux/wait.h`). So this adds a second pool, whose threads are as
many as the cores and sleep until the process ends. The pools that run kernels keep their threads and their division of
work, so that results stay the same to the digit.

A pool ends with the thread that made it, and its threads no longer count: spinning can be had back.
"""

import ctypes
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

import numba

_MAPS, _COUNTS, _OWN_THREADS = Path("/proc/self/maps"), Path("/proc/stat"), Path("/proc/self/task")
_PATH_COLUMN = 5
_PERIOD_S, _NUM_LOOKS = 0.2, 10
"""Others are counted this often; the mean over so many counts decides."""
_BEGIN_SHARE, _END_SHARE = 0.5, 0.25
"""Idle threads sleep from more than half a core on that is missing, until less than a quarter is."""


def let_idle_threads_sleep() -> tuple[str, ...]:
    """Add the sleeping pool to each GNU OpenMP library of this process, once and for good.

    Nothing happens where kernels use one thread, or without a GNU OpenMP library (macOS, Windows, a torch that brings
    Intel's or LLVM's).

    Returns:
        The paths of the libraries.
    """
    if numba.get_num_threads() == 1:  # this also has numba load its library
        return ()
    return _sleep_for_good()


@cache
def _sleep_for_good() -> tuple[str, ...]:
    libraries = loaded_libraries(_read(_MAPS))
    if libraries:
        SleepingPools(libraries).add()
    return libraries


def let_idle_threads_sleep_beside_others(num_threads: int) -> tuple[str, ...]:
    """From now on have the sleeping pool while others want the cores that this process takes, and only then.

    To wake a sleeping thread takes as long as a small operation of torch. Where torch does the heavy work, a machine
    that has nothing else to do is a third faster with threads that spin; two such processes at a time are five times
    slower.

    Args:
        num_threads: how many threads torch and kernels use, at most.

    Returns:
        The paths of the GNU OpenMP libraries; without one, or with one thread, nothing happens.
    """
    return () if num_threads == 1 else _watch(num_threads)


@cache
def _watch(num_threads: int) -> tuple[str, ...]:
    libraries = loaded_libraries(_read(_MAPS))
    if libraries:
        pools, is_busy = SleepingPools(libraries), Crowding(num_threads, len(os.sched_getaffinity(0)))
        rest = threading.Event()  # never set

        def watch() -> None:
            while not rest.wait(_PERIOD_S):
                pools.follow(is_busy(count_others(_read(_COUNTS), _own_states())))

        threading.Thread(target=watch, name="watch of the cores", daemon=True).start()
    return libraries


class Crowding:
    """Whether others want cores that a process takes, from how many of their threads could run.

    Args:
        num_threads: how many threads of the process run at most.
        num_cores: how many cores it may use.
    """

    def __init__(self, num_threads: int, num_cores: int) -> None:
        self._num_free = max(num_cores - num_threads, 0)
        self._missing: deque[int] = deque(maxlen=_NUM_LOOKS)
        self._is_busy = False

    def __call__(self, num_others: int) -> bool:
        """Whether it is so, after one more count; the mean over the last ones decides."""
        self._missing.append(max(num_others - self._num_free, 0))
        mean = sum(self._missing) / _NUM_LOOKS
        self._is_busy = mean > (_END_SHARE if self._is_busy else _BEGIN_SHARE)
        return self._is_busy


def count_others(counts: str, own_states: Iterable[str]) -> int:
    """How many threads of other processes run or could run.

    Args:
        counts: text of `/proc/stat`.
        own_states: texts of `/proc/self/task/<thread>/stat`.
    """
    running = next((int(line.split()[1]) for line in counts.splitlines() if line.startswith("procs_running")), 0)
    # The name of a thread, in parentheses, may hold anything; its state comes after that.
    own = sum(text.rpartition(")")[2].split()[:1] == ["R"] for text in own_states)
    return max(running - own, 0)


def _own_states() -> list[str]:
    return [_read(thread / "stat") for thread in _OWN_THREADS.iterdir()]


def loaded_libraries(maps: str) -> tuple[str, ...]:
    """Paths of the GNU OpenMP libraries in the text of `/proc/<pid>/maps`.

    There may be two: torch's wheel brings one, and numba asks for the system's by another name.
    """
    columns = (line.split(maxsplit=_PATH_COLUMN) for line in maps.splitlines())
    paths = {entry[_PATH_COLUMN] for entry in columns if len(entry) > _PATH_COLUMN}
    return tuple(sorted(path for path in paths if Path(path).name.startswith("libgomp")))


def _read(path: Path) -> str:
    try:
        return path.read_text("utf8", errors="surrogateescape")
    except OSError:  # only Linux has it, and a thread may have ended
        return ""


class SleepingPools:
    """Pools of sleeping threads, one of each library, that can be added and removed.

    Args:
        libraries: paths of libraries that are loaded.
        make: adds a pool of the calling thread to the library of a path.
    """

    def __init__(self, libraries: Sequence[str], make: "Callable[[str], None] | None" = None) -> None:
        self._libraries, self._make = libraries, make or _make_pool
        self._keeper: threading.Thread | None = None
        self._end = threading.Event()

    def follow(self, are_wanted: bool) -> None:
        """Have the pools while they are wanted."""
        if are_wanted and self._keeper is None:
            self.add()
        elif not are_wanted and self._keeper is not None:
            self.remove()

    def add(self) -> None:
        """Add the pools; they stay until they are removed."""
        ready, self._end = threading.Event(), threading.Event()
        self._keeper = threading.Thread(
            target=self._keep, args=(ready, self._end), name="sleeping OpenMP pools", daemon=True
        )
        self._keeper.start()
        ready.wait()

    def remove(self) -> None:
        """Remove the pools."""
        if self._keeper is not None:
            self._end.set()
            self._keeper.join()
            self._keeper = None

    def _keep(self, ready: threading.Event, end: threading.Event) -> None:
        """Make the pools and wait: a pool ends with the thread that made it."""
        try:
            for path in self._libraries:
                # A library that cannot be asked only keeps its spinning.
                with suppress(OSError, AttributeError):
                    self._make(path)
        finally:
            ready.set()
        end.wait()


def _make_pool(path: str) -> None:
    library = ctypes.CDLL(path, mode=os.RTLD_NOW | os.RTLD_NOLOAD)
    num_cores = library.omp_get_num_procs()
    # What a compiler makes of `#pragma omp parallel`: each thread calls the function, which may be any harmless one.
    library.GOMP_parallel(library.omp_get_thread_num, None, ctypes.c_uint(num_cores), ctypes.c_uint(0))
