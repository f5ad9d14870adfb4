"""How long a person waits in `sns-label`: for the labels after a stroke, for undo, and for pictures of the free view.

The command runs on the kept surface of a run, and its page in a headless Chromium on the same cores (1280x720, pixel
ratio 2). Random strokes of 20 pixels are drawn on random frames with the first classes, and then taken back. The page
itself takes the times, as it does for everybody. Pictures of the free view are those from the poses of random frames,
at the width that the page asks for while something moves and at that of rest.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from rich.console import Console

from semantic_ns.errors import SceneError
from semantic_ns.io.writing import write_json

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from support.label_page import CONTROL, LabelPage, open_browser

CONSOLE = Console(soft_wrap=True, highlight=False)
LENGTH = 20.0
"""Of a stroke, in pixels of the image."""
NUM_CLASSES = 9
VIEW_WIDTHS = (256, 640)
"""Of pictures of the free view: while it moves, and at rest."""
STEPS = 4
"""Moves of the pointer in a stroke."""


def strokes(number: int, size: tuple[int, int], seed: int) -> Float[ndarray, "strokes 2 2"]:
    """First and last place (x, y) of strokes within an image of a width and a height, each `LENGTH` long."""
    rng, (width, height) = np.random.default_rng(seed), size
    angle = rng.uniform(0, 2 * np.pi, number)
    half = LENGTH / 2 * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    margin = LENGTH / 2 + 1
    middle = rng.uniform((margin, margin), (width - margin, height - margin), (number, 2))
    return np.stack([middle - half, middle + half], axis=1)


def shown(milliseconds: "list[float]") -> str:
    """The median, 90 % and the worst."""
    return ", ".join(f"{value:.0f}" for value in (*np.quantile(milliseconds, (0.5, 0.9)), max(milliseconds))) + " ms"


@contextmanager
def labelling(arguments: "list[str]") -> Iterator[str]:
    """The address of the page of a `sns-label` with these arguments.

    Raises:
        SceneError: if it ends before it has one.
    """
    command = [sys.executable, "-m", "semantic_ns.cli.label", *arguments]
    environment = os.environ | {"PYTHONUNBUFFERED": "1", "COLUMNS": "500"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as process:
        try:
            assert process.stdout is not None
            lines = []
            for line in process.stdout:
                lines.append(line)
                if address := re.search(r"http://\S+token=\S+", line):
                    yield address[0]
                    return
            raise SceneError(f"Expected the address of a page, found {''.join(lines[-5:])!r}.")
        finally:
            process.terminate()


def session(page: LabelPage, number: int, undone: int, seed: int) -> tuple[list[float], list[float]]:
    """Milliseconds of strokes on random frames, and of undoing the last of them."""
    inside: Any = page.page
    num_frames = inside.value("snsLabel.store.state.frames.length")
    rng = np.random.default_rng(seed)
    size = inside.value("[snsLabel.view.picture.width, snsLabel.view.picture.height]")
    for ends in strokes(number, size, seed):
        inside.value(f"snsLabel.goTo({int(rng.integers(num_frames))})")
        page.wait_until_saved()
        page.keys(str(1 + int(rng.integers(NUM_CLASSES))))
        page.stroke(*[tuple(ends[0] + share * (ends[1] - ends[0])) for share in np.linspace(0, 1, STEPS)])
        page.wait_until_saved()
    drawn = inside.value("snsLabel.timings.slice()")
    for _ in range(undone):
        page.keys("z", modifiers=CONTROL)
        page.wait_until_saved()
    return drawn, inside.value("snsLabel.timings.slice()")[len(drawn) :]


def views(page: LabelPage, number: int, seed: int) -> dict[str, list[float]]:
    """Milliseconds until a picture of the free view can be drawn, from the poses of random frames, by width."""
    inside: Any = page.page
    num_frames = inside.value("snsLabel.store.state.frames.length")
    rng = np.random.default_rng(seed)
    found: dict[str, list[float]] = {str(width): [] for width in VIEW_WIDTHS}
    for frame in rng.integers(num_frames, size=number):
        inside.value(f"snsLabel.goTo({int(frame)})")
        page.wait_until_saved()
        inside.value("snsLabel.free.enter()")
        for width in VIEW_WIDTHS:
            rendered = (
                f"const t = performance.now(); await snsLabel.free.render({width}); return performance.now() - t;"
            )
            found[str(width)].append(inside.value(f"(async () => {{ {rendered} }})()"))
        inside.value("snsLabel.free.leave()")
    return found


def main() -> None:
    """Draw and undo in the page of a run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--load-config", type=Path, required=True, help="config.yml of a trained run")
    parser.add_argument("--voxels", type=int, nargs="+", default=[20_000, 60_000], help="of the surface, about")
    parser.add_argument("--strokes", type=int, default=100, help="how many are drawn")
    parser.add_argument("--undone", type=int, default=20, help="how many are taken back")
    parser.add_argument("--views", type=int, default=20, help="poses of the free view")
    parser.add_argument("--seed", type=int, default=0, help="of strokes, frames and classes")
    parser.add_argument("--no-appearance", action="store_true", help="without what looks alike")
    parser.add_argument("--output", type=Path, default=None, help="JSON file to write")
    options = parser.parse_args()
    found = {}
    for voxels in options.voxels:
        with tempfile.TemporaryDirectory() as folder, open_browser(60) as another:
            run = ["--load-config", str(options.load_config), "--voxels", str(voxels), "--output-dir", folder]
            run += ["--appearance", str(not options.no_appearance)]
            with labelling([*run, "--port", "0", "--field", "False"]) as address:
                page = LabelPage(another())
                page.open(address, ratio=2.0)
                drawn, undone = session(page, options.strokes, options.undone, options.seed)
                seen = views(page, options.views, options.seed) if options.views else {}
        found[voxels] = {"marks_ms": drawn, "undo_ms": undone, "views_ms": seen}
        CONSOLE.print(f"{voxels} voxels: a mark {shown(drawn)}, undo {shown(undone)} (median, 90 %, worst)")
        for width, milliseconds in seen.items():
            CONSOLE.print(f"{voxels} voxels: the free view {width} pixels wide {shown(milliseconds)}")
    if options.output is not None:
        write_json(options.output, found)


if __name__ == "__main__":
    main()
