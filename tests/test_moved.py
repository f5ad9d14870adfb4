"""Runs of older versions still open, although modules have moved since."""

import json
import shutil
import sys
from importlib import import_module
from pathlib import Path

import pytest
import yaml
from fresh_process import ROOT
from nerfstudio.scripts.eval import ComputePSNR

from semantic_ns import moved

OLD_RUN = Path(__file__).parent / "data" / "run_of_c00dec7"
"""`semantic-nerf` with tiny tables, 800 steps on `nerfstudio_scene`, by commit c00dec7; without optimizer states."""
OLD_SCORES = {"psnr": 15.358816, "miou_present": 0.099887, "depth_l1": 1.926716, "pixel_accuracy": 0.368344}
"""What `ns-eval` of that commit said of it."""


@pytest.fixture
def old_run(tmp_path: Path, nerfstudio_scene: Path) -> Path:
    """The old run in a folder as nerfstudio lays it out, with the place of its scene filled in."""
    run = tmp_path / "scene" / "semantic-nerf" / "run"
    shutil.copytree(OLD_RUN, run)
    text = (run / "config.yml").read_text()
    (run / "config.yml").write_text(text.replace("SCENE", str(nerfstudio_scene)).replace("OUTPUT", str(tmp_path)))
    return run


def test_a_run_of_an_older_version_has_the_scores_that_it_had(old_run: Path, tmp_path: Path) -> None:
    ComputePSNR(old_run / "config.yml", tmp_path / "scores.json").main()
    scores = json.loads((tmp_path / "scores.json").read_text())["results"]
    for name, value in OLD_SCORES.items():
        assert scores[name] == pytest.approx(value, rel=1e-3), name


def test_a_configuration_of_an_older_version_is_one_of_the_present_classes(old_run: Path) -> None:
    config = yaml.load((old_run / "config.yml").read_text(), Loader=yaml.Loader)
    assert type(config.pipeline).__module__ == "semantic_ns.pipeline"
    assert type(config.pipeline.model).__module__ == "semantic_ns.methods.semantic_nerf.model"


@pytest.mark.parametrize("old", moved.MOVED)
def test_a_moved_module_is_the_same_under_both_names(old: str) -> None:
    assert import_module(old) is import_module(moved.MOVED[old])


@pytest.mark.parametrize("old", moved.MOVED)
def test_no_module_has_the_old_name_of_another(old: str) -> None:
    place = ROOT.joinpath(*old.split("."))
    assert not place.with_suffix(".py").exists()
    assert not place.is_dir()


def test_a_name_that_never_was_stays_unknown() -> None:
    with pytest.raises(ModuleNotFoundError):
        import_module("semantic_ns.models.semantic_nothing")


def test_moved_modules_are_looked_for_once() -> None:
    before = len(sys.meta_path)
    moved.find_moved_modules()
    assert len(sys.meta_path) == before
