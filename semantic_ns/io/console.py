"""What the package tells the user while it works."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from rich.console import Console
from rich.markup import escape

_IS_ROUTINE_LEFT_OUT = ContextVar("_IS_ROUTINE_LEFT_OUT", default=False)


def announce(speaker: str, text: str, is_routine: bool = False) -> None:
    """Print one line: who speaks (a dataparser, a stage of the training), and what it chose or found.

    Args:
        speaker: who speaks.
        text: what is said.
        is_routine: whether the line comes with every scene, see `without_routine`.
    """
    if is_routine and _IS_ROUTINE_LEFT_OUT.get():
        return
    Console(soft_wrap=True).print(f"[bold green]{escape(speaker)}[/]: {escape(text)}", highlight=False)


def tracked(description: str) -> Callable[[Sequence[Any]], Iterator[Any]]:
    """What wraps a list to show how far a loop over it is.

    Args:
        description: what the loop does.
    """
    from rich.progress import track

    def wrap(items: Sequence[Any]) -> Iterator[Any]:
        yield from track(items, description)

    return wrap


@contextmanager
def without_routine() -> Iterator[None]:
    """Leave out lines that come with every scene, where a hundred scenes are read; what is special is still said."""
    before = _IS_ROUTINE_LEFT_OUT.set(True)
    try:
        yield
    finally:
        _IS_ROUTINE_LEFT_OUT.reset(before)
