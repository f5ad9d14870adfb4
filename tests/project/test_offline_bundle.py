"""The folder of an offline bundle, with a pip that is made up: it finds the wheels of a small index."""

import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from support.fresh_process import ROOT

sys.path.insert(0, str(ROOT / "scripts"))
import offline_bundle
from check_offline_bundle import torch_packages
from offline_folder import shown, simplified
from offline_pip import PipFetch, failure, pinned_versions, wheel_metadata
from offline_plan import BundleError, NoWheelError, marker_environment

NONE = "ERROR: Could not find a version that satisfies the requirement x\nERROR: No matching distribution found for x"
NO_NETWORK = (
    "WARNING: Retrying (Retry(total=0, connect=None)) after connection broken by 'NewConnectionError(': Failed to "
    f"establish a new connection: [Errno 101] Network is unreachable')': /simple/x/\n{NONE}"
)
BROKEN = "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device\n"


def write_wheel(folder: Path, name: str, version: str, requires: tuple[str, ...] = ()) -> Path:
    path = folder / f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
    lines = [
        "Metadata-Version: 2.1",
        f"Name: {name}",
        f"Version: {version}",
        *(f"Requires-Dist: {r}" for r in requires),
    ]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name.replace('-', '_')}-{version}.dist-info/METADATA", "\n".join(lines) + "\n\nText.\n")
    return path


class FakePip:
    """Builds the wheel of the clone and downloads from `index`; stops at the first package that is not there."""

    def __init__(self, index: Mapping[str, tuple[str, ...]], own: tuple[str, ...] = (), message: str = "") -> None:
        self.index, self.own, self.message = index, own, message
        self.calls: list[list[str]] = []

    def __call__(self, arguments: list[str]) -> "subprocess.CompletedProcess[str]":
        self.calls.append(arguments)
        if arguments[0] == "wheel":
            write_wheel(Path(arguments[arguments.index("--wheel-dir") + 1]), "semantic-ns", "0.1", self.own)
            return subprocess.CompletedProcess(arguments, 0, "", "")
        if self.message:
            return subprocess.CompletedProcess(arguments, 1, "", self.message)
        at = arguments.index("--dest")
        for text in arguments[at + 2 :]:
            wanted = Requirement(text)
            fitting = list(wanted.specifier.filter(self.index.get(wanted.name, ())))
            if not fitting:
                return subprocess.CompletedProcess(arguments, 1, "", NONE)
            write_wheel(Path(arguments[at + 1]), wanted.name, fitting[-1])
        return subprocess.CompletedProcess(arguments, 0, "", "")


def make(output: Path, pip: FakePip, *options: str) -> None:
    arguments = ["--python", "3.12", "--platform", "manylinux_2_28_x86_64", "--output", str(output), *options]
    offline_bundle.make_bundle(offline_bundle.parse(arguments), pip)


def test_a_bundle_lists_its_wheels_and_what_it_expects(tmp_path: Path) -> None:
    pip = FakePip({"a-b": ("1", "2")}, ("a-b<2", "torch>=2.2", "torch>=2", "open3d"))
    make(tmp_path / "new" / "bundle", pip, "--beside-torch")
    folder = tmp_path / "new" / "bundle"
    assert json.loads((folder / "bundle.json").read_text()) == {
        "python": "3.12",
        "platform": "manylinux_2_28_x86_64",
        "needed": {
            "a-b": {"versions": "<2", "wheel": "a_b-1-py3-none-any.whl"},
            "semantic-ns": {"versions": "", "wheel": "semantic_ns-0.1-py3-none-any.whl"},
            "torch": {"versions": ">=2.2", "wheel": None},
        },
    }
    names = {path.name for path in folder.iterdir()}
    assert {"a_b-1-py3-none-any.whl", "install.sh", "check.py", "README.md"} <= names
    text = (folder / "README.md").read_text()
    assert "| torch | >=2.2 | semantic-ns |" in text
    assert "| open3d | ns-export" in text
    assert list(folder.parent.iterdir()) == [folder]  # nothing unfinished is left beside it


def test_without_beside_torch_torch_is_brought(tmp_path: Path) -> None:
    make(tmp_path / "bundle", FakePip({"torch": ("2.11",)}, ("torch>=2.2",)))
    assert (tmp_path / "bundle" / "torch-2.11-py3-none-any.whl").is_file()
    assert "Expected on the machine" not in (tmp_path / "bundle" / "README.md").read_text()


def test_pip_starts_once_for_all_wheels_of_a_level(tmp_path: Path) -> None:
    pip = FakePip({"a": ("1",), "b": ("1",)}, ("a", "b"))
    make(tmp_path / "bundle", pip)
    assert [call[0] for call in pip.calls] == ["wheel", "download"]


def test_an_empty_folder_may_exist_and_a_used_one_is_left_alone(tmp_path: Path) -> None:
    make(tmp_path, FakePip({}))
    with pytest.raises(BundleError, match="new or an empty folder"):
        make(tmp_path, FakePip({}))
    (tmp_path / "file").touch()
    with pytest.raises(BundleError, match="new or an empty folder"):
        make(tmp_path / "file", FakePip({}))


