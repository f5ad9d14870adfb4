"""Runs and command lines of older versions still work, although modules and options have moved since."""

import copy
import json
import shutil
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from nerfstudio.scripts.eval import ComputePSNR
from nerfstudio.utils.eval_utils import eval_setup

from semantic_ns import moved
from semantic_ns.labels.taxonomy import VOID
from support.fresh_process import ROOT, TESTS, run_with_libraries

OLD_RUN = TESTS / "data" / "run_of_c00dec7"
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


@pytest.mark.parametrize("module", ["semantic_ns.vanilla.{}", "semantic_ns.methods.semantic_nerf_vanilla.{}"])
@pytest.mark.parametrize(("part", "name"), [("model", "Model"), ("datamanager", "DataManager")])
def test_a_configuration_finds_its_class_under_a_name_of_before(module: str, part: str, name: str) -> None:
    text = f"!!python/object:{module.format(part)}.Paper{name}Config {{}}"
    config = yaml.load(text, Loader=yaml.Loader)
    assert type(config).__name__ == f"SemanticNerfVanilla{name}Config"


def test_a_module_that_a_namespace_package_lacks_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Its path is no sequence. Packages ask for modules that may be missing and go on without them.
    (tmp_path / "package_of_nothing").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    moved.find_moved_modules()
    with pytest.raises(ModuleNotFoundError):
        import_module("package_of_nothing.part")


def loaded(run: Path) -> Any:
    """The configuration of a run."""
    return yaml.load((run / "config.yml").read_text(), Loader=yaml.Loader)


def test_active_learning_of_an_older_run_is_that_of_its_pipeline(old_run: Path) -> None:
    assert loaded(old_run).pipeline.active.strategy is None
    text = (old_run / "config.yml").read_text()
    assert text.count("strategy: null") == 1
    (old_run / "config.yml").write_text(
        text.replace("strategy: null", "strategy: margin").replace("region_pixels: 300", "region_pixels: 60")
    )
    pipeline = loaded(old_run).pipeline
    assert (pipeline.active.strategy, pipeline.active.region_pixels) == ("margin", 60)
    assert "active" not in vars(pipeline.datamanager)
    again = yaml.load(yaml.dump(pipeline), Loader=yaml.Loader)
    assert again.active == pipeline.active
    assert copy.deepcopy(pipeline).active == pipeline.active


@pytest.mark.parametrize(("old", "present"), [("colours", "colors"), ("families", "clusters")])
@pytest.mark.parametrize("value", ["true", "false"])
def test_an_older_run_spreads_by_what_it_spread_by(old_run: Path, old: str, present: str, value: str) -> None:
    text = (old_run / "config.yml").read_text()
    assert text.count(f"{old}: true") == 1
    (old_run / "config.yml").write_text(text.replace(f"{old}: true", f"{old}: {value}"))
    spreading = loaded(old_run).pipeline.propagation.spreading
    assert getattr(spreading, present) == (value == "true")
    assert copy.deepcopy(spreading) == spreading
    assert yaml.load(yaml.dump(spreading), Loader=yaml.Loader) == spreading


def test_an_older_run_with_active_learning_opens_with_the_labels_that_were_revealed_in_it(
    old_run: Path, tmp_path: Path
) -> None:
    text = (old_run / "config.yml").read_text().replace("strategy: null", "strategy: margin")
    (old_run / "config.yml").write_text(text)
    (path,) = (old_run / "nerfstudio_models").glob("*.ckpt")
    state = torch.load(path, map_location="cpu", weights_only=False)
    plain: Any = eval_setup(old_run / "config.yml", test_mode="inference")[1]
    revealed, snapshot = plain.revealed_labels, plain.run_snapshot
    assert all((labels == VOID).all() for labels in plain.datamanager.training_labels)
    revealed.labels[1][3:5] = 2
    revealed.asked, revealed.is_answered = np.array([7, 4]), np.array([True, False])
    # The names that these had in checkpoints of that time.
    state["pipeline"]["datamanager.given._extra_state"] = revealed.get_extra_state()
    state["pipeline"]["moment._extra_state"] = snapshot.get_extra_state()
    torch.save(state, path)
    opened: Any = eval_setup(old_run / "config.yml", test_mode="inference")[1]
    assert opened.revealed_labels.pending.tolist() == [4]
    assert opened.run_snapshot.is_loaded
    for seen, own in zip(opened.datamanager.training_labels, revealed.labels, strict=True):
        np.testing.assert_array_equal(seen, own)
    assert (opened.datamanager.training_labels[1][3:5] == 2).all()


@pytest.mark.parametrize(
    ("old", "present"),
    [
        (["--pipeline.datamanager.active.strategy", "geometry"], ["--pipeline.active.strategy", "geometry"]),
        (["--pipeline.datamanager.active.oracle-folder=a"], ["--pipeline.active.oracle-folder=a"]),
        (["--pipeline.datamanager.active.oracle_folder=a b"], ["--pipeline.active.oracle_folder=a b"]),
        (["--pipeline.propagation.spreading.colours", "False"], ["--pipeline.propagation.spreading.colors", "False"]),
        (["--pipeline.propagation.spreading.families=False"], ["--pipeline.propagation.spreading.clusters=False"]),
        (["--pipeline.datamanager.labelled-share", "0.1"], ["--pipeline.datamanager.labelled-share", "0.1"]),
        (["--data", "pipeline.datamanager.active.x"], ["--data", "pipeline.datamanager.active.x"]),
    ],
)
def test_a_moved_option_gets_its_present_name_and_no_other_word_changes(old: list[str], present: list[str]) -> None:
    assert moved.present_options(old) == present
    assert moved.former_options(present) == old
    assert moved.present_options(present) == present


@pytest.mark.parametrize(
    "words",
    [
        ["--pipeline.datamanager.active.region-pixels", "77", "--pipeline.datamanager.active.strategy=margin"],
        ["--pipeline.datamanager.active.region_pixels=77", "--pipeline.active.strategy", "margin"],
    ],
)
def test_ns_train_takes_options_by_their_old_names_and_names_the_present_ones(words: list[str]) -> None:
    code = (
        "import sys\n"
        f"sys.argv = ['ns-train', 'semantic-nerf', *{words!r}, '--data', 'scene']\n"
        "from nerfstudio.scripts import train\n"
        "train.main = lambda config: print(config.pipeline.active.region_pixels, config.pipeline.active.strategy)\n"
        "train.entrypoint()\n"
    )
    done = run_with_libraries(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "77 margin"
    said = [line for line in done.stdout.splitlines() if "their old names still work" in line]
    assert len(said) == 1
    assert "region" in said[0]
    assert "is now --pipeline.active.region" in said[0]


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
