"""Says what an installation from this folder lacks, and whether it works: python3 check.py [--train].

It stands alone: it has to run where nothing is installed yet.
"""

import argparse
import importlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

OWN = "semantic-ns"
ALTERNATIVES = {
    "opencv-python-headless": ("opencv-python", "opencv-contrib-python-headless", "opencv-contrib-python"),
}
"""Packages that hold the same modules as another one."""

SMALL = {
    "semantic-nerf-big": ["--pipeline.model.num-levels", "4", "--pipeline.model.log2-hashmap-size", "10"],
    "semantic-ngp": ["--pipeline.model.grid-resolution", "16"],
    "semantic-nerf-vanilla": ["--pipeline.model.hidden-dim", "32"],
}
"""Options with which a method of a large network takes ten steps in seconds on a CPU."""
STEPS = 10

MODULES = (
    "torch",
    "numba",
    "nerfstudio.scripts.train",
    "nerfstudio.scripts.eval",
    "nerfstudio.scripts.render",
    "nerfstudio.scripts.viewer.run_viewer",
)
"""What has to import for our commands and for ns-train, ns-eval, ns-render and ns-viewer to start."""


def installed_version(name: str) -> "str | None":
    """Version of a package or of one that stands in for it; None where there is none."""
    for candidate in (name, *ALTERNATIVES.get(name, ())):
        try:
            return metadata.version(candidate)
        except metadata.PackageNotFoundError:
            continue
    return None


def allows(versions: str, version: str) -> bool:
    """Whether a version is among the allowed ones."""
    try:
        from packaging.specifiers import SpecifierSet
    except ImportError:  # nothing is installed yet; pip, which installs it, holds a copy
        from pip._vendor.packaging.specifiers import SpecifierSet
    return SpecifierSet(versions).contains(version, prereleases=True)


def package_problem(name: str, versions: str, wheel: "str | None", version: "str | None") -> "str | None":
    """One sentence if a package is missing or of another version; `wheel` is None if it is not in this folder."""
    if version is not None and allows(versions, version):
        return None
    found = "it is missing here" if version is None else f"version {version} is here"
    remedy = (
        "run `bash install.sh`"
        if wheel
        else f"install it from the machine's own source, or make the bundle again with --bring '{name}{versions}'"
    )
    return f"{name}{versions} is needed and {found}: {remedy}."


def machine_problem(bundle: "dict[str, Any]", python: str, machine: str) -> "str | None":
    """One sentence if this bundle was made for another Python or processor."""
    if bundle["python"] != python:
        return (
            f"This bundle is for Python {bundle['python']}, and this is Python {python}: name the right interpreter in "
            f"the variable PYTHON, or make the bundle again with --python {python}."
        )
    if not bundle["platform"].lower().endswith(machine.lower()):
        return (
            f"This bundle is for {bundle['platform']}, and this machine is {machine}: make the bundle again with the "
            "right --platform."
        )
    return None


def cuda_sentence(built_for: "str | None", device: "str | None", driver: "str | None") -> str:
    """What torch has of CUDA.

    Args:
        built_for: CUDA of the torch that is installed; None for a build without.
        device: name of the device that torch sees.
        driver: newest CUDA that the machine's driver knows; None without a driver.
    """
    if built_for is None:
        seen = f", though there is a driver for CUDA {driver}" if driver else ""
        return f"CUDA: torch is built without it{seen}; training runs on the CPU."
    if device is not None:
        return f"CUDA: torch is built for {built_for} and sees {device}."
    if driver is None:
        return f"CUDA: torch is built for {built_for}, and there is no NVIDIA driver here; training runs on the CPU."
    return (
        f"CUDA: torch is built for {built_for} and sees no device, and the driver knows CUDA up to {driver}: install a "
        "torch that is built for that, or check that the job was given a GPU. Training runs on the CPU."
    )


