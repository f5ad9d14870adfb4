"""Becomes another program that ends when its parent ends: `python tied.py PARENT PROGRAM ARGUMENTS...`.

It is run as a file, so that it imports nothing but Python's own modules. Only Linux tells a process of its parent's
end; elsewhere the program runs on.
"""

import contextlib
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(parent: int, command: list[str]) -> None:
    """Ask for a SIGKILL at the end of the parent and become the command; end at once where it has ended already."""
    if sys.platform == "linux":
        import ctypes

        with contextlib.suppress(OSError, AttributeError):  # an unusual C library
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(128 + signal.SIGKILL)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
