"""A run is where its config.yml is, and its scene is found relative to it, whatever moved and wherever one stands."""

import os
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from nerfstudio.configs.base_config import MachineConfig
from nerfstudio.data.datamanagers.base_datamanager import VanillaDataManagerConfig
from nerfstudio.pipelines.base_pipeline import VanillaPipelineConfig

from semantic_ns.checkpoints import find_checkpoint
from semantic_ns.dataparsers.auto import AutoDataParserConfig
from semantic_ns.errors import SceneError
from semantic_ns.run_paths import SCENE_VARIABLE, RunPlaces, opened_by_command, option_value
from semantic_ns.trainer import SemanticTrainerConfig

RUN = "outputs/scene/tiny/then"


def make_run(home: Path, data: str | Path, output_dir: str | Path = "outputs", **data_options: Any) -> Path:
    """Write a scene and a run of it in a working folder, as ns-train does it there; returns the run's config.yml."""
    parser = AutoDataParserConfig(**data_options)
    config = SemanticTrainerConfig(
        output_dir=Path(output_dir),
        method_name="tiny",
        experiment_name="scene",
        timestamp="then",
        machine=MachineConfig(device_type="cpu"),
        pipeline=VanillaPipelineConfig(datamanager=VanillaDataManagerConfig(data=Path(data), dataparser=parser)),
    )
    (home / data).mkdir(parents=True, exist_ok=True)
    before = Path.cwd()
    os.chdir(home)
    try:
        config.save_config()
        (config.get_checkpoint_dir()).mkdir()
        (config.get_checkpoint_dir() / "step-000000003.ckpt").touch()
    finally:
        os.chdir(before)
    return home / config.get_base_dir() / "config.yml"


