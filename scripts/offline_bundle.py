"""A folder from which this package is installed on a machine without a network; see docs/offline.md."""

import argparse
import platform
import re
import shutil
import sys
import tempfile
from pathlib import Path

from offline_folder import write_folder
from offline_pip import PipFetch, Run, pinned_versions, run_pip, wheel_metadata
from offline_plan import (
    BundleError,
    Plan,
    Resolution,
    Wheel,
    checked_python,
    marker_environment,
    packages_on_machine,
    parsed_requirement,
    platform_tags,
)

ROOT = Path(__file__).resolve().parent.parent
_SOURCES = ("pyproject.toml", "README.md", "LICENSE", "semantic_ns")


def own_wheel(folder: Path, run: Run = run_pip) -> Wheel:
    """Build the wheel of this clone into a folder."""
    with tempfile.TemporaryDirectory() as copy:
        # setuptools leaves its build folder in the sources, and takes deleted modules from it the next time.
        for name in _SOURCES:
            source, target = ROOT / name, Path(copy) / name
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copyfile(source, target)
        process = run(["wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), copy])
    wheels = list(folder.glob("semantic_ns-*.whl"))
    if process.returncode != 0 or not wheels:
        reason = (process.stderr.strip().splitlines() or ["it gave no reason"])[-1]
        raise BundleError(f"pip could not build the wheel of this clone, for which it downloads setuptools: {reason}")
    return wheel_metadata(wheels[0])


def checked_output(folder: Path) -> Path:
    """Refuse a folder that holds something."""
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise BundleError(f"Expected --output to name a new or an empty folder, found that {folder} holds something.")
    return folder


def make_bundle(options: argparse.Namespace, run: Run = run_pip) -> Plan:
    """Make the folder, all of it or nothing."""
    requires_python = re.search(r'^requires-python = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    python = checked_python(options.python, requires_python[1] if requires_python else "")
    platform_tags(options.platform)
    output = checked_output(options.output)
    brought = [parsed_requirement(text) for text in options.bring]
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as unfinished:
        folder = Path(unfinished) / "bundle"
        folder.mkdir()
        own = own_wheel(folder, run)
        tested = pinned_versions((ROOT / "constraints.txt").read_text())
        fetch = PipFetch(python, options.platform, folder, tested, run)
        on_machine = packages_on_machine(options.beside_torch, brought)
        plan = Resolution(fetch, marker_environment(python, options.platform), on_machine).resolve(own, brought)
        write_folder(folder, plan, python, options.platform)
        if output.exists():
            output.rmdir()
        folder.rename(output)
    return plan


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="scripts/offline_bundle", description=__doc__)
    parser.add_argument(
        "--python", default=f"3.{sys.version_info.minor}", help="Python of the machine (default: %(default)s)"
    )
    parser.add_argument(
        "--platform",
        default=f"manylinux_2_28_{platform.machine()}",
        help="platform tag of the machine; 2_28 is the oldest glibc that it may have (default: %(default)s)",
    )
    parser.add_argument(
        "--beside-torch",
        action="store_true",
        help="the machine has torch, numpy and the other large packages that docs/offline.md lists: leave them out",
    )
    parser.add_argument(
        "--bring",
        nargs="+",
        default=[],
        metavar="PACKAGE",
        help="packages to bring all the same or besides, with versions if wanted: --bring 'numpy>=2' scipy",
    )
    parser.add_argument("--output", type=Path, required=True, help="the folder to make, new or empty")
    return parser.parse_args(arguments)


def main() -> None:
    """Make the bundle, or say in one line for each hindrance why not, and exit with status 1."""
    options = parse()
    try:
        plan = make_bundle(options)
    except BundleError as error:
        sys.exit(str(error))
    print(f"{options.output}: {len(plan.wheels)} wheels, {plan.size / 1e6:.1f} MB.")
    print("Carry it to the machine, run `bash install.sh` in it there, and read its README.md.")


if __name__ == "__main__":
    main()
