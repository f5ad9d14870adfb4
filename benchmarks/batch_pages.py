"""How large the tables and pages of a batch of many scenes are, and how long it takes to write them.

`python -m benchmarks.batch_pages --output FOLDER --scenes 1000000` writes those of simulated rows; called again, it
finds pages whose scenes did not change. Pictures are those of 20 drawn scenes, each drawn once, so that the time is
that of everything but drawing, which is told beside it.
"""

import argparse
import math
import resource
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from semantic_ns.io.text import markdown_table
from semantic_ns.scene_batch.cost_page import as_bytes
from semantic_ns.scene_batch.index_page import PAGE, PAGES
from semantic_ns.scene_batch.page import as_data, pictures_of, write_pages
from semantic_ns.scene_batch.records import Record
from semantic_ns.scene_batch.scene import SceneTask
from semantic_ns.scene_batch.table import CSV_FILE, MARKDOWN_FILE, Row, write_table

_NUM_DRAWN = 20
_HEIGHT, _WIDTH = 36, 144  # three images of 48x36 side by side
_NUM_CLASSES = 8


def draw_scenes(folder: Path) -> list[Path]:
    """Folders of scenes with the pictures that `ns-eval` leaves."""
    places = []
    for number in range(_NUM_DRAWN):
        generator = np.random.default_rng(number)
        place = folder / f"drawn_{number}/pictures"
        place.mkdir(parents=True, exist_ok=True)
        steps = generator.normal(0, 0.5, (_HEIGHT, _WIDTH, 3)).cumsum(0).cumsum(1)
        colors = generator.integers(0, 255, (_NUM_CLASSES, 3))
        classes = np.kron(generator.integers(0, _NUM_CLASSES, (_HEIGHT // 4, _WIDTH // 4)), np.ones((4, 4), int))
        Image.fromarray(np.clip(128 + steps, 0, 255).astype(np.uint8)).save(place / "eval_img_0000.png")
        Image.fromarray(colors[classes].astype(np.uint8)).save(place / "eval_semantics_0000.png")
        Image.fromarray(np.repeat(colors, 12, 0).astype(np.uint8)[:, None].repeat(80, 1)).save(
            place / "eval_legend.png"
        )
        places.append(place.parent)
    return places


class SimulatedRows:
    """Rows of scenes that nobody trained, made when they are asked for.

    Args:
        count: Their number.
        folders: Folders with pictures, which scenes take in turn.
    """

    def __init__(self, count: int, folders: list[Path]) -> None:
        self._count, self._folders = count, folders

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Row]:
        generator = np.random.default_rng(0)
        for number in range(self._count):
            name = f"house_{number // 100:05}__room_{number % 100:02}"
            task = SceneTask(
                name,
                Path("/scenes", name),
                self._folders[number % len(self._folders)],
                ("doctor", "train", "eval"),
                "m",
            )
            miou, error, luck = generator.beta(12, 3), generator.lognormal(-3.5, 0.6), generator.random()
            if luck < 0.02:
                reason = f"It ran out of memory: it used {8 + luck:.1f} GiB, and --memory-limit allows 8 GiB."
                ends = (Record("train", "failed", -9, (40.0,), 8.0, reason), Record("eval", "skipped"))
                yield Row(task, (Record("doctor", "done", 0, (5.0,), 0.5), *ends), {})
                continue
            records = [Record("doctor", "done", 0, (5.0,), 0.5), Record("train", "done", 0, (60.0,), 1.2)]
            scores = {"miou_present": float(miou), "miou": float(miou), "depth_l1": float(error)}
            scores["psnr"] = float(18 - 10 * math.log10(error))
            yield Row(task, (*records, Record("eval", "done", 0, (30.0,), 1.1)), scores)


def measure(output: Path, count: int) -> str:
    """Write tables and pages; returns a table of their sizes and times."""
    folders = draw_scenes(output)
    started = time.process_time()
    for folder in folders:
        for path in pictures_of(folder):
            as_data(path)
    drawing = (time.process_time() - started) / len(folders)
    rows, draw = SimulatedRows(count, folders), cache(as_data)
    made = _timed(lambda: sum(1 for _ in rows))
    tables = _timed(lambda: write_table(output, rows))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    written = _timed(lambda: write_pages(output, rows, "Simulated scenes", draw))
    pages = [path.stat().st_size for path in (output / PAGES).iterdir()]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return markdown_table(
        ("what", "size", "seconds (of the processor)"),
        [
            ("making the rows", "-", made),
            *(
                (name, as_bytes((output / name).stat().st_size), f"{tables} for both tables")
                for name in (CSV_FILE, MARKDOWN_FILE)
            ),
            (PAGE, as_bytes((output / PAGE).stat().st_size), "in the next row"),
            (
                f"{len(pages):,} pages, the largest {as_bytes(max(pages))}",
                as_bytes(sum(pages)),
                f"{written}, and drawing ({drawing * count:.0f})",
            ),
            ("largest memory of the process, and before the pages", f"{peak:.3f} and {before:.3f} GiB", "-"),
        ],
    )


def _timed(work: Callable[[], object]) -> str:
    """Seconds on the clock and of the processor."""
    clock, used = time.perf_counter(), time.process_time()
    work()
    return f"{time.perf_counter() - clock:.0f} ({time.process_time() - used:.0f})"


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="new folder")
    parser.add_argument("--scenes", type=int, default=100_000, help="number of simulated scenes")
    given = parser.parse_args()
    print(measure(given.output.absolute(), given.scenes))


if __name__ == "__main__":
    main()
