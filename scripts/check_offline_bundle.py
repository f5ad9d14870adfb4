"""Makes two bundles for the Python of an environment with torch, and shows that the larger one works with numpy 2.

The smaller one leaves to the machine what is beside torch on most; its size is printed. The larger one brings all but
torch, so that an environment that sees nothing but torch is complete with it.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from offline_bundle import make_bundle
from offline_bundle import parse as parse_bundle
from offline_plan import BundleError, marker_environment
from offline_rules import BESIDE_TORCH
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

TORCH = ("torch", "torchvision")
NOT_LINKED = ("numpy", "pillow")
"""Packages that torchvision needs and the bundle has to bring."""


def torch_packages(site: Path, environment: Mapping[str, str]) -> list[metadata.Distribution]:
    """Torch, torchvision and what they need in a site-packages folder, but for what the bundle has to bring.

    Args:
        site: the folder.
        environment: markers' values, see `marker_environment`. Extras are not followed: they lead to scipy and numba.
    """
    found = {canonicalize_name(package.name): package for package in metadata.distributions(path=[str(site)])}
    without_extras = {**environment, "extra": ""}
    todo, done = list(TORCH), {}
    while todo:
        name = canonicalize_name(todo.pop())
        if name in found and name not in done and name not in NOT_LINKED:
            done[name] = found[name]
            lines = map(Requirement, found[name].requires or ())
            todo += [line.name for line in lines if not line.marker or line.marker.evaluate(without_extras)]
    return [done[name] for name in sorted(done)]


def link_packages(packages: list[metadata.Distribution], site: Path, target: Path) -> None:
    """Make links in one site-packages folder to the packages of another one."""
    tops = {Path(file).parts[0] for package in packages for file in package.files or ()}
    for top in sorted(tops - {"..", "__pycache__"}):
        if (site / top).exists() and not (target / top).exists():
            (target / top).symlink_to(site / top)


def ask(python: Path, expression: str) -> str:
    """Value of an expression in another interpreter."""
    code = f"import sys, sysconfig; print({expression})"
    return subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def site_of(python: Path) -> Path:
    """Folder of the packages of an interpreter's environment."""
    return Path(ask(python, "sysconfig.get_paths()['purelib']"))


def size_beside_torch(version: str, folder: Path) -> float:
    """Make the bundle that leaves the large packages to the machine; return its wheels' size in MB (10^6 bytes)."""
    options = ["--python", version, "--beside-torch", "--output", str(folder)]
    return make_bundle(parse_bundle(options)).size / 1e6


def main() -> None:
    """Make, install and check the bundles; the exit status is that of the check."""
    parser = argparse.ArgumentParser(prog="scripts/check_offline_bundle", description=__doc__)
    parser.add_argument(
        "python", nargs="?", type=Path, default=Path(sys.executable), help="interpreter beside torch (default: this)"
    )
    python = parser.parse_args().python
    version = ask(python, "'%d.%d' % sys.version_info[:2]")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        try:
            small = size_beside_torch(version, folder / "small")
            bring = ["numpy>=2", *(name for name in BESIDE_TORCH if name not in (*TORCH, "numpy"))]
            full = ["--python", version, "--beside-torch", "--output", str(folder / "full"), "--bring", *bring]
            make_bundle(parse_bundle(full))
        except BundleError as error:
            sys.exit(str(error))
        subprocess.run([python, "-m", "venv", folder / "environment"], check=True)
        inside = folder / "environment" / "bin" / "python"
        markers = marker_environment(version, parse_bundle(["--output", "."]).platform)
        link_packages(torch_packages(site_of(python), markers), site_of(python), site_of(inside))
        # No setting of this machine may help, such as a folder of further wheels.
        settings = {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull, "PYTHON": str(inside)}
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON"))}
        bash = shutil.which("bash") or "bash"
        subprocess.run([bash, folder / "full" / "install.sh"], check=True, env={**environment, **settings})
        check = [inside, "-W", "ignore", folder / "full" / "check.py", "--train"]
        status = subprocess.run(check, check=False, env=environment).returncode
    print(f"The bundle beside torch is {small:.1f} MB for Python {version}.")
    sys.exit(status)


if __name__ == "__main__":
    main()