def driver_cuda() -> "str | None":
    """Newest CUDA that the NVIDIA driver of this machine knows, None without one."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    shown = subprocess.run([program], capture_output=True, text=True, check=False).stdout
    match = re.search(r"CUDA Version:\s*([\d.]+)", shown)
    return match[1] if match else None


def read_bundle() -> "dict[str, Any]":
    """The list of packages beside this file."""
    return json.loads((Path(__file__).resolve().parent / "bundle.json").read_text())


def missing_wheels(bundle: "dict[str, Any]") -> "list[str]":
    """Wheels of this folder that are needed here; our own always, since its version says little between releases."""
    wheels = []
    for name, entry in bundle["needed"].items():
        if not entry["wheel"]:
            continue
        if name == OWN or package_problem(name, entry["versions"], entry["wheel"], installed_version(name)):
            wheels.append(entry["wheel"])
    return wheels


def package_problems(bundle: "dict[str, Any]") -> "list[str]":
    """One sentence for each package that is missing or of another version."""
    problems = [
        package_problem(name, entry["versions"], entry["wheel"], installed_version(name))
        for name, entry in bundle["needed"].items()
    ]
    return [problem for problem in problems if problem]


def import_problem(module: str) -> "str | None":
    """One sentence if a module cannot be imported, for whatever reason."""
    try:
        importlib.import_module(module)
    except Exception as error:  # a module of a stranger may raise anything
        reason = (str(error).splitlines() or [""])[0]
        return f"{module} cannot be imported ({type(error).__name__}: {reason})."
    return None


def own_methods() -> "list[str]":
    """Names of the methods that this package brings to nerfstudio."""
    points = metadata.distribution(OWN).entry_points
    return sorted(point.name for point in points if point.group == "nerfstudio.method_configs")


def train_command(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run ns-train by its module, which works where no script of it is on the PATH."""
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "nerfstudio.scripts.train", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "200"},
    )


def unlisted_methods(help_text: str, methods: "list[str]") -> "list[str]":
    """Methods that the help of ns-train does not name."""
    listed = set(re.findall(r"[\w-]+", help_text))
    return [method for method in methods if method not in listed]


def training_problem(method: str, scene: Path, output: Path, device: str) -> "str | None":
    """One sentence if ten steps of a method do not end with a checkpoint."""
    process = train_command(
        method, "--data", str(scene), "--output-dir", str(output), "--max-num-iterations", str(STEPS), "--vis",
        "tensorboard", "--machine.device-type", device, "--pipeline.datamanager.train-num-rays-per-batch", "256",
        *SMALL.get(method, ()),
    )  # fmt: skip
    if process.returncode == 0 and list(output.glob(f"**/{method}/**/step-{STEPS - 1:09d}.ckpt")):
        return None
    lines = [line for line in (process.stderr + process.stdout).splitlines() if line.strip()]
    return f"{method} did not take {STEPS} training steps: {lines[-1] if lines else 'it said nothing'}"


def check_training(device: str) -> "list[str]":
    """Ten steps of every method, in a small room that the package makes up."""
    from semantic_ns.synthetic_scene import write_nerfstudio_scene

    problems = []
    with tempfile.TemporaryDirectory() as folder:
        scene = write_nerfstudio_scene(Path(folder) / "room")
        for method in own_methods():
            problem = training_problem(method, scene, Path(folder) / "runs", device)
            print(problem or f"{method} took {STEPS} training steps on {device}.", flush=True)
            problems += [problem] if problem else []
    return problems


def check_parts(train: bool) -> int:
    """Check imports, methods, CUDA and, if wanted, training; return the number of problems."""
    problems = [problem for problem in map(import_problem, MODULES) if problem]
    if problems:
        print(*problems, sep="\n")
        return len(problems)
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    print(cuda_sentence(torch.version.cuda, device, driver_cuda()))
    methods = own_methods()
    unlisted = unlisted_methods(train_command("--help").stdout, methods)
    if unlisted:
        print(f"`ns-train --help` does not list {', '.join(unlisted)}.")
        return len(unlisted)
    print(f"`ns-train --help` lists {', '.join(methods)}.")
    return len(check_training("cuda" if device else "cpu")) if train else 0


def main() -> int:
    """Print what was found; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", action="store_true", help="besides, take ten training steps of every method")
    parser.add_argument("--missing", action="store_true", help="only print the wheels that install.sh has to install")
    options = parser.parse_args()
    bundle = read_bundle()
    problem = machine_problem(bundle, f"3.{sys.version_info.minor}", platform.machine())
    if problem:
        sys.exit(problem)
    if options.missing:
        print(*missing_wheels(bundle))
        return 0
    problems = package_problems(bundle)
    if problems:
        print(*problems, sep="\n")
        return 1
    shown = ", ".join(f"{name} {installed_version(name)}" for name in ("torch", "numpy", "numba", "nerfstudio"))
    print(f"Python {platform.python_version()} has all {len(bundle['needed'])} packages, among them {shown}.")
    return int(check_parts(options.train) > 0)


if __name__ == "__main__":
    sys.exit(main())
