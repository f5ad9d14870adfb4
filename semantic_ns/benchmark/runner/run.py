"""Runs the cells of a benchmark that have no result yet."""

import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

from semantic_ns.benchmark.runner.backend import Backend
from semantic_ns.benchmark.runner.cells import Cell, State, cell_folder, read_result, state_of, write_cell


def run_cells(
    cells: Sequence[Cell], output: Path, backend: Backend, say: Callable[[str], None] = print
) -> Counter[State]:
    """Train what is not done: cells that failed before or were left half-finished start over.

    Args:
        cells: what the benchmark consists of.
        output: its folder; cells lie in `cells/<key>/`.
        backend: where they are trained.
        say: told a sentence for each cell that ends.

    Returns:
        How many of the cells are done, failed, and open (interrupted) now.
    """
    waiting = [cell for cell in cells if state_of(cell_folder(output, cell)) != "done"]
    say(f"{len(cells)} cells, {len(cells) - len(waiting)} of them done before.")
    for cell in waiting:
        write_cell(cell_folder(output, cell), cell)
    with _sigterm_as_exit():
        for number, folder in enumerate(backend.run([cell_folder(output, cell) for cell in waiting]), 1):
            say(f"{number}/{len(waiting)} {folder.name}: {_told(folder)}")
    return Counter(state_of(cell_folder(output, cell)) for cell in cells)


def _told(folder: Path) -> str:
    result = read_result(folder)
    if result is None:
        return "interrupted"
    if result["state"] == "failed":
        return f"failed: {result['error'].strip().splitlines()[-1]}"
    scores = [
        f"{poses} {result['scores'][poses]['miou_present']:.3f}"
        for poses in ("test", "train")
        if result["scores"][poses].get("miou_present") is not None
    ]
    return f"done in {result['training_seconds']:.0f} s of training; miou_present: {', '.join(scores) or 'no labels'}"


@contextmanager
def _sigterm_as_exit() -> Iterator[None]:
    """Let SIGTERM end the benchmark as Ctrl-C does, so that it does not leave trainings behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, frame: FrameType | None) -> NoReturn:
        del frame
        raise SystemExit(128 + number)

    previous = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