def test_a_bundle_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(BundleError) as raised:
        make(tmp_path / "bundle", FakePip({"a": ("1",)}, ("a", "p", "q>=2")))
    assert [line.split(" ", 1)[0] for line in str(raised.value).splitlines()] == ["p", "q>=2"]
    assert "Python 3.12 on manylinux_2_28_x86_64" in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_a_command_that_fails_prints_sentences_and_no_traceback(tmp_path: Path) -> None:
    for options, said in (
        (["--python", "3.9"], "3.10"),
        (["--platform", "linux"], "uname"),
        (["--bring", "?"], "scipy"),
    ):
        command = [
            sys.executable,
            str(ROOT / "scripts" / "offline_bundle.py"),
            "--output",
            str(tmp_path / "x"),
            *options,
        ]
        process = subprocess.run(command, capture_output=True, text=True, check=False)
        assert process.returncode == 1
        assert said in process.stderr
        assert "Traceback" not in process.stderr
        assert len(process.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("message", "kind", "said"),
    [
        (NO_NETWORK, BundleError, "cannot reach its package index"),
        (NONE, NoWheelError, "x>=2 has no wheel for Python 3.12 on here"),
        (BROKEN, BundleError, "No space left on device"),
        ("", BundleError, "it gave no reason"),
    ],
)
def test_pip_s_message_becomes_one_sentence(message: str, kind: type, said: str) -> None:
    error = failure("x>=2", "Python 3.12 on here", message)
    assert type(error) is kind
    assert said in str(error)


def test_no_network_ends_a_bundle_at_once(tmp_path: Path) -> None:
    pip = FakePip({}, ("a", "b"), NO_NETWORK)
    with pytest.raises(BundleError, match="cannot reach"):
        make(tmp_path / "bundle", pip)
    assert len(pip.calls) == 2


def fetched(folder: Path, index: Mapping[str, tuple[str, ...]], tested: dict[str, str], versions: str) -> str:
    fetch = PipFetch("3.12", "manylinux_2_28_x86_64", folder, tested, FakePip(index), say=lambda _: None)
    wheels, _ = fetch({"a": SpecifierSet(versions)})
    return wheels["a"].version


def test_the_tested_version_is_taken_where_it_is_allowed_and_has_a_wheel(tmp_path: Path) -> None:
    tested = pinned_versions("# a comment\nA==1.5\nb==3\n")
    assert tested == {"a": "1.5", "b": "3"}
    index = {"a": ("1", "1.5", "2")}
    assert fetched(tmp_path, index, tested, "") == "1.5"
    assert fetched(tmp_path, index, tested, ">=2") == "2"
    assert fetched(tmp_path, {"a": ("1", "2")}, tested, "") == "2"
    assert len(list(tmp_path.glob("*.whl"))) == 1  # each replaced the one before


def test_a_wheel_is_read(tmp_path: Path) -> None:
    path = write_wheel(tmp_path, "A-b", "1.0", ("c>=2", "d; extra == 'x'"))
    read = wheel_metadata(path)
    assert (read.name, read.version, read.filename) == ("a-b", "1.0", path.name)
    assert (read.size, read.requires) == (path.stat().st_size, ("c>=2", "d; extra == 'x'"))


def test_the_clone_s_wheel_is_built_from_a_copy(tmp_path: Path) -> None:
    pip = FakePip({})
    offline_bundle.own_wheel(tmp_path, pip)
    source = Path(pip.calls[0][-1])
    assert ROOT not in (source, *source.parents)


@pytest.mark.parametrize(
    ("versions", "simple"),
    [
        (">=1,>=2,<3", ">=2,<3"),
        (">=1.9,>=1.10", ">=1.10"),
        (">=2,>2", ">2"),
        (">2,>=2.1", ">=2.1"),
        ("==1.4.0,>=1", ">=1,==1.4.0"),
        ("<3", "<3"),
        ("", ""),
    ],
)
def test_simplified_versions_are_the_same_versions_with_one_lower_bound(versions: str, simple: str) -> None:
    result = simplified(SpecifierSet(versions))
    assert result == SpecifierSet(simple)
    probes = ["0.1", "1", "1.4.0", "1.9", "1.10", "2", "2.0.1", "2.1", "3", "4"]
    assert list(result.filter(probes)) == list(SpecifierSet(versions).filter(probes))


def test_the_least_version_is_shown_first() -> None:
    assert shown(SpecifierSet("!=2.1,<3,>=2")) == ">=2, !=2.1, <3"
    assert shown(SpecifierSet()) == "any"


def test_the_folder_s_scripts_name_files_that_are_written() -> None:
    for name in ("offline_install.sh", "offline_check.py"):
        text = (ROOT / "scripts" / name).read_text()
        assert re.search(r"check\.py", text)


def test_an_environment_that_sees_torch_sees_nothing_that_torch_asks_for_in_an_extra(tmp_path: Path) -> None:
    installed = {
        "torch": ("sympy", "numba; extra == 'fast'", "old; python_version < '3.12'"),
        "torchvision": ("torch", "numpy", "pillow"),
        "sympy": ("mpmath",),
        **dict.fromkeys(("mpmath", "numba", "old", "numpy", "pillow", "scipy"), ()),
    }
    for name, requires in installed.items():
        with zipfile.ZipFile(write_wheel(tmp_path, name, "1", requires)) as archive:
            archive.extractall(tmp_path)
    found = torch_packages(tmp_path, marker_environment("3.12", "manylinux_2_28_x86_64"))
    assert [package.name for package in found] == ["mpmath", "sympy", "torch", "torchvision"]
