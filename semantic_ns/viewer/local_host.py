"""`ns-viewer` listens to this machine alone when it opens a run of this package, unless it is told a host."""

from collections.abc import Sequence
from pathlib import Path

from semantic_ns.run_paths import option_value

_PROGRAMS = ("ns-viewer", "run_viewer")
_HOST, _LOAD = "--viewer.websocket-host", "--load-config"
_OWN_CLASS = "semantic_ns."


def with_local_host(arguments: Sequence[str]) -> list[str]:
    """The command line of `ns-viewer` with the loopback as its host; every other command line as it is.

    nerfstudio's viewer listens to the whole network by default. As it takes the host from its own command line and not
    from the run, the run's configuration cannot say otherwise.

    Args:
        arguments: command line, with the program's name first.
    """
    arguments = list(arguments)
    if not arguments or Path(arguments[0]).stem not in _PROGRAMS or option_value(_HOST, arguments) is not None:
        return arguments
    config = option_value(_LOAD, arguments)
    return [*arguments, _HOST, "127.0.0.1"] if config is not None and _is_own_run(Path(config)) else arguments


def _is_own_run(config: Path) -> bool:
    try:
        return _OWN_CLASS in config.read_text(encoding="utf8", errors="replace")
    except OSError:
        return False  # nerfstudio says what is wrong with it
