"""What the commands of steps are told: the environment, and how the scene is read."""

import sys
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import tyro

from semantic_ns.cli.doctor import Doctor
from semantic_ns.jobs.processes import Processes
from semantic_ns.run_paths import SCENE_VARIABLE
from semantic_ns.scene_batch.scene import run_scene
from semantic_ns.scene_batch.steps import _PARSERS, command_of, config_path
from support.batch_steps import FakeSteps, task

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@linux
def test_a_step_opens_its_own_scene_whatever_the_shell_says_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SCENE_VARIABLE, str(tmp_path / "another"))
    monkeypatch.setenv("NAME_OF_THE_USER", "kept")
    one = task(tmp_path, steps=("train", "eval"), environment={"OMP_NUM_THREADS": "3"})
    said = tmp_path / "environment.txt"
    code = f"import os; open({str(said)!r}, 'a').write(repr(dict(os.environ)) + '\\n')"
    run_scene(one, Processes(), command_of=FakeSteps(tmp_path, {("room", "train"): code, ("room", "eval"): code}))
    environments = said.read_text().splitlines()
    assert len(environments) == 2
    assert all(SCENE_VARIABLE not in environment for environment in environments)
    assert all("'NAME_OF_THE_USER': 'kept'" in environment for environment in environments)
    assert all("'OMP_NUM_THREADS': '3'" in environment for environment in environments)


def doctor_of(folder: Path, *arguments: str) -> Doctor:
    command = command_of("doctor", folder / "room", folder, config_path(folder, "m"), "m", arguments)
    assert command[1:3] == ["-m", "semantic_ns.cli.doctor"]
    return tyro.cli(Doctor, args=command[3:])


def test_the_doctor_reads_a_scene_as_the_training_does(tmp_path: Path) -> None:
    training = ("--max-num-iterations", "5", "nerfstudio-semantic-data", "--classes", "table.csv", "--split", "all")
    doctor = doctor_of(tmp_path, *training)
    assert (doctor.scene, doctor.json) == (tmp_path / "room", tmp_path / "doctor.json")
    assert (doctor.parser, doctor.classes) == ("nerfstudio-semantic-data", Path("table.csv"))
    doctor = doctor_of(tmp_path, "hypersim-data", "--camera_parameters=c.csv", "--camera", "cam_01")
    assert (doctor.parser, doctor.camera_parameters, doctor.camera) == ("hypersim-data", Path("c.csv"), "cam_01")
    doctor = doctor_of(tmp_path, "scannet-semantic-data", "--label-table", "t.tsv", "--label-space", "nyu40")
    assert (doctor.label_table, doctor.label_space) == (Path("t.tsv"), "nyu40")


def test_options_of_the_method_are_not_taken_for_those_of_the_dataparser(tmp_path: Path) -> None:
    for arguments in ((), ("--max-num-iterations", "5"), ("--camera", "x", "semantic-data", "--split", "all")):
        doctor = doctor_of(tmp_path, *arguments)
        assert (doctor.parser, doctor.classes, doctor.camera) == ("semantic-data", None, None)


def test_the_doctor_is_told_of_all_dataparsers_that_it_knows() -> None:
    assert get_args(get_type_hints(Doctor)["parser"]) == _PARSERS
