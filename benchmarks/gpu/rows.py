"""Rows of results: written one by one as they come, so that what stops a stage loses nothing that was measured."""

import json
import math
import os
import platform
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.gpu import ROOT
from benchmarks.gpu.settings import NotPossibleError, Settings

Row = dict[str, Any]


class Rows:
    """The file of one stage.

    Args:
        settings: of the run.
        stage: its name.
    """

    def __init__(self, settings: Settings, stage: str) -> None:
        self._path, self._stage, self._seed = settings.rows_of(stage), stage, settings.seed

    def add(self, name: str, **values: Any) -> None:
        """Append one measurement and where and with what it was made; it is on the disk when this returns."""
        row = {"stage": self._stage, "name": name, **values, "seed": self._seed, **circumstances()}
        with self._path.open("a", encoding="utf8") as file:
            file.write(json.dumps(_plain(row)) + "\n")
            file.flush()
            os.fsync(file.fileno())
        print("row:", name, {key: value for key, value in values.items() if not isinstance(value, list)}, flush=True)

    def fail(self, name: str, reason: str) -> None:
        """Append why something was not measured."""
        self.add(name, reason=reason)

    @contextmanager
    def attempt(self, name: str) -> Iterator[None]:
        """What fails inside it becomes a row with the reason, and the stage goes on."""
        import torch

        try:
            yield
        except torch.OutOfMemoryError as error:
            self.fail(name, f"The device's memory is too small: {first_line(error)}")
        except NotPossibleError as error:
            self.fail(name, str(error))
        except Exception as error:
            import traceback

            traceback.print_exc()
            self.fail(name, f"{type(error).__name__}: {first_line(error)}")
        finally:
            if torch.cuda.is_initialized():
                torch.cuda.empty_cache()


def first_line(error: BaseException) -> str:
    """What an error says first."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]


def _plain(value: Any) -> Any:
    """Numbers that JSON has, in lists and dictionaries."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return str(value) if isinstance(value, Path) else value


def read_rows(path: Path) -> list[Row]:
    """The whole rows of a file; a last one that was cut off is left out."""
    rows: list[Row] = []
    for line in path.read_text(encoding="utf8").splitlines() if path.exists() else ():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows


@cache
def circumstances() -> dict[str, Any]:
    """Device, versions and commit, for a process that may load torch."""
    import torch

    has_cuda = torch.cuda.is_available()
    return {
        "device": torch.cuda.get_device_name() if has_cuda else _processor(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "triton": _version("triton"),
        "numpy": _version("numpy"),
        "numba": _version("numba"),
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
        "commit": commit(),
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    found = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), None)
    return found or platform.machine()


@cache
def commit() -> str | None:
    """Of the repository, with a plus sign where files were changed since; None where git does not know."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return os.environ.get("BENCHMARK_COMMIT")
