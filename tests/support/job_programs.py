"""Programs that stand for the heavy commands of a job, and what they are told."""

import sys
from pathlib import Path

HANG = "import signal; signal.pause()"
GROW = "import time\nheld = []\nwhile True:\n    held.append(b'x' * 2**22)\n    time.sleep(0.002)"


def python(code: str, *arguments: str) -> list[str]:
    return [sys.executable, "-S", "-c", code, *arguments]


def wait_until_ended(process: int) -> None:
    """Wait for a process that is no child of this one; the caller's own time limit ends the wait."""
    while not is_ended(process):
        pass


def is_ended(process: int) -> bool:
    """Whether a process is gone or waits for its parent to notice its end."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True
