"""Every registered method trains, is scored, rendered and resumed, as a user would do it."""

import json
from pathlib import Path
from typing import Any

import pytest
from nerfstudio.plugins.types import MethodSpecification
from nerfstudio.scripts.render import DatasetRender
from nerfstudio.scripts.train import main as train
from nerfstudio.utils.eval_utils import eval_setup
from nerfstudio.viewer.utils import parse_object
from nerfstudio.viewer.viewer_elements import ViewerElement
from PIL import Image

from semantic_ns.cli.export_labels import ExportLabels
from semantic_ns.dataparsers.replica import ReplicaDataParserConfig
from semantic_ns.errors import SceneError
from semantic_ns.methods.semantic_nerf.method import semantic_nerf
from semantic_ns.methods.semantic_nerf_vanilla.method import semantic_nerf_vanilla
from semantic_ns.methods.semantic_ngp.method import semantic_ngp
from support.fresh_process import run_module_warm
from support.registered import METHODS, SMALL, configured
from support.scoring import scores


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_a_method_trains_and_is_scored_and_rendered_in_every_output(
    method: MethodSpecification, smaller_scene: Path, tmp_path: Path
) -> None:
    config = configured(method, smaller_scene, tmp_path, 3, **SMALL[str(method.config.method_name)])
    config.pipeline.eval_images_at_end = 1  # pyright: ignore[reportAttributeAccessIssue]
    train(config)
    assert 0 <= scores(config, tmp_path)["miou_present"] <= 1
    DatasetRender(
        config.get_base_dir() / "config.yml", output_path=tmp_path / "rendered", split="test", image_format="png"
    ).main()
    rendered = {path.parent.name for path in (tmp_path / "rendered").rglob("*.png")}
    assert rendered >= {
        "rgb", "depth", "accumulation", "semantics_colormap", "semantics_overlay", "semantics_confidence",
        "semantics_entropy",
    }  # fmt: skip
    assert Image.open(next((tmp_path / "rendered").rglob("semantics_colormap/*.png"))).mode == "RGB"
    _, pipeline, _, _ = eval_setup(config.get_base_dir() / "config.yml")
    # The viewer, which starts with a training by default, reads every attribute of the pipeline.
    parse_object(pipeline, ViewerElement, "Custom Elements")


@pytest.mark.parametrize(
    ("method", "options"),
    [(semantic_nerf, {}), (semantic_nerf, {"fuse_on_cpu": False}), (semantic_ngp, {}), (semantic_nerf_vanilla, {})],
)
def test_without_semantics_colour_and_depth_are_trained_and_scored_and_no_labels_exported(
    method: MethodSpecification, options: dict[str, Any], replica_scene: Path, tmp_path: Path
) -> None:
    sizes = SMALL[str(method.config.method_name)]
    config = configured(method, replica_scene, tmp_path, 3, use_semantics=False, **sizes, **options)
    train(config)
    results = scores(config, tmp_path)
    assert results["psnr"] > 0
    assert results["depth_l1"] > 0
    assert not any("iou" in name and name != "miou_rule" for name in results)
    with pytest.raises(SceneError, match="use-semantics False"):
        ExportLabels(config.get_base_dir() / "config.yml", tmp_path / "labels", "test").main()


def test_a_small_scene_is_learnt(replica_scene: Path, tmp_path: Path) -> None:
    config = configured(semantic_nerf, replica_scene, tmp_path, 250)
    config.pipeline.datamanager.dataparser = ReplicaDataParserConfig(split="all")  # pyright: ignore[reportAttributeAccessIssue]
    train(config)
    results = scores(config, tmp_path)
    assert results["miou_present"] > 0.95
    assert results["pixel_accuracy"] > 0.98
    assert results["psnr"] > 28


def test_training_on_one_trajectory_scores_on_the_other(replica_scene: Path, tmp_path: Path) -> None:
    """The command line of the README, in processes of its own."""
    command = [
        "train", "semantic-nerf", "--output-dir", str(tmp_path), "--experiment-name", "two",
        "--timestamp", "run", "--max-num-iterations", "3", "--vis", "tensorboard", "--machine.device-type", "cpu",
        "replica-data", "--data", str(replica_scene), "--train-sequence", "Sequence_1", "--eval-sequence", "Sequence_2",
    ]  # fmt: skip
    config = tmp_path / "two/semantic-nerf/run/config.yml"
    evaluate = ["eval", "--load-config", str(config), "--output-path", str(tmp_path / "scores.json")]
    for arguments in (command, evaluate):
        ended = run_module_warm(["-m", f"nerfstudio.scripts.{arguments[0]}", *arguments[1:]])
        assert ended.returncode == 0, ended.stderr
    results = json.loads((tmp_path / "scores.json").read_text())["results"]
    assert results["num_images"] == 12
    assert "Sequence_1" in results["split"]
    assert "Sequence_2" in results["split"]


def test_a_scene_that_cannot_be_used_ends_with_one_sentence_and_a_status(tmp_path: Path) -> None:
    places = ["--data", str(tmp_path / "nowhere"), "--output-dir", str(tmp_path)]
    ended = run_module_warm(["-m", "nerfstudio.scripts.train", "semantic-nerf", *places])
    assert ended.returncode == 1
    assert str(tmp_path / "nowhere") in ended.stderr
    assert "Traceback" not in ended.stderr + ended.stdout
