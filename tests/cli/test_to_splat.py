"""`sns-to-splat`: a trained run as Gaussians."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from nerfstudio.scripts.train import main as train
from PIL import Image
from rich.console import Console

from semantic_ns.cli.to_splat import ToSplat, refuse_without_labels
from semantic_ns.datamanagers.many_scenes_datamanager import ManyScenesDataManager
from semantic_ns.datamanagers.semantic_datamanager import SemanticDataManager
from semantic_ns.dataparsers.replica import ReplicaDataParserConfig
from semantic_ns.datasets.semantic_dataset import SemanticDataset
from semantic_ns.errors import SceneError
from semantic_ns.methods.semantic_nerf.method import semantic_nerf
from semantic_ns.runs import load_run
from semantic_ns.splatting.ply import read_splat
from support.registered import configured


@pytest.fixture(scope="module")
def run(replica_scene: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = configured(
        semantic_nerf, replica_scene, tmp_path_factory.mktemp("run"), 4, num_levels=4, log2_hashmap_size=8
    )
    config.pipeline.propagation.enabled = False  # pyright: ignore[reportAttributeAccessIssue]
    train(config)
    return config.get_base_dir() / "config.yml"


def test_a_run_becomes_gaussians_with_the_classes_of_the_scene(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ToSplat(run, tmp_path / "out", steps=20).main()
    said = capsys.readouterr().out
    assert "Depth: the images of the scene, of " in said
    assert "images that were not trained on: PSNR" in said
    table = json.loads((tmp_path / "out" / "classes.json").read_text("utf8"))
    names = {entry["id"]: entry["name"] for entry in table["classes"]}
    gaussians, colors, classes = read_splat(tmp_path / "out" / "splat.ply")
    assert len(gaussians) > 100
    assert gaussians.blur == 0.3  # of most viewers
    assert len(set(classes)) > 1
    assert set(classes) <= {*names, -1}
    _, shown, same = read_splat(tmp_path / "out" / "splat_classes.ply")
    assert same.tolist() == classes.tolist()
    by_id = {entry["id"]: torch.tensor(entry["color"]) / 255 for entry in table["classes"]}
    first = next(n for n, number in enumerate(classes) if number in by_id)
    torch.testing.assert_close(shown[first], by_id[classes[first]], atol=1e-3, rtol=0)
    assert not torch.equal(shown, colors)


def test_the_depth_that_the_run_renders_serves_as_well(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ToSplat(run.parent, tmp_path / "out", depth="rendered", steps=1, blur=0.1).main()
    assert read_splat(tmp_path / "out" / "splat.ply")[0].blur == 0.1
    assert "training images, rendered by the run." in capsys.readouterr().out
    assert (tmp_path / "out" / "splat.ply").is_file()


def test_depth_of_another_unit_is_not_what_gaussians_begin_at(
    run: Path, replica_scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scaled = tmp_path / "scaled"
    shutil.copytree(replica_scene, scaled)
    for path in scaled.rglob("depth_*.png"):
        values = np.asarray(Image.open(path)).astype(np.float64)
        path.unlink()  # a copy may share its file
        Image.fromarray((0.5 * values).astype(np.uint16)).save(path)
    model = load_run(run, option="RUN").model
    dataset = SemanticDataset(ReplicaDataParserConfig(data=scaled).setup().get_dataparser_outputs("train"))
    with pytest.raises(SceneError, match="that agree between views, found none"):
        ToSplat(run, tmp_path / "out", depth="given")._depths(model, dataset, Console())
    depths, is_rendered = ToSplat(run, tmp_path / "out")._depths(model, dataset, Console())
    said = capsys.readouterr().out
    assert "their scale is not that of the poses" in said
    assert "rendered by the run" in said
    assert is_rendered
    assert len(depths) == len(dataset)


def test_wrong_options_are_one_sentence_before_anything_is_loaded(run: Path, tmp_path: Path) -> None:
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").write_text("mine")
    with pytest.raises(SceneError, match="new or an empty folder"):
        ToSplat(run, tmp_path / "used").main()
    with pytest.raises(SceneError, match="--steps of at least 0"):
        ToSplat(run, tmp_path / "out", steps=-1).main()
    with pytest.raises(SceneError, match=r"Expected 0\.03 to 10 for --blur, found nan"):
        ToSplat(run, tmp_path / "out", blur=math.nan).main()
    with pytest.raises(SceneError, match=r"config\.yml of a training run"):
        ToSplat(tmp_path / "nothing", tmp_path / "out").main()


def test_nothing_is_written_into_the_scene(run: Path, replica_scene: Path) -> None:
    with pytest.raises(SceneError, match="outside the scene"):
        ToSplat(run, replica_scene / "splat").main()
    assert not (replica_scene / "splat").exists()


def test_runs_of_many_rooms_have_no_labels_of_one_scene() -> None:
    with pytest.raises(SceneError, match="trained on one scene and its labels"):
        refuse_without_labels(ManyScenesDataManager.__new__(ManyScenesDataManager))
    refuse_without_labels(SemanticDataManager.__new__(SemanticDataManager))
