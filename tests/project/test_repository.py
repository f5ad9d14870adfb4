"""What lies in the repository: small files, no paths of one machine, no addresses of package indices."""

import ast
import os
import re
import subprocess
from pathlib import Path

import pytest

from support.fresh_process import ROOT

SCENE = "scripts/demo_scene/"
MIB = 2**20
MAX_LINES = 400

MACHINE_PATH = re.compile(r"(?<![\w.:/~}$-])/(?:home|mnt|opt|root|tmp|Users|work|workspace)/[\w.-]")
PACKAGE_INDEX = re.compile(
    r"--(?:extra-)?index-url|--find-links|pypi\.(?:org|python)|download\.pytorch\.org/whl|pypi\.nvidia|files\.python(?:hosted)"
)
RUNNABLE = (
    "scripts/check_offline_bundle",
    "scripts/check_viewer",
    "scripts/check_wheel",
    "scripts/demo",
    "scripts/offline_bundle",
    "scripts/setup_environment",
    "scripts/test",
    "scripts/write_reference",
    ".ci/run",
)


def tracked_files() -> list[Path]:
    """Files that are in the repository or would be with the next commit."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf8")
    except UnicodeDecodeError:
        return ""  # a picture


FILES = tracked_files() if (ROOT / ".git").exists() else []
TEXTS = {name_of(path): text_of(path) for path in FILES}
OTHER_TEXTS = {name: text for name, text in TEXTS.items() if name != name_of(Path(__file__))}
"""Without this file, which holds examples of what is looked for."""


def lines_with(pattern: "re.Pattern[str]", texts: dict[str, str]) -> list[str]:
    return [
        f"{name}:{number}: {line.strip()[:100]}"
        for name, text in texts.items()
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]


def test_the_files_of_the_repository_are_seen() -> None:
    assert {"pyproject.toml", "semantic_ns/__init__.py", "tests/project/test_repository.py"} <= TEXTS.keys()


def test_no_file_names_a_path_of_one_machine() -> None:
    assert lines_with(MACHINE_PATH, OTHER_TEXTS) == []


def test_no_file_names_a_package_index() -> None:
    assert lines_with(PACKAGE_INDEX, OTHER_TEXTS) == []


@pytest.mark.parametrize("pattern", ["cd @root/x", 'open("@tmp/x")', "PATH=@work/main"])
def test_a_path_of_one_machine_is_found(pattern: str) -> None:
    line = pattern.replace("@", "/")  # so that this file itself names none
    assert lines_with(MACHINE_PATH, {"file": line}) == [f"file:1: {line}"]


@pytest.mark.parametrize("line", ["#!/usr/bin/env bash", "a/work/b", "$HOME/tmp/x", "https://host/root/x", "../work/x"])
def test_other_paths_are_fine(line: str) -> None:
    assert lines_with(MACHINE_PATH, {"file": line}) == []


WEIGHTS = "semantic_ns/backbones/built_in_weights/"


def test_files_are_small_and_the_bundled_scene_fits() -> None:
    sizes = {name_of(path): path.stat().st_size for path in FILES}
    assert {name: size for name, size in sizes.items() if size > MIB and not name.startswith((SCENE, WEIGHTS))} == {}
    assert sum(size for name, size in sizes.items() if name.startswith(SCENE)) <= 6 * MIB
    assert sum(size for name, size in sizes.items() if name.startswith(WEIGHTS)) <= 12e6


def test_modules_are_short() -> None:
    lengths = {name: text.count("\n") for name, text in TEXTS.items() if name.endswith(".py")}
    assert {name: length for name, length in lengths.items() if length > MAX_LINES} == {}


def test_annotations_stay_objects_so_that_shapes_can_be_checked() -> None:
    future = [
        name
        for name, text in TEXTS.items()
        if name.endswith(".py") and "__future__" in text
        for node in ast.parse(text).body
        if isinstance(node, ast.ImportFrom) and node.module == "__future__"
    ]
    assert future == []


@pytest.mark.parametrize("name", RUNNABLE)
def test_scripts_can_be_run_in_a_fresh_clone(name: str) -> None:
    assert os.access(ROOT / name, os.X_OK)
    assert (ROOT / name).read_text().startswith("#!/usr/bin/env bash\n")
    tracked = subprocess.run(
        ["git", "ls-files", "--stage", name], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert tracked == "" or tracked.startswith("100755"), "git does not know the file as runnable"


def test_constraints_fix_one_version_each_and_pair_torch_with_its_torchvision() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    versions = dict(line.split("==") for line in lines)
    assert len(versions) == len(lines)
    assert versions["nerfstudio"] == "1.1.5"
    # torchvision 0.(n + 15) is made for torch 2.n
    assert int(versions["torchvision"].split(".")[1]) == int(versions["torch"].split(".")[1]) + 15
