"""Why a step failed, in one sentence: its limit, the signal that ended it, or the last words of its command."""

import re
import signal

from semantic_ns.jobs.processes import Ending, Limits

_MOST_SIGNS = 500
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_ERROR = re.compile(r"(?:[A-Za-z_]\w*\.)*[A-Za-z_]\w*(?:Error|Exception|Interrupt|Exit)\b")
"""The start of the last line of a traceback."""
_MEMORY = re.compile(r"MemoryError|OutOfMemory|bad_alloc|[Cc]an(?:'t|not) allocate memory|out of memory")
_TRACEBACK = "Traceback (most recent call last)"
_PREFIX = "Error: "
GIB = 2**30


def reason_of(ending: Ending, limits: Limits, log: str) -> str:
    """Why a step failed.

    Args:
        ending: How its process ended.
        limits: What it was allowed to use.
        log: What its command wrote.
    """
    peak = f"{ending.peak_bytes / GIB:.1f} GiB"
    if ending.cause == "time":
        return f"It was ended at the time limit of {(limits.seconds or 0) / 60:g} minutes; raise --time-limit to go on."
    if ending.cause == "memory":
        allowed = f"{(limits.memory_bytes or 0) / GIB:g} GiB"
        return f"It ran out of memory: it used {peak}, and --memory-limit allows {allowed}."
    if ending.status < 0:
        hint = f", which the system sends when memory is short; it used {peak}" if ending.status == -9 else ""
        return f"It was ended by {_name(-ending.status)}{hint}."
    last = last_error(log)
    if _MEMORY.search(last):
        return f"It ran out of memory ({peak} used): {last}"
    return last or f"It ended with status {ending.status} and said nothing."


def _name(number: int) -> str:
    try:
        return f"signal {number} ({signal.Signals(number).name})"
    except ValueError:
        return f"signal {number}"


def last_error(log: str) -> str:
    """The last error in what a command wrote: its sentence, or the last line of a traceback; empty without a line."""
    lines = [line.rstrip() for line in _ESCAPES.sub("", log).replace("\r", "\n").splitlines() if line.strip()]
    if not lines:
        return ""
    said = [line for line in lines if line.startswith(_PREFIX)]
    if said:
        return _shortened(said[-1].removeprefix(_PREFIX))
    if any(_TRACEBACK in line for line in lines):
        raised = [line for line in lines if _ERROR.match(line)]
        if raised:
            return _shortened(raised[-1])
    return _shortened(lines[-1])


def _shortened(line: str) -> str:
    line = line.strip()
    return line if len(line) <= _MOST_SIGNS else f"{line[: _MOST_SIGNS - 3]}..."
