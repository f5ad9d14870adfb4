"""Python code in a process of its own: what is imported, in which order, is only visible there."""

import multiprocessing
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest.mock import patch

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


def run_warm(code: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run code in a process that has imported nerfstudio and this package, with one thread; else as `run_python`.

    It is forked from one that does nothing else, which saves seconds of imports where these are not what is tested.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_HEAVY)  # of no effect from the second time on
    with tempfile.TemporaryDirectory() as folder:
        printed = [Path(folder, name) for name in ("stdout", "stderr")]
        process = context.Process(target=_execute, args=(code, environment, *printed))
        with patch.dict(os.environ, _ONE_THREAD):  # read when numba and torch are imported
            process.start()
        process.join(600)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired(code, 600)
        return subprocess.CompletedProcess(code, process.exitcode, *(path.read_text() for path in printed))


_ONE_THREAD = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
"""No thread may have been started by OpenMP where a process is forked."""
_HEAVY = ["nerfstudio.scripts.train", "semantic_ns.train", "support.registered"]


def _execute(code: str, environment: dict[str, str], *printed: Path) -> None:
    os.chdir(ROOT)
    os.environ.update(environment)
    sys.argv = ["-c"]
    for descriptor, path in enumerate(printed, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), descriptor)
    status = 1
    try:
        exec(compile(code, "<code>", "exec"), {"__name__": "__main__"})
        status = 0
    except SystemExit as end:
        status = int(end.code or 0) if isinstance(end.code, int | None) else 1
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)  # which may be ours
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def last_line(code: str, is_warm: bool = False) -> str:
    """Return the last line that code prints; it must end well."""
    process = run_warm(code) if is_warm else run_python(code)
    assert process.returncode == 0, process.stderr
    return process.stdout.splitlines()[-1]


def loaded_after(statement: str) -> set[str]:
    """Names of all modules that a fresh process holds after a statement."""
    return set(last_line(f"import sys\n{statement}\nprint()\nprint(*sys.modules)").split())
