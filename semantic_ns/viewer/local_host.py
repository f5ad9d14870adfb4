"""`ns-viewer` listens to this machine alone when it opens a run of this package, unless it is told a host."""

from collections.abc import Sequence
from pathlib import Path

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
    if not arguments or Path(arguments[0]).stem not in _PROGRAMS or _value_of(_HOST, arguments) is not None:
        return arguments
    config = _value_of(_LOAD, arguments)
    return [*arguments, _HOST, "127.0.0.1"] if config is not None and _is_own_run(Path(config)) else arguments


def _value_of(option: str, arguments: Sequence[str]) -> str | None:
    """Value of an option in any of its spellings (hyphens or underscores, a space or `=`); the last one counts."""
    found = None
    for place, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name.replace("_", "-") == option:
            found = value if equals else "".join(arguments[place + 1 : place + 2])
    return found


def _is_own_run(config: Path) -> bool:
    try:
        return _OWN_CLASS in config.read_text(encoding="utf8", errors="replace")
    except OSError:
        return False  # nerfstudio says what is wrong with it
