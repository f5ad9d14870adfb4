"""Why a step failed, in one sentence: its limit, the signal that ended it, or the last words of its command."""

import re
import signal

from semantic_ns.jobs.last_words import last_error
from semantic_ns.jobs.processes import Ending, Limits

_MEMORY = re.compile(r"MemoryError|OutOfMemory|bad_alloc|[Cc]an(?:'t|not) allocate memory|out of memory")
GIB = 2**30


def reason_of(ending: Ending, limits: Limits, log: str, goes_on: bool = False) -> str:
    """Why a step failed.

    Args:
        ending: How its process ended.
        limits: What it was allowed to use.
        log: What its command wrote.
        goes_on: Whether the next attempt goes on where this one was ended.
    """
    peak = f"{ending.peak_bytes / GIB:.1f} GiB"
    if ending.cause == "time":
        ended = f"It was ended at the time limit of {(limits.seconds or 0) / 60:g} minutes"
        if goes_on:
            return f"{ended}; the same command goes on from its checkpoint."
        return f"{ended}, and the next attempt starts over; raise --time-limit."
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
