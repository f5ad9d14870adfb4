"""What becomes of damaged scenes and annotations: `python -m benchmarks.damaged_files --count 500`.

Writes a small sample for each reader, damages one of its files at random (see `tests/support/damage.py`), reads it
whole, and prints in markdown how many gave one sentence and how many a right result, the longest time and the memory
taken. Any other end is printed with its seed, as are files that appear or change outside the folder that is read, and
makes the exit status 1.
"""

import argparse
import contextlib
import io
import random
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from semantic_ns.io.text import markdown_table
from support import annotation_samples, scene_samples
from support.damage import damage
from support.tool_files import HEIGHT, WIDTH

SHARE_OF_TEXTS = 0.6
HEADER = ["reader", "inputs", "one sentence", "right", "other", "longest", "memory on top"]


@dataclass(frozen=True)
class Reader:
    """A reader of files.

    Attributes:
        write: function that writes a sound sample into a folder and returns what the reader is given of it.
        outcome: function that reads what it is given, beside a colour image of 48x36 pixels, and returns `right`, or
            the sentence of a refusal.
        may_write: whether it keeps what it unpacks inside the folder of the sample.
    """

    write: Callable[[Path], Path]
    outcome: Callable[[Path, Path], str]
    may_write: bool


def _scene(name: str) -> Reader:
    return Reader(scene_samples.SAMPLES[name], lambda data, _: scene_samples.outcome(data), may_write=name == "sens")


def _annotations(name: str) -> Reader:
    def write(folder: Path) -> Path:
        annotation_samples.SAMPLES[name](folder)
        return folder

    return Reader(write, annotation_samples.outcome, may_write=False)


READERS = {f"scene: {name}": _scene(name) for name in scene_samples.SAMPLES} | {
    f"annotations: {name}": _annotations(name) for name in annotation_samples.SAMPLES
}


def _files(folder: Path) -> dict[Path, tuple[int, int]]:
    """Size and time of the last change of each file."""
    found = [path for path in folder.rglob("*") if path.is_file()]
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in found}


def measure(name: str, count: int) -> tuple[list[str], int]:
    """A row of the table for one reader, and how many inputs ended in another way."""
    reader = READERS[name]
    num_right = num_other = 0
    longest_s = 0.0
    with tempfile.TemporaryDirectory() as temporary:
        # Two folders deep, so that a path that leads upwards ends in a folder that is looked at.
        sample, place = Path(temporary) / "sample", Path(temporary) / "upper" / "lower"
        folder, color = place / "in", place / "color.png"
        for each in (sample, place):
            each.mkdir(parents=True)
        Image.new("RGB", (WIDTH, HEIGHT)).save(color)
        data = reader.write(sample).relative_to(sample)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for seed in range(count):
            shutil.copytree(sample, folder)
            changed = damage(folder, random.Random(f"{name.partition(': ')[2]} {seed}"), SHARE_OF_TEXTS)
            kept = _files(Path(temporary))
            start = time.perf_counter()
            try:
                with contextlib.redirect_stdout(io.StringIO()):
                    is_right = reader.outcome(folder / data, color) == "right"
                written = dict(_files(Path(temporary)).items() ^ kept.items())
                outside = [path for path in written if not (reader.may_write and path.is_relative_to(folder))]
                if outside:
                    raise AssertionError(f"{outside[0]} was written")
                num_right += is_right
            except Exception as error:  # any other end is what is looked for
                num_other += 1
                print(f"{name}, seed {seed}, {changed.name}: {type(error).__name__} {error}"[:300], flush=True)
            longest_s = max(longest_s, time.perf_counter() - start)
            shutil.rmtree(folder)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    num_sentences = count - num_right - num_other
    numbers = [str(number) for number in (count, num_sentences, num_right, num_other)]
    return [name, *numbers, f"{longest_s:.1f} s", f"{grown:.0f} MiB"], num_other


def main() -> None:
    """Measure every reader, or those that are named."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(":")[0])
    parser.add_argument("--count", type=int, default=60, help="inputs of each reader")
    parser.add_argument("readers", nargs="*", help=f"some of {', '.join(READERS)}; all by default")
    options = parser.parse_args()
    measured = []
    for name in options.readers or READERS:
        measured.append(measure(name, options.count))
        print(" | ".join(measured[-1][0]), file=sys.stderr, flush=True)
    print(markdown_table(HEADER, [row for row, _ in measured]))
    sys.exit(any(num_other for _, num_other in measured))


if __name__ == "__main__":
    main()
