"""What every `sns-*` command shares."""

import sys
from collections.abc import Callable
from pathlib import Path

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


def refuse_missing_run(load_config: Path) -> None:
    """Check `--load-config` before anything slow is imported.

    Raises:
        SceneError: if there is no such file.
    """
    if not load_config.is_file():
        raise SceneError(
            f"Expected the config.yml of a training run, found no file {load_config}; "
            "ns-train prints its path when it ends."
        )
