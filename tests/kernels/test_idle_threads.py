"""Idle threads of GNU's OpenMP library are put to sleep, and nothing else changes."""

import json
import sys
from functools import cache
from typing import Any

import pytest
import torch

from semantic_ns import shared_cores
from semantic_ns.kernels import idle_threads
from semantic_ns.kernels.idle_threads import Crowding, SleepingPools, count_others, loaded_libraries
from support.fresh_process import TESTS, run_python, run_with_libraries

MAPS = """\
55e0 r--p 00000000 fe:00 1    /usr/bin/python3.11
7f00 r-xp 00000000 fe:00 2    /a folder/torch/lib/libgomp-a34b3233.so.1
7f01 r--p 00001000 fe:00 2    /a folder/torch/lib/libgomp-a34b3233.so.1
7f02 rw-p 00000000 00:00 0
7f03 r-xp 00000000 fe:00 3    /usr/lib/libgomp.so.1.0.0
7f04 r-xp 00000000 fe:00 4    /libgomp/libiomp5.so
7f05 r-xp 00000000 fe:00 5    [heap]
"""

SETUP = """
import json, os, threading
import numpy as np, torch
from semantic_ns import shared_cores
from support.parallel_kernel import add_sines

def run():
    sums = np.zeros(5, np.float32)
    add_sines(np.arange(10000, dtype=np.float32), sums)
    return sums.tobytes().hex()

def threads():
    return len(os.listdir("/proc/self/task"))

before = run(), threads()
"""
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts the threads of a Linux process")


def told(code: str, run: Any = run_with_libraries, **environment: str) -> Any:
    """What code prints as JSON at its end, in a process whose kernels have two threads unless told otherwise.

    By default its torch has one thread; `run_python` lets it begin with as many as the environment says.
    """
    cleared = {"OMP_WAIT_POLICY": "", "NUMBA_NUM_THREADS": "2", "PYTHONPATH": str(TESTS)}
    process = run(f"{SETUP}\n{code}", **cleared | environment)
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout.splitlines()[-1])


@cache
def told_of_sleep() -> dict[str, Any]:
    """What a process says in which idle threads were put to sleep, of its threads and of its kernels."""
    return told(
        "from semantic_ns.shared_cores import leave_cores_to_kernels\n"
        "leave_cores_to_kernels(); first = threads(); leave_cores_to_kernels(); second = threads()\n"
        "from semantic_ns.kernels.idle_threads import let_idle_threads_sleep\n"
        "daemons = [thread.daemon for thread in threading.enumerate() if thread is not threading.main_thread()]\n"
        "told = dict(first=first, second=second, cores=len(os.sched_getaffinity(0)), daemons=daemons,\n"
        "            libraries=let_idle_threads_sleep(), sum_before=before[0], threads_before=before[1], beside=[])\n"
        "beside = lambda: told['beside'].extend(run() for _ in range(50))\n"
        "others = [threading.Thread(target=beside) for _ in range(2)]\n"
        "for other in others: other.start()\n"
        "told['after'] = [run() for _ in range(50)]\n"
        "for other in others: other.join()\n"
        "print(json.dumps(told))"
    )


def test_libraries_are_found_once_each_by_the_name_of_the_file() -> None:
    assert loaded_libraries(MAPS) == ("/a folder/torch/lib/libgomp-a34b3233.so.1", "/usr/lib/libgomp.so.1.0.0")
    assert loaded_libraries("") == ()


def test_without_such_a_library_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idle_threads.numba, "get_num_threads", lambda: 2)
    monkeypatch.setattr(idle_threads, "_read", lambda _: "7f04 r-xp 0 fe:00 4 /lib/libiomp5.so\n")
    monkeypatch.setattr(idle_threads.threading, "Thread", None)
    assert idle_threads._sleep_for_good.__wrapped__() == ()
    assert idle_threads._watch.__wrapped__(2) == ()


@linux
def test_the_library_manages_more_threads_than_there_are_cores_and_is_asked_once() -> None:
    said = told_of_sleep()
    expected = said["threads_before"] + len(said["libraries"]) * (said["cores"] - 1) + 1
    assert said["first"] == said["second"] == expected
    assert len(said["libraries"]) >= 1
    assert said["daemons"] == [True]


@linux
def test_kernels_give_the_same_to_the_digit_on_the_main_thread_and_beside_it() -> None:
    said = told_of_sleep()
    assert len(said["beside"]) == 100
    assert {*said["after"], *said["beside"]} == {said["sum_before"]}