@pytest.fixture
def open_run(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Reads a configuration as a command of nerfstudio does, in any working folder."""

    def opened(path: Path, folder: Path, program: str = "ns-eval") -> Any:
        monkeypatch.setattr(sys, "argv", [program, "--load-config", str(path)])
        monkeypatch.chdir(folder)
        return yaml.load(path.read_text(), Loader=yaml.Loader)

    return opened


def scene_of(config: Any) -> Path:
    return Path(config.pipeline.datamanager.data)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    path = tmp_path / "home"
    path.mkdir()
    return path


@pytest.mark.parametrize("data", ["scene", "data/scene", "../aside/scene"])
def test_a_run_of_relative_paths_opens_from_any_folder(data: str, home: Path, tmp_path: Path, open_run: Any) -> None:
    path = make_run(home, data)
    for folder in (home, tmp_path, path.parent):
        config = open_run(path, folder)
        assert scene_of(config).samefile(home / data)
        assert config.get_checkpoint_dir().samefile(path.parent / "nerfstudio_models")
        assert list(config.get_checkpoint_dir().iterdir())


@pytest.mark.parametrize("absolute_data", [True, False])
@pytest.mark.parametrize("absolute_output", [True, False])
def test_a_scene_and_its_run_may_move_together(
    absolute_data: bool, absolute_output: bool, home: Path, tmp_path: Path, open_run: Any
) -> None:
    data = home / "data/scene" if absolute_data else "data/scene"
    path = make_run(home, data, home / "outputs" if absolute_output else "outputs")
    moved = home.rename(tmp_path / "moved")
    config = open_run(moved / path.relative_to(home), tmp_path)
    assert scene_of(config) == moved / "data/scene"
    assert config.get_base_dir() == moved / RUN


def test_a_renamed_run_finds_its_checkpoints_and_a_scene_that_stayed(home: Path, tmp_path: Path, open_run: Any) -> None:
    path = make_run(home, home / "scene")
    renamed = path.parent.rename(tmp_path / "my best run")
    config = open_run(renamed / "config.yml", tmp_path)
    assert config.get_checkpoint_dir() == renamed / "nerfstudio_models"
    assert scene_of(config) == home / "scene"


def test_a_copy_of_a_run_is_not_taken_for_the_first_one(home: Path, tmp_path: Path, open_run: Any) -> None:
    path = make_run(home, home / "scene", home / "outputs")
    copied = Path(shutil.copytree(path.parent, tmp_path / "copy"))
    assert open_run(copied / "config.yml", home).get_checkpoint_dir() == copied / "nerfstudio_models"


def test_a_configuration_without_checkpoints_beside_it_keeps_its_paths(
    home: Path, tmp_path: Path, open_run: Any
) -> None:
    path = make_run(home, home / "scene", home / "outputs")
    alone = Path(shutil.copy(path, tmp_path / "config.yml"))
    assert open_run(alone, tmp_path).get_base_dir() == path.parent


def test_a_scene_is_found_by_its_names_above_the_run_but_never_in_the_run(
    home: Path, tmp_path: Path, open_run: Any
) -> None:
    path = make_run(home, home / "rooms/scene", home / "outputs")
    (home / "rooms").rename(tmp_path / "rooms")
    assert (home / "outputs/scene").is_dir()  # of the same name
    assert scene_of(open_run(path, tmp_path)) == tmp_path / "rooms/scene"


def test_a_scene_that_is_not_found_keeps_its_path_and_the_parser_names_the_variable(
    home: Path, tmp_path: Path, open_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_run(home, home / "scene", home / "outputs")
    elsewhere = (home / "scene").rename(tmp_path / "another name")
    gone = open_run(path, tmp_path)
    assert scene_of(gone) == home / "scene"
    with pytest.raises(SceneError, match=rf"folder of a scene at .*found nothing; .*{SCENE_VARIABLE}\."):
        AutoDataParserConfig(data=scene_of(gone)).setup().get_dataparser_outputs("train")
    monkeypatch.setenv(SCENE_VARIABLE, str(elsewhere))
    assert scene_of(open_run(path, tmp_path)) == elsewhere


def test_files_of_the_scene_that_options_name_move_with_it(home: Path, tmp_path: Path, open_run: Any) -> None:
    path = make_run(home, home / "scene", classes=home / "scene/my classes.csv", label_space="nyu40")
    moved = home.rename(tmp_path / "moved")
    parser = open_run(moved / path.relative_to(home), tmp_path).pipeline.datamanager.dataparser
    assert parser.classes == moved / "scene/my classes.csv"
    assert parser.label_space == "nyu40"


def test_what_is_read_from_elsewhere_is_said_and_what_is_not_is_not(
    home: Path, tmp_path: Path, open_run: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    path = make_run(home, home / "scene")
    open_run(path, tmp_path)
    assert "its scene is read from" not in capsys.readouterr().out
    moved = home.rename(tmp_path / "moved")
    open_run(moved / path.relative_to(home), tmp_path)
    said = " ".join(capsys.readouterr().out.split())
    assert f"its scene is read from {moved / 'scene'}; it was trained on {home / 'scene'}" in said


def test_resuming_goes_on_in_the_folder_that_moved(home: Path, tmp_path: Path, open_run: Any) -> None:
    path = make_run(home, "scene")
    config = yaml.load(path.read_text(), Loader=yaml.Loader)
    config.load_dir = Path(RUN) / "nerfstudio_models"
    path.with_name("resume.yml").write_text(yaml.dump(config))
    moved = home.rename(tmp_path / "moved")
    again = open_run(moved / RUN / "resume.yml", tmp_path, program="ns-train")
    assert find_checkpoint_name(again) == "step-000000003.ckpt"
    assert again.get_base_dir() == moved / RUN
    # Written again from there, it is a run of that folder.
    again.load_dir = None
    again.save_config()
    assert scene_of(open_run(moved / RUN / "config.yml", home.parent)) == moved / "scene"


def find_checkpoint_name(config: Any) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("zipfile.is_zipfile", lambda path: True)
        return find_checkpoint(config.load_dir).name


def test_other_programs_and_copies_of_a_configuration_change_no_path(home: Path, tmp_path: Path, open_run: Any) -> None:
    path = make_run(home, "scene")
    config = open_run(path, tmp_path, program="my_script.py")
    assert (scene_of(config), config.get_base_dir()) == (Path("scene"), Path(RUN))
    places = RunPlaces(path.parent, Path(RUN), home)
    assert places.find_scene(Path("nowhere/at all")) is None


@pytest.mark.parametrize("form", ["--load-config {}", "--load-config={}", "--load_config {}", "--load-config x {} {}"])
def test_the_last_value_of_an_option_counts_in_any_spelling(form: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yml"
    path.touch()
    text = form.format(path, path) if form.count("{}") == 1 else f"--load-config x --load-config {path}"
    arguments = ["/usr/bin/ns-eval", *text.split()]
    assert option_value("--load-config", arguments) == str(path)
    assert opened_by_command(arguments) == path
    assert opened_by_command(["python", *arguments[1:]]) is None
    path.unlink()
    assert opened_by_command(arguments) is None


def test_a_pipeline_without_a_scene_is_left_alone(tmp_path: Path) -> None:
    from semantic_ns.run_paths import relocate

    config = SimpleNamespace(
        relative_model_dir=Path("models"),
        trained_in=None,
        get_base_dir=lambda: Path("outputs/run"),
        pipeline=SimpleNamespace(datamanager=SimpleNamespace(data=None, dataparser=SimpleNamespace(data=Path()))),
    )
    relocate(config, tmp_path / "config.yml")
    assert config.pipeline.datamanager.dataparser.data == Path()
