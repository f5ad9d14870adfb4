"""Python code in a process of its own: what is imported, in which order, is only visible there."""

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import NoReturn, TextIO

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


def run_with_libraries(code: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run code in a process that has imported libraries of nerfstudio, but neither nerfstudio nor this package.

    So what these import, and in which order, is still to be seen there, some four seconds sooner than in one that
    `run_python` starts. Not for what is said of libraries themselves, and with one thread.
    """
    return _run_forked(False, code, environment)


def run_warm(code: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run code in a process that has imported nerfstudio and this package, with one thread; else as `run_python`.

    It saves seconds of imports where these are not what is tested.
    """
    return _run_forked(True, code, environment)


def run_module_warm(arguments: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    """Run a module as a program, as `run_warm` runs code.

    Args:
        arguments: of Python; `-m`, the name of the module and what it is given are among them.
    """
    module, *given = arguments[arguments.index("-m") + 1 :]
    code = f"import runpy, sys; sys.argv = {[module, *given]!r}; "
    return run_warm(code + f"runpy.run_module({module!r}, run_name='__main__', alter_sys=True)")


_LIBRARIES = (
    "torch", "torchvision", "torch.utils.tensorboard", "viser", "tyro", "matplotlib.pyplot", "cv2", "pathos.helpers",
    "gsplat", "nerfacc", "tensorly", "requests", "rich.prompt", "scipy.spatial", "torch._inductor.compile_fx",
)  # fmt: skip
_HEAVY = ("nerfstudio.scripts.train", "semantic_ns.train", "support.registered", "torchmetrics", "numba")
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
"""No thread may have been started by OpenMP where a process is forked."""


def _run_forked(is_warm: bool, code: str, environment: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    with tempfile.TemporaryDirectory() as folder:
        printed = [str(Path(folder, name)) for name in ("stdout", "stderr")]
        job = {"code": code, "environment": os.environ | _ONE_THREAD | environment, "printed": printed}
        process, stream = _server()
        print(json.dumps({"is_warm": is_warm, **job}), file=stream, flush=True)
        try:
            status = int(stream.readline())
        except TimeoutError as error:
            os.killpg(process.pid, signal.SIGKILL)
            _server.cache_clear()
            raise subprocess.TimeoutExpired(code, _LIMIT_S) from error
        return subprocess.CompletedProcess(code, status, *(Path(path).read_text() for path in printed))


_LIMIT_S = 600


@cache
def _server() -> "tuple[subprocess.Popen[bytes], TextIO]":
    """A process that forks one for each job, and the stream to it; the end of this process ends it."""
    ours, theirs = socket.socketpair()
    imports = f"import sys; sys.path.append({str(TESTS)!r}); from support import fresh_process"
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", f"{imports}; fresh_process.serve({theirs.fileno()})"],
        cwd=ROOT,
        env=os.environ | _ONE_THREAD,
        stdin=subprocess.DEVNULL,
        pass_fds=[theirs.fileno()],
        start_new_session=True,  # one group with all that it forks
    )
    theirs.close()
    ours.settimeout(_LIMIT_S)
    stream = ours.makefile("rw")
    ours.close()  # once the stream is, too
    atexit.register(_end, process, stream)
    return process, stream


def _end(process: "subprocess.Popen[bytes]", stream: TextIO) -> None:
    stream.close()
    process.wait(_LIMIT_S)


def serve(descriptor: int) -> None:
    """Do jobs that arrive through a socket, each in a process that is forked from one with all imported."""
    _import(_LIBRARIES)
    warm: TextIO | None = None
    with socket.socket(fileno=descriptor).makefile("rw") as stream:
        for line in stream:
            if json.loads(line)["is_warm"]:
                warm = warm or _fork_server(_HEAVY)
                print(line, end="", file=warm, flush=True)
                answer = warm.readline().strip()
            else:
                answer = _status_of(line)
            print(answer, file=stream, flush=True)


def _import(modules: tuple[str, ...]) -> None:
    for module in modules:
        import_module(module)


def _fork_server(modules: tuple[str, ...]) -> TextIO:
    ours, theirs = socket.socketpair()
    if os.fork():
        theirs.close()
        return ours.makefile("rw")
    ours.close()
    try:
        _import(modules)
        with theirs.makefile("rw") as stream:
            for line in stream:
                print(_status_of(line), file=stream, flush=True)
    finally:
        os._exit(0)


def _status_of(job: str) -> int:
    """Do a job in a process of its own and wait for it; a negative number is that of the signal that ended it."""
    child = os.fork()
    if child == 0:
        content = json.loads(job)
        _execute(content["code"], content["environment"], content["printed"])
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _execute(code: str, environment: dict[str, str], printed: list[str]) -> NoReturn:
    status = 1
    try:
        os.environ.clear()
        os.environ.update(environment)
        sys.argv = ["-c"]
        for descriptor, path in enumerate(printed, start=1):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), descriptor)
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


def last_line(code: str, run: Callable[[str], "subprocess.CompletedProcess[str]"] = run_python) -> str:
    """Return the last line that code prints; it must end well."""
    process = run(code)
    assert process.returncode == 0, process.stderr
    return process.stdout.splitlines()[-1]


def loaded_after(statement: str) -> set[str]:
    """Names of all modules that a fresh process holds after a statement."""
    return set(last_line(f"import sys\n{statement}\nprint()\nprint(*sys.modules)").split())
