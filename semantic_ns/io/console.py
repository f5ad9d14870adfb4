"""What the package tells the user while it works."""

from rich.console import Console
from rich.markup import escape


def announce(speaker: str, text: str) -> None:
    """Print one line: who speaks (a dataparser, a stage of the training), and what it chose or found."""
    Console(soft_wrap=True).print(f"[bold green]{escape(speaker)}[/]: {escape(text)}", highlight=False)
