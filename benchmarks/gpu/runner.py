"""Stages in processes of their own, each bounded in seconds: what ends one of them ends no other."""

import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from multiprocessing import connection
from typing import Any

from benchmarks.gpu.rows import Row, Rows, first_line, read_rows
from benchmarks.gpu.settings import NotPossibleError, Settings

_PATIENCE = 5.0
"""Seconds between a request to end and the end of a process."""
_HEAVY_MODULES = [
    "torch",
    "nerfstudio.scripts.train",
    "semantic_ns.methods.semantic_nerf.method",
    "torchmetrics",
    "numba",
]


@dataclass(frozen=True)
class Stage:
    """What is run in one process."""

    name: str
    function: str
    """`module:function`, imported in the process; it takes the settings and the rows."""
    seconds: float
    """Bound."""
    what: str
    """For `--help`."""
    in_background: bool = False
    """Started first, beside the stages that time nothing, and awaited by those that do."""
    is_timed: bool = True
    """Whether another process at work would spoil it."""
    environment: dict[str, str] = field(default_factory=dict)


@dataclass
class Outcome:
    """How a stage ended, with what it measured."""

    stage: str
    seconds: float
    reason: str | None
    """Why it did not end well, one sentence; None if it did."""
    rows: list[Row]


class Running:
    """A stage at work, for at most `bound` seconds.

    Args:
        stage: what to run.
        settings: of the run.
        seconds: its bound, not more than the stage's own.
    """

    def __init__(self, stage: Stage, settings: Settings, seconds: float) -> None:
        self.stage, self._settings = stage, settings
        self.bound = min(seconds, stage.seconds)
        for path in (settings.rows_of(stage.name), settings.log_of(stage.name)):
            path.unlink(missing_ok=True)
        self._start = time.monotonic()
        self._process = _context(settings, stage).Process(target=run_in_process, args=(stage, settings))
        self._process.start()
        self._ended: float | None = None
        threading.Thread(target=self._note_end, args=(self._process.sentinel,), daemon=True).start()

    def _note_end(self, sentinel: int) -> None:
        connection.wait([sentinel])
        self._ended = time.monotonic()

    def _seconds(self) -> float:
        return (self._ended or time.monotonic()) - self._start

    def wait(self) -> Outcome:
        """Wait for its end, or end it when its seconds are over."""
        self._process.join(max(0.0, self.bound - (time.monotonic() - self._start)))
        is_late = self._process.is_alive()
        self._end()
        rows = read_rows(self._settings.rows_of(self.stage.name))
        return Outcome(self.stage.name, self._seconds(), self._reason(is_late), rows)

    def stop(self, reason: str) -> Outcome:
        """End it now."""
        self._end()
        rows = read_rows(self._settings.rows_of(self.stage.name))
        return Outcome(self.stage.name, self._seconds(), reason, rows)

    def _end(self) -> None:
        """End the process and all that it started."""
        if self._process.is_alive():
            self._send(signal.SIGTERM)
            self._process.join(_PATIENCE)
        self._send(signal.SIGKILL)
        self._process.join(_PATIENCE)

    def _send(self, number: signal.Signals) -> None:
        if self._process.pid is None:
            return
        try:
            os.killpg(self._process.pid, number)
        except ProcessLookupError:  # it has ended, or has not come to make a group of its own
            with suppress(ProcessLookupError):
                self._process.kill()

    def _reason(self, is_late: bool) -> str | None:
        if is_late:
            return f"The stage was ended after its {self.bound:.0f} s; give it more with --seconds."
        status = self._process.exitcode
        if status == 0:
            return None
        said = self._settings.output / f"{self.stage.name}.reason"
        if said.exists():
            return said.read_text(encoding="utf8")
        if status is not None and status < 0:
            return f"The stage was killed by {signal.Signals(-status).name}; its log is {self.stage.name}.log."
        return f"The stage ended with status {status}; its log is {self.stage.name}.log."


def _context(settings: Settings, stage: Stage) -> Any:
    # A process that is forked from one with everything loaded starts at once, but may not have touched CUDA before.
    if settings.device == "cpu" and not stage.environment:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(_HEAVY_MODULES)
        return context
    return multiprocessing.get_context("spawn")


def run_in_process(stage: Stage, settings: Settings) -> None:
    """The life of a stage's process: its own group, its own log, its reason in a file if it fails."""
    os.setsid()
    os.environ.update(stage.environment)
    log = os.open(settings.log_of(stage.name), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(log, 1)
    os.dup2(log, 2)
    said = settings.output / f"{stage.name}.reason"
    said.unlink(missing_ok=True)
    module, _, name = stage.function.partition(":")
    try:
        check_device(settings)
        function: Callable[[Settings, Rows], None] = getattr(import_module(module), name)
        function(settings, Rows(settings, stage.name))
    except NotPossibleError as error:
        said.write_text(str(error), encoding="utf8")
        raise SystemExit(3) from error
    except BaseException as error:
        traceback.print_exc()
        said.write_text(f"{type(error).__name__}: {first_line(error)}", encoding="utf8")
        raise SystemExit(4) from error
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def check_device(settings: Settings) -> None:
    """Raise one sentence if there is no device of the kind that is asked for."""
    if settings.device == "cpu":
        return
    import torch

    if torch.version.cuda is None:
        raise NotPossibleError("This torch was built without CUDA; install one that was, or give --device cpu.")
    if not torch.cuda.is_available():
        reason = "no device was found"
        try:
            torch.cuda.init()
        except (RuntimeError, AssertionError) as error:
            reason = first_line(error)
        raise NotPossibleError(f"torch {torch.__version__} cannot use CUDA here ({reason}); give --device cpu.")


def run_stages(
    stages: Sequence[Stage], settings: Settings, budget: float, tell: Callable[[Outcome], None] = lambda _: None
) -> list[Outcome]:
    """Run stages one after the other; those in the background beside the untimed ones.

    Args:
        stages: in this order.
        settings: of the run.
        budget: seconds for all of them.
        tell: called with each outcome when it is there.
    """
    end = time.monotonic() + budget
    background = [Running(stage, settings, budget) for stage in stages if stage.in_background]
    outcomes: list[Outcome] = []

    def finish(running: Running) -> None:
        try:
            outcome, is_stopped = running.wait(), False
        except KeyboardInterrupt:
            outcome, is_stopped = running.stop("The run was stopped."), True
        outcomes.append(outcome)
        tell(outcome)
        if is_stopped:
            raise KeyboardInterrupt

    for stage in (stage for stage in stages if not stage.in_background):
        if stage.is_timed:
            while background:
                finish(background.pop(0))
        left = end - time.monotonic()
        if left <= 1.0:
            reason = "The seconds of the whole run were over before the stage began; give more with --budget."
            outcomes.append(Outcome(stage.name, 0.0, reason, []))
            tell(outcomes[-1])
            continue
        finish(Running(stage, settings, left))
    while background:
        finish(background.pop(0))
    return outcomes
