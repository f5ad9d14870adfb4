"""Why a trial came to no end, in one line."""

import signal

from semantic_ns.jobs.last_words import last_error

_LOG_FOLLOWS = " and left no result; the last lines of its log:"
_TRACEBACK = "Traceback"


def how_it_ended(status: int, log: str, num_lines: int) -> str:
    """What is written of a process that left no result: how it ended, and below it the last lines of its log.

    Args:
        status: its exit status, or minus the number of the signal that ended it.
        log: all that it wrote.
        num_lines: how many lines of it are kept.
    """
    how = f"signal {-status}" if status < 0 else f"status {status}"
    if status == -signal.SIGKILL:
        how += ", which the system sends when memory is short,"
    return "\n".join([f"The process ended with {how}{_LOG_FOLLOWS}", *log.splitlines()[-num_lines:]])


def reason_of(error: str) -> str:
    """The reason in the error of a failed trial, in one line: how its process ended and what it said last, or why.

    Args:
        error: a sentence, a traceback, or what `how_it_ended` gives.
    """
    lines = error.strip().splitlines()
    if not lines:
        return "nothing is known"
    if lines[0].endswith(_LOG_FOLLOWS):
        how, said = lines[0].removesuffix(_LOG_FOLLOWS).rstrip(","), last_error("\n".join(lines[1:]))
        return f"{how}; it said last: {said}" if said else f"{how}; it said nothing"
    return last_error(error) if lines[0].startswith(_TRACEBACK) else " ".join(line.strip() for line in lines)
