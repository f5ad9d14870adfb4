"""What a command said last: why it failed, in one sentence."""

import re

_MOST_SIGNS = 500
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_ERROR = re.compile(r"(?:[A-Za-z_]\w*\.)*[A-Za-z_]\w*(?:Error|Exception|Interrupt|Exit)\b")
"""The start of the last line of a traceback."""
_TRACEBACK = "Traceback (most recent call last)"
_PREFIX = "Error: "


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
