"""Stages of the GPU benchmark that go wrong in every way that a stage can."""

import os
import signal
import subprocess
import sys
import threading
from typing import Any

from benchmarks.gpu.rows import Rows
from benchmarks.gpu.settings import NotPossibleError, Settings


def good(settings: Settings, rows: Rows) -> None:
    """Measures something."""
    rows.add("one", value=1.5, device_of_run=settings.device)


def raises(settings: Settings, rows: Rows) -> None:
    """Measures something and fails."""
    good(settings, rows)
    raise ValueError("the second line\nis not shown")


def is_killed(settings: Settings, rows: Rows) -> None:
    """Measures something and is killed, as by the system when memory runs out."""
    good(settings, rows)
    os.kill(os.getpid(), signal.SIGKILL)


def is_late(settings: Settings, rows: Rows) -> None:
    """Measures something, starts a process that never ends, and never ends."""
    child: Any = subprocess.Popen([sys.executable, "-c", "import threading; threading.Event().wait()"])
    rows.add("child", pid=child.pid)
    (settings.output / "ready").open("w").close()  # a pipe, at whose other end the test waits
    threading.Event().wait()


def is_impossible(settings: Settings, rows: Rows) -> None:
    """Cannot be measured here."""
    raise NotPossibleError("There is no compiler here; install one.")


def has_too_little_memory(settings: Settings, rows: Rows) -> None:
    """The first measurement asks for more memory than there is, the second goes on."""
    import torch

    with rows.attempt("large"):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 900 GiB.")
    good(settings, rows)
