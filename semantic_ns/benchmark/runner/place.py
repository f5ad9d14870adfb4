"""Where a result came about: the processor, the version of the code, and a package that is not installed."""

import importlib
import os
import platform
import subprocess
from contextlib import suppress
from importlib.metadata import entry_points
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[3]
_REGISTRIES = {
    "nerfstudio.method_configs": "NERFSTUDIO_METHOD_CONFIGS",
    "nerfstudio.dataparser_configs": "NERFSTUDIO_DATAPARSER_CONFIGS",
}
"""Group of entry points, and the environment variable in which nerfstudio looks, too."""
_TIMEOUT_S = 30


def processor() -> str:
    """Name of the processor, as far as the system tells it."""
    with suppress(OSError):  # only Linux has the file
        for line in Path("/proc/cpuinfo").read_text("utf8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def commit(root: Path = _ROOT) -> str | None:
    """The commit that the package was read from, with `+` if files were changed since; None outside a checkout."""
    if not (root / ".git").exists():  # a checkout of something else may lie further up
        return None
    with suppress(OSError, subprocess.SubprocessError):
        return _git(root, "rev-parse", "HEAD") + ("+" if _git(root, "status", "--porcelain", "-uno") else "")
    return None


def _git(root: Path, *words: str) -> str:
    command = ["git", "-C", str(root), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=_TIMEOUT_S).stdout.strip()


def register_uninstalled(root: Path = _ROOT) -> None:
    """Tell nerfstudio of the methods and dataparsers of a package that is on the path without being installed.

    To be called before nerfstudio is imported; processes started later inherit it.
    """
    project = root / "pyproject.toml"
    groups = {group: entry_points(group=group) for group in _REGISTRIES}
    if any(point.value.startswith("semantic_ns.") for points in groups.values() for point in points):
        return
    with suppress(OSError, ModuleNotFoundError):  # Python 3.10 has no tomllib
        content = importlib.import_module("tomllib").loads(project.read_text("utf8"))
        for group, variable in _REGISTRIES.items():
            points = content["project"]["entry-points"][group]
            given = [os.environ[variable]] if os.environ.get(variable) else []
            os.environ[variable] = ",".join([*given, *(f"{name}={value}" for name, value in points.items())])
