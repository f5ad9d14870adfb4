"""Does the wheel work without the repository? It is built and installed on its own, and its commands are started.

The new environment holds this package from the wheel. Everything that the package depends on comes from the environment
that runs this script, through a `.pth` file, so that torch is not downloaded again. An editable installation of this
package there is not seen, because Python does not follow `.pth` files of `.pth` files; the check fails if the package
comes from anywhere but the wheel.
"""

import argparse
import os
import subprocess
import sysconfig
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "semantic_ns"
NEEDED = ("py.typed", "labels/tables/replica.csv", "labels/tables/nyu40.csv")
"""Files of the package that are no modules."""
_METHODS = ("semantic-nerf", "semantic-nerf-big", "semantic-ngp", "semantic-nerf-vanilla")
_UNHEALTHY_AT_WORST = 1
"""Highest status with which `sns-doctor` has examined a scene; 2 says that it could not."""


class WheelError(Exception):
    """Something that the wheel should do and does not."""


def run(*command: "str | Path", cwd: Path, statuses: range = range(1)) -> str:
    """Output of a command, which must end with one of the statuses; nothing of the repository is on its path."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    ended = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={**kept, "PYTHONWARNINGS": "ignore", "COLUMNS": "200"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if ended.returncode not in statuses:
        said = "\n".join(ended.stdout.strip().splitlines()[-20:])
        raise WheelError(f"{Path(str(command[0])).name} ended with status {ended.returncode}:\n{said}")
    return ended.stdout


def built_wheel(folder: Path) -> Path:
    """Build the wheel of this clone in a copy of its files."""
    # The offline bundle builds it from a copy, because setuptools leaves deleted modules in its build folder.
    from offline_bundle import own_wheel

    own_wheel(folder)
    return next(folder.glob(f"{PACKAGE}-*.whl"))


def check_content(wheel: Path) -> None:
    """Refuse a wheel that lacks a data file or holds something beside the package."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    missing = [name for name in NEEDED if f"{PACKAGE}/{name}" not in names]
    foreign = sorted({name.split("/")[0] for name in names if not name.startswith((f"{PACKAGE}/", f"{PACKAGE}-"))})
    if missing or foreign:
        raise WheelError(
            f"Expected {NEEDED} and nothing beside {PACKAGE}/, found {missing} missing and {foreign} added."
        )


def empty_environment(folder: Path) -> Path:
    """An environment that sees the packages of the one that runs this script; returns its Python."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    where = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip())
    # The folder comes after the environment's own on the path, so that the wheel and its metadata are found first.
    (where / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    return python


def check_installed(wheel: Path, folder: Path) -> None:
    """Install the wheel into an empty environment and start its commands."""
    python = empty_environment(folder / "environment")
    scripts = python.parent
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip())
    run(python, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--ignore-installed", wheel, cwd=folder)
    where = run(python, "-c", f"import {PACKAGE}; print({PACKAGE}.__file__)", cwd=folder).strip()
    if Path(where).parent != site / PACKAGE:
        raise WheelError(f"Expected the package of the wheel in {site}, found {where}.")
    print(f"[wheel] installed on its own: {wheel.name}")
    said = run(
        scripts / "sns-doctor", ROOT / "scripts" / "demo_scene", cwd=folder, statuses=range(_UNHEALTHY_AT_WORST + 1)
    )
    print("[wheel] sns-doctor examined the bundled scene:", said.strip().splitlines()[0])
    # nerfstudio's commands belong to the other environment: its modules are started instead.
    text = run(python, "-m", "nerfstudio.scripts.train", "--help", cwd=folder)
    if missing := [name for name in _METHODS if name not in text]:
        raise WheelError(f"Expected ns-train --help to list {', '.join(_METHODS)}, found {', '.join(missing)} missing.")
    print(f"[wheel] ns-train --help lists {', '.join(_METHODS)}")
    for command in sorted(path.name for path in scripts.glob("sns-*")):
        run(scripts / command, "--help", cwd=folder)
        print(f"[wheel] {command} --help")


def main() -> None:
    """Check the wheel of this clone, or one that exists."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheel", type=Path, help="check this wheel instead of building one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary).resolve()
        try:
            wheel = options.wheel.resolve() if options.wheel else built_wheel(folder)
            check_content(wheel)
            check_installed(wheel, folder)
        except WheelError as error:
            raise SystemExit(f"Error: {error}") from None
    print("[wheel] passed")


if __name__ == "__main__":
    main()
