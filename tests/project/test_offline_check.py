"""What the check of an offline bundle says, and what the installation then installs."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.fresh_process import ROOT

sys.path.insert(0, str(ROOT / "scripts"))
import offline_check
from offline_check import cuda_sentence, machine_problem, missing_wheels, package_problem, unlisted_methods

BUNDLE = {"python": "3.12", "platform": "manylinux_2_28_x86_64"}


def test_a_package_that_fits_is_no_problem() -> None:
    assert package_problem("numpy", ">=1.24", None, "2.5.2") is None
    assert package_problem("numpy", "", None, "1.0.dev1") is None


def test_a_missing_package_is_installed_from_the_folder_or_brought_by_another_bundle() -> None:
    assert package_problem("tyro", ">=0.6", "tyro-1-py3-none-any.whl", None) == (
        "tyro>=0.6 is needed and it is missing here: run `bash install.sh`."
    )
    said = package_problem("scipy", ">=1.10", None, "1.9")
    assert said is not None
    assert "version 1.9 is here" in said
    assert "--bring 'scipy>=1.10'" in said


def test_a_bundle_for_another_python_or_processor_is_refused() -> None:
    assert machine_problem(BUNDLE, "3.12", "x86_64") is None
    assert "this is Python 3.11" in (machine_problem(BUNDLE, "3.11", "x86_64") or "")
    assert "this machine is aarch64" in (machine_problem(BUNDLE, "3.12", "aarch64") or "")
    assert machine_problem({**BUNDLE, "platform": "win_amd64"}, "3.12", "AMD64") is None


@pytest.mark.parametrize(
    ("built_for", "device", "driver", "said"),
    [
        ("13.0", "a card", "13.0", "built for 13.0 and sees a card"),
        ("13.0", None, "12.2", "knows CUDA up to 12.2"),
        ("13.0", None, None, "no NVIDIA driver"),
        (None, None, "13.0", "though there is a driver for CUDA 13.0"),
        (None, None, None, "torch is built without it; training runs on the CPU"),
    ],
)
def test_cuda_is_one_sentence(built_for: str | None, device: str | None, driver: str | None, said: str) -> None:
    assert said in cuda_sentence(built_for, device, driver)


def test_a_package_that_stands_in_for_another_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(offline_check.ALTERNATIVES, "not-here", ("pytest",))
    assert offline_check.installed_version("not-here") == pytest.__version__
    assert offline_check.installed_version("not-here-either") is None


def test_only_what_is_missing_is_installed_and_our_own_package_always() -> None:
    entries: dict[str, dict[str, Any]] = {
        "pytest": {"versions": ">=1", "wheel": "pytest.whl"},
        "numpy": {"versions": ">=99", "wheel": "numpy.whl"},
        "not-here": {"versions": "", "wheel": None},
        "semantic-ns": {"versions": "", "wheel": "semantic_ns.whl"},
    }
    assert missing_wheels({"needed": entries}) == ["numpy.whl", "semantic_ns.whl"]


def test_the_package_s_methods_are_those_that_it_registers() -> None:
    assert {"semantic-nerf", "semantic-ngp"} <= set(offline_check.own_methods())


def test_a_method_is_not_listed_by_a_longer_name() -> None:
    assert unlisted_methods("{nerfacto,semantic-nerf-big}", ["semantic-nerf-big", "semantic-nerf"]) == ["semantic-nerf"]


def test_a_module_that_does_not_import_is_one_sentence() -> None:
    assert offline_check.import_problem("json") is None
    assert offline_check.import_problem("not_here") == (
        "not_here cannot be imported (ModuleNotFoundError: No module named 'not_here')."
    )


def folder_with(tmp_path: Path, **bundle: Any) -> Path:
    shutil.copyfile(ROOT / "scripts" / "offline_check.py", tmp_path / "check.py")
    shutil.copyfile(ROOT / "scripts" / "offline_install.sh", tmp_path / "install.sh")
    machine = os.uname().machine
    here = {"python": f"3.{sys.version_info.minor}", "platform": f"manylinux_2_28_{machine}", "needed": {}}
    (tmp_path / "bundle.json").write_text(json.dumps({**here, **bundle}))
    return tmp_path


def test_the_check_names_each_missing_package_and_fails(tmp_path: Path) -> None:
    needed = {name: {"versions": "", "wheel": None} for name in ("not-here", "nor-here")}
    folder = folder_with(tmp_path, needed=needed)
    process = subprocess.run([sys.executable, folder / "check.py"], capture_output=True, text=True, check=False)
    assert process.returncode == 1
    assert [line.split()[0] for line in process.stdout.splitlines()] == ["not-here", "nor-here"]


def test_the_installation_for_another_python_stops_with_that_sentence(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, python="3.1")
    process = subprocess.run(
        ["bash", folder / "install.sh"], env={**os.environ, "PYTHON": sys.executable}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert process.returncode == 1
    assert "This bundle is for Python 3.1" in process.stderr
    assert "Traceback" not in process.stderr
