"""How long a session with many marks takes to open, with and without the columns that are kept beside its journal.

The marks are dabs of a radius of 4 pixels at random places, of random classes. The time is that from a surface in
memory to the labels of the first frame, where the finer surface is left out: on the clock, and of the processor.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.console import Console

from semantic_ns.io.text import markdown_table
from semantic_ns.labelling.marks import Mark
from semantic_ns.labelling.opening import label_surfaces
from semantic_ns.labelling.session import LabelSession
from semantic_ns.labelling.surface import LabelSurface

CONSOLE = Console(soft_wrap=True, highlight=False)


def mark_at_random(surface: LabelSurface, folder: Path, num_marks: int) -> np.ndarray:
    """A session with many marks; the labels of its voxels."""
    rng, session = np.random.default_rng(0), LabelSession(surface, folder)
    ids = [entry.id for entry in session.classes]
    for number in range(num_marks):
        frame = int(rng.integers(len(surface.frames)))
        info = surface.frames[frame]
        shape = {"kind": "click", "x": rng.uniform(0, info.width), "y": rng.uniform(0, info.height), "radius": 4.0}
        session.add_mark(
            Mark.from_json({"frame": frame, "class_id": int(rng.choice(ids)), "shape": shape}), "a", number
        )
    session.wait_for_appearance()
    labels = session.voxel_labels()
    session.close()
    return labels


def seconds_to_open(surface: LabelSurface, folder: Path, expected: np.ndarray) -> tuple[float, float]:
    """The time until the first frame can be shown.

    Raises:
        ValueError: if the voxels have other labels than before.
    """
    started = time.perf_counter(), time.process_time()
    session = LabelSession(surface, folder)
    session.labels(0)
    seconds = time.perf_counter() - started[0], time.process_time() - started[1]
    session.wait_for_appearance()
    is_same = bool((session.voxel_labels() == expected).all())
    session.close()
    if not is_same:
        raise ValueError("the session that was opened again has other labels")
    return seconds


def main() -> None:
    """Time the opening on kept surfaces of a run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--load-config", type=Path, required=True, help="config.yml of a trained run")
    parser.add_argument("--voxels", nargs="+", type=int, default=[20_000], help="of the surface, about")
    parser.add_argument("--marks", nargs="+", type=int, default=[500], help="of the session")
    options = parser.parse_args()
    rows = []
    for surface in label_surfaces(options.load_config, options.voxels):
        for num_marks in options.marks:
            with tempfile.TemporaryDirectory() as place:
                folder = Path(place)
                labels = mark_at_random(surface, folder, num_marks)
                kept = seconds_to_open(surface, folder, labels)
                size = sum(path.stat().st_size for path in folder.glob("columns_*.bin"))
                for path in folder.glob("columns_*.bin"):
                    path.unlink()
                anew = seconds_to_open(surface, folder, labels)
            times = (f"{clock:.1f} ({processor:.1f})" for clock, processor in (kept, anew))
            rows.append([str(surface.graph.num_nodes), str(num_marks), *times, f"{size / 1e6:.0f}"])
    CONSOLE.print(
        markdown_table(["voxels", "marks", "s with kept columns (of the processor)", "s without", "MB kept"], rows),
        markup=False,
    )


if __name__ == "__main__":
    main()
