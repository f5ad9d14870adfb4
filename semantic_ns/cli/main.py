"""What every `sns-*` command shares."""

import sys
from collections.abc import Callable

from semantic_ns.errors import SceneError


def run_command(function: Callable[[], None]) -> None:
    """Run a command; bad input ends it with one sentence on the error stream and exit status 1.

    Any other error is a fault of the program and keeps its traceback.
    """
    try:
        function()
    except SceneError as error:
        print(f"Error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