@linux
@pytest.mark.parametrize(
    "setting", [{"NUMBA_NUM_THREADS": "1"}, {"OMP_WAIT_POLICY": "active"}, {"GOMP_SPINCOUNT": "1000"}]
)
def test_one_thread_and_a_user_who_wants_them_to_spin_are_left_alone(setting: dict[str, str]) -> None:
    before, after, torch_threads = told(
        "shared_cores.leave_cores_to_kernels(); print(json.dumps([before[1], threads(), torch.get_num_threads()]))",
        **setting,
    )
    assert after == before
    assert torch_threads == 1


def test_torch_has_one_thread_also_after_numba_has_started_its_own() -> None:
    # Beside what nerfstudio imports, torch and numba share one OpenMP library.
    code = (
        "import json, torch; import nerfstudio.engine.trainer; from semantic_ns import shared_cores\n"
        "shared_cores.leave_cores_to_kernels(); numbers = [torch.get_num_threads()]\n"
        "import numba; numba.get_num_threads()\n"
        "print(json.dumps([*numbers, torch.get_num_threads()]))"
    )
    process = run_python(code, OMP_WAIT_POLICY="", OMP_NUM_THREADS="2", NUMBA_NUM_THREADS="2")
    assert process.returncode == 0, process.stderr
    assert json.loads(process.stdout.splitlines()[-1]) == [1, 1]


@linux
def test_torch_keeps_the_number_of_threads_that_it_was_told_also_after_kernels_have_run() -> None:
    code = "shared_cores.share_cores(); run(); print(json.dumps([torch.get_num_threads(), len(idle_threads())]))"
    watches = "idle_threads = lambda: [one for one in threading.enumerate() if one.name == 'watch of the cores']\n"
    assert told(watches + code, run_python, OMP_NUM_THREADS="1", NUMBA_NUM_THREADS="2") == [1, 1]
    assert told(watches + code, run_python, OMP_NUM_THREADS="2", NUMBA_NUM_THREADS="1") == [2, 1]


def test_a_model_that_left_the_cores_to_kernels_does_not_take_them_from_one_without(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("GOMP_SPINCOUNT", "1")  # no pool and no watch are wanted here
    monkeypatch.setattr(shared_cores, "_AT_START", 2)
    before = torch.get_num_threads()
    try:
        shared_cores.leave_cores_to_kernels()
        assert torch.get_num_threads() == 1
        shared_cores.share_cores()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@linux
def test_pools_that_are_removed_leave_no_thread_and_kernels_give_the_same() -> None:
    said = told(
        "import time; from semantic_ns.kernels.idle_threads import SleepingPools, _MAPS, _read, loaded_libraries\n"
        "pools, counts = SleepingPools(loaded_libraries(_read(_MAPS))), []\n"
        "for _ in range(3):\n"
        "    pools.add(); counts.append(threads()); pools.remove()\n"
        "    end = time.monotonic() + 20\n"
        "    while threads() > before[1] and time.monotonic() < end: pass\n"
        "    counts.append(threads())\n"
        "print(json.dumps([before[1], counts, before[0] == run()]))"
    )
    first, counts, are_same = said
    assert are_same
    assert counts[1::2] == [first] * 3
    assert min(counts[::2]) == max(counts[::2]) > first


def test_pools_are_there_while_they_are_wanted() -> None:
    made: list[str] = []
    pools = SleepingPools(["a", "b"], made.append)
    for are_wanted in (False, True, True, False, False, True):
        pools.follow(are_wanted)
    assert made == ["a", "b"] * 2
    pools.remove()


def test_others_are_the_threads_that_could_run_less_those_of_the_process() -> None:
    counts = "cpu 1 2\nctxt 9\nprocs_running 5\nprocs_blocked 7\n"
    own = ["11 (python) R 1 2", "12 (a (R) b) S 1 2", "13 (x) y) R 1", ""]
    assert count_others(counts, own) == 3
    assert count_others("", own) == 0


def test_idle_threads_sleep_once_others_miss_half_a_core_and_until_they_miss_less_than_a_quarter() -> None:
    crowding = Crowding(num_threads=2, num_cores=3)
    assert [crowding(1) for _ in range(20)] == [False] * 20  # one core is free
    assert [crowding(2) for _ in range(7)] == [False] * 5 + [True] * 2
    assert [crowding(1) for _ in range(12)] == [True] * 7 + [False] * 5
