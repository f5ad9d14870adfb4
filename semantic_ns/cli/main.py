"""What every `sns-*` command shares."""

import sys
from collections.abc import Callable

from semantic_ns.commands import sentence_about_unwritable_place
from semantic_ns.errors import SceneError


def run_command(function: Callable[[], None]) -> None:
    """Run a command; bad input, or a place that cannot be written, ends it with one sentence and exit status 1.

    Any other error is a fault of the program and keeps its traceback.
    """
    try:
        function()
    except (SceneError, OSError) as error:
        sentence = str(error) if isinstance(error, SceneError) else sentence_about_unwritable_place(error)
        if sentence is None:
            raise
        print(f"Error: {sentence}", file=sys.stderr)
        raise SystemExit(1) from None
