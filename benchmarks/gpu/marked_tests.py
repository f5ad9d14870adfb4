"""Stage `tests`: the tests that are skipped without a CUDA device."""

import re
import subprocess
import sys
from importlib.util import find_spec

from benchmarks.gpu import ROOT
from benchmarks.gpu.rows import Rows
from benchmarks.gpu.settings import NotPossibleError, Settings

_COUNT = re.compile(r"(\d+) (passed|failed|skipped|errors?|deselected)")


def measure(settings: Settings, rows: Rows) -> None:
    """Run `pytest -m cuda` on the device; where there is none, see that its tests are found and skipped."""
    run("tests marked cuda", "tests/encodings/test_hash_grid_triton.py", settings, rows)


def run(name: str, path: str, settings: Settings, rows: Rows) -> None:
    """One row for the marked tests of a file."""
    if find_spec("pytest") is None:
        raise NotPossibleError("The tests need pytest, which is not installed.")
    chosen = ["-k", "empty_batch"] if settings.tiny else []
    command = [
        sys.executable, "-W", "ignore", "-m", "pytest", "-q", "-m", "cuda", "-p", "no:cacheprovider",
        # Without the shape checks, whose package need not be there.
        "-o", "addopts=", "-o", "filterwarnings=", *chosen, path,
    ]  # fmt: skip
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    print(process.stdout[-20_000:], process.stderr[-5_000:])
    lines = process.stdout.splitlines() or [""]
    counts = {kind: int(number) for number, kind in _COUNT.findall(lines[-1])}
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    is_run = counts.get("passed", 0) > 0 or settings.device == "cpu"
    rows.add(name, passed=process.returncode in (0, 5) and is_run, counts=counts, failed=failed,
             said=lines[-1][:200])  # fmt: skip
