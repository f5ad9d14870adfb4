"""What becomes of damaged scenes: `python -m benchmarks.damaged_files --count 500`.

Writes a small scene for each reader, damages one of its files at random (see `tests/support/damage.py`), reads it
whole, and prints in markdown how many gave one sentence and how many a right result, the longest time and the memory
taken. Any other end is printed with its seed, and makes the exit status 1.
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
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from semantic_ns.io.text import markdown_table
from support.damage import damage
from support.scene_samples import SAMPLES, outcome

SHARE_OF_TEXTS = 0.6


def measure(name: str, count: int) -> tuple[list[str], int]:
    """A row of the table for one reader, and how many inputs ended in another way."""
    num_right = num_other = 0
    longest_s = 0.0
    with tempfile.TemporaryDirectory() as temporary:
        sample, folder = Path(temporary) / "sample", Path(temporary) / "in"
        sample.mkdir()
        data = SAMPLES[name](sample).relative_to(sample)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for seed in range(count):
            shutil.copytree(sample, folder)
            changed = damage(folder, random.Random(f"{name} {seed}"), SHARE_OF_TEXTS)
            start = time.perf_counter()
            try:
                with contextlib.redirect_stdout(io.StringIO()):
                    num_right += outcome(folder / data) == "right"
            except Exception as error:  # any other end is what is looked for
                num_other += 1
                print(f"{name}, seed {seed}, {changed.name}: {type(error).__name__} {error}"[:300])
            longest_s = max(longest_s, time.perf_counter() - start)
            shutil.rmtree(folder)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    num_sentences = count - num_right - num_other
    row = [
        name,
        str(count),
        str(num_sentences),
        str(num_right),
        str(num_other),
        f"{longest_s:.1f} s",
        f"{grown:.0f} MiB",
    ]
    return row, num_other


def main() -> None:
    """Measure every reader, or those that are named."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(":")[0])
    parser.add_argument("--count", type=int, default=60, help="inputs of each reader")
    parser.add_argument("readers", nargs="*", help=f"some of {', '.join(SAMPLES)}; all by default")
    options = parser.parse_args()
    measured = [measure(name, options.count) for name in options.readers or SAMPLES]
    header = ["scene", "inputs", "one sentence", "right", "other", "longest", "memory on top"]
    print(markdown_table(header, [row for row, _ in measured]))
    sys.exit(any(num_other for _, num_other in measured))


if __name__ == "__main__":
    main()
