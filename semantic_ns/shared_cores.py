"""How many threads torch has beside those of kernels, and whether they sleep while they are idle.

nerfstudio loads torch, and with it an OpenMP library, before its plugins: see `kernels/idle_threads.py`.
"""

import os

import torch

_AT_START = torch.get_num_threads()
"""Before kernels, or a model that leaves the cores to them, have set another number."""


def leave_cores_to_kernels() -> None:
    """Let torch use one thread, and the threads of numba's kernels sleep between two of them.

    The heavy work of a fused model is in the kernels, which use all cores. A second thread of torch sleeps between two
    operations then, and to wake it takes longer than most of what torch does in a step: 4 % of a step.
    """
    _start_kernel_threads(num_torch_threads=1)
    if _may_sleep():
        from semantic_ns.kernels import idle_threads  # loads numba, which registration must not

        idle_threads.let_idle_threads_sleep()


def share_cores() -> None:
    """Let torch use as many threads as it was told to, which sleep when idle while others want the cores.

    The heavy work of a model without kernels is torch's. It was told by OMP_NUM_THREADS, or its number is the one that
    it had at the start.
    """
    told = os.environ.get("OMP_NUM_THREADS", "")
    num_threads = int(told) if told.isdigit() and int(told) > 0 else _AT_START
    num_kernel_threads = _start_kernel_threads(num_threads)
    if _may_sleep():
        from semantic_ns.kernels import idle_threads

        idle_threads.let_idle_threads_sleep_beside_others(max(num_threads, num_kernel_threads))


def _start_kernel_threads(num_torch_threads: int) -> int:
    """Set the number of torch's threads for good; returns that of numba's.

    When numba starts its threads it sets their number in the OpenMP library, which is torch's, too.
    """
    import numba  # compiles nothing, but takes a second, which registration must not

    num_kernel_threads = numba.get_num_threads()
    torch.set_num_threads(num_torch_threads)
    return num_kernel_threads


def _may_sleep() -> bool:
    """Whether the threads of OpenMP libraries that are loaded already may sleep when idle.

    torch's library did not see the setting of `let_idle_threads_sleep`. A user who has threads spin
    (OMP_WAIT_POLICY=ACTIVE, or any GOMP_SPINCOUNT) is obeyed.
    """
    return os.environ.get("OMP_WAIT_POLICY", "").upper() != "ACTIVE" and "GOMP_SPINCOUNT" not in os.environ
