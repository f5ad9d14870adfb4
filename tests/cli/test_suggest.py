"""What `sns-suggest` writes, and what it refuses."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nerfstudio.scripts.train import main as train
from PIL import Image

from semantic_ns.active_learning.config import SelectionConfig
from semantic_ns.active_learning.rounds.suggestions import have_labels
from semantic_ns.cli import suggest
from semantic_ns.cli.suggest import Suggest
from semantic_ns.errors import SceneError
from semantic_ns.labels.corruption import CorruptionConfig
from semantic_ns.methods.semantic_nerf.method import semantic_nerf
from support.registered import configured
from support.selection_pools import block_units


def trained(scene: Path, folder: Path, corruption: CorruptionConfig) -> Path:
    config = configured(semantic_nerf, scene, folder, 8, num_levels=4, log2_hashmap_size=8)
    config.pipeline.datamanager.corruption = corruption  # pyright: ignore[reportAttributeAccessIssue]
    config.pipeline.propagation.enabled = False  # pyright: ignore[reportAttributeAccessIssue]
    train(config)
    return config.get_base_dir() / "config.yml"


@pytest.fixture(scope="module")
def run(replica_scene: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained on the labels of four of its ten frames."""
    return trained(replica_scene, tmp_path_factory.mktemp("run"), CorruptionConfig(sparse_ratio=0.6))


def written(folder: Path) -> list[dict[str, Any]]:
    content = json.loads((folder / "suggestions.json").read_text("utf8"))
    assert [entry["rank"] for entry in content["suggestions"]] == [*range(1, 1 + len(content["suggestions"]))]
    return content["suggestions"]


def test_regions_are_drawn_and_listed_best_first(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Suggest(run, 5, tmp_path / "out", SelectionConfig(region_pixels=60, discard_unsure_depth=False)).main()
    entries = written(tmp_path / "out")
    assert "Suggested 5 of " in capsys.readouterr().out
    assert len({entry["unit"] for entry in entries}) == 5
    scores = [entry["score"] for entry in entries]
    assert scores == sorted(scores, reverse=True)
    for entry in entries:
        numbers = np.asarray(Image.open(tmp_path / "out" / entry["image_of_units"]))
        mask = numbers == entry["number"]
        left, top, right, bottom = entry["box"]
        assert mask.sum() == mask[top:bottom, left:right].sum() == entry["pixels"] > 0
        assert all(edge.any() for edge in (mask[top], mask[bottom - 1], mask[:, left], mask[:, right - 1]))
        picture = np.asarray(Image.open(tmp_path / "out" / entry["picture"]))
        assert picture.shape[0] % 36 == picture.shape[1] % 48 == 0
        assert entry["image"].endswith(".png")


@pytest.mark.parametrize("strategy", ["random", "coverage", "core-set", "disagreement"])
def test_frames_with_labels_are_not_suggested(run: Path, tmp_path: Path, strategy: Any) -> None:
    Suggest(run, 100, tmp_path / "out", SelectionConfig(strategy=strategy, unit="frame", region_pixels=60)).main()
    entries = written(tmp_path / "out")
    assert len(entries) == 6
    assert all((entry["score"] is None) == (strategy == "random") for entry in entries)
    assert all(entry["box"] == [0, 0, 48, 36] and entry["pixels"] == 48 * 36 for entry in entries)


def test_pixels_are_single(run: Path, tmp_path: Path) -> None:
    Suggest(run, 3, tmp_path / "out", SelectionConfig(strategy="entropy", unit="pixel")).main()
    for entry in written(tmp_path / "out"):
        left, top, right, bottom = entry["box"]
        assert (right - left, bottom - top, entry["pixels"]) == (1, 1, 1)
        assert entry["unit"] == (entry["frame"] * 36 + top) * 48 + left


def test_a_run_with_all_labels_is_told(replica_scene: Path, tmp_path: Path) -> None:
    config = trained(replica_scene, tmp_path, CorruptionConfig())
    with pytest.raises(SceneError, match="there is nothing to suggest"):
        Suggest(config, 1, tmp_path / "out", SelectionConfig(unit="frame")).main()
    assert not (tmp_path / "out").exists()


def test_frames_count_as_labelled_from_half_of_their_pixels_on_and_regions_from_a_click_on() -> None:
    units = block_units(2)
    given = [np.full((8, 12), -1, np.int16) for _ in range(2)]
    given[1][units.maps[1] == len(units) - 1] = 4
    rows, columns = np.nonzero(units.maps[0] == 0)
    half = (len(rows) + 1) // 2
    given[0][rows[:half], columns[:half]] = 0
    expected = np.zeros(len(units), bool)
    expected[[0, len(units) - 1]] = True
    assert (have_labels(units, given, "frame") == expected).all()
    given[0][rows[:1], columns[:1]] = -1
    assert have_labels(units, given, "frame").sum() == 1
    assert (have_labels(units, given, "region") == expected).all()
    given[0][rows[:half], columns[:half]] = -1
    assert have_labels(units, given, "region").sum() == 1


@pytest.mark.parametrize(
    ("budget", "options", "named"),
    [(0, {}, "--budget"), (1, {"region_pixels": 0}, "region_pixels"), (1, {"voxel_size_m": -1.0}, "voxel_size_m")],
)
def test_an_option_out_of_range_is_named(budget: int, options: dict[str, Any], named: str, tmp_path: Path) -> None:
    (tmp_path / "config.yml").touch()
    with pytest.raises(SceneError, match=named):
        Suggest(tmp_path / "config.yml", budget, Path("out"), SelectionConfig(**options)).main()


def test_a_used_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.yml").touch()
    with pytest.raises(SceneError, match="choose another --output"):
        Suggest(tmp_path / "config.yml", 1, tmp_path).main()


def test_the_command_says_which_config_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--load-config", str(tmp_path / "config.yml"), "--output", str(tmp_path / "out"), "--budget", "3"]
    monkeypatch.setattr(sys, "argv", ["sns-suggest", *options, "--strategy", "margin", "--unit", "frame"])
    with pytest.raises(SystemExit) as caught:
        suggest.entrypoint()
    assert caught.value.code == 1
    assert capsys.readouterr().err.startswith("Error: Expected the config.yml of a training run, found no file")
