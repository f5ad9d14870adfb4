"""Python code in a process of its own: what is imported, in which order, is only visible there."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests"

HIDE_PLUGIN = """
import importlib.metadata
_original = importlib.metadata.entry_points

def _without_ours(**query):
    points = _original(**query)
    if "group" not in query:
        return points  # in Python before 3.12 a dictionary; nerfstudio asks by group
    return importlib.metadata.EntryPoints(point for point in points if not point.value.startswith("semantic_ns."))
importlib.metadata.entry_points = _without_ours
"""
"""Code after which nerfstudio behaves as if this package were not installed."""


def _threads() -> str:
    """As many as torch has; `conftest` allows kernels more."""
    return os.environ.get("OMP_NUM_THREADS") or os.environ.get("NUMBA_NUM_THREADS") or str(os.cpu_count())


def run_python(code: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run code in a fresh interpreter, in the repository's root; its exit status is for the caller to look at."""
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=ROOT,
        env={**os.environ, "NUMBA_NUM_THREADS": _threads(), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


def last_line(code: str) -> str:
    """Return the last line that code prints; it must end well."""
    process = run_python(code)
    assert process.returncode == 0, process.stderr
    return process.stdout.splitlines()[-1]


def loaded_after(statement: str) -> set[str]:
    """Names of all modules that a fresh process holds after a statement."""
    return set(last_line(f"import sys\n{statement}\nprint()\nprint(*sys.modules)").split())
