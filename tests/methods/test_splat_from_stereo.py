"""Gaussians that begin at depth by stereo between the training images, where a scene says nothing of depth."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import plyfile
import pytest
import torch
from PIL import Image

from semantic_ns.datamanagers import depth_by_stereo
from semantic_ns.errors import SceneError
from semantic_ns.methods.semantic_splatfacto import datamanager
from semantic_ns.methods.semantic_splatfacto.method import semantic_splatfacto
from semantic_ns.methods.semantic_splatfacto.splitting import SPLITS_BY_DEFAULT, number_of_splits
from semantic_ns.runs import load_run
from semantic_ns.synthetic_scene import write_nerfstudio_scene
from support.active_runs import train_with_breaks, trainer_of, weights_of
from support.registered import configured

STEPS = 24


def without_depth(scene: Path) -> Path:
    """The same folder, whose file names no depth images any more."""
    path = scene / "transforms.json"
    content = json.loads(path.read_text("utf8"))
    content["frames"] = [
        {name: value for name, value in frame.items() if name != "depth_file_path"} for frame in content["frames"]
    ]
    path.write_text(json.dumps(content), "utf8")
    return scene


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A room in 16 small images without depth, of which stereo still finds more than half."""
    return without_depth(write_nerfstudio_scene(tmp_path_factory.mktemp("stereo") / "room", 16, 48, 36))


@pytest.fixture
def own_scene(scene: Path, copy_scene: Callable[[Path], Path]) -> Path:
    return copy_scene(scene)


def config_of(scene: Path, folder: Path, data: dict[str, Any] | None = None, **model: Any) -> Any:
    config: Any = configured(semantic_splatfacto, scene, folder, STEPS, **model)
    for name, value in (data or {}).items():
        setattr(config.pipeline.datamanager, name, value)
    config.timestamp = "run"
    return config


def pipeline_of(scene: Path, folder: Path, data: dict[str, Any] | None = None, **model: Any) -> Any:
    return config_of(scene, folder, data, **model).pipeline.setup(device="cpu")


def said(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().out.split())


def with_points(scene: Path, positions: list[tuple[float, float, float]]) -> Path:
    path = scene / "transforms.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf8")) | {"ply_file_path": "points.ply"}), "utf8")
    vertices = np.array(positions, [(name, "f4") for name in ("x", "y", "z")])
    plyfile.PlyData([plyfile.PlyElement.describe(vertices, "vertex")]).write(str(scene / "points.ply"))
    return scene


POINTS = [(0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 2.0, 0.0), (0.0, 0.0, 3.0), (1.0, 1.0, 1.0)]


def test_gaussians_begin_near_the_true_surface_are_split_and_look_more_like_the_images(
    scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = config_of(scene, tmp_path)
    torch.manual_seed(0)
    trainer = config.setup(local_rank=0, world_size=1)
    trainer.setup()
    out = said(capsys)
    assert "Gaussians begin at the surface of depth by stereo between " in out
    assert "and train to stay there; --pipeline.datamanager.depth says where depth comes from" in out
    data, model = trainer.pipeline.datamanager, trainer.pipeline.model
    views, first = data.training_views, model.num_points
    assert first > 20
    assert number_of_splits(model) == SPLITS_BY_DEFAULT

    def error() -> float:
        trained = model.training
        model.eval()
        cameras = data.train_dataset.cameras
        found = [model.get_outputs_for_camera(cameras[n : n + 1])["rgb"] for n in range(len(views.views))]
        model.train(trained)
        squares = [(image - view.color).square().mean() for image, view in zip(found, views.views, strict=True)]
        return float(torch.stack(squares).mean())

    assert not model.painted.features  # Gaussians so large lie across the outlines of classes
    before = error()
    trainer.config.save_config()
    trainer.train()
    assert model.num_points > 2 * first
    assert len(model.painted.of_gaussians) == model.num_points
    assert error() < 0.7 * before
    loaded: Any = load_run(trainer.base_dir / "config.yml")
    assert torch.equal(loaded.model.means, model.means)
    capsys.readouterr()
    assert not loaded.pipeline.datamanager.trains_with_depth  # a run that is looked at compares no images
    assert "stereo" not in said(capsys)


def test_depth_is_in_the_loss_but_labels_do_not_lie_on_it(scene: Path, tmp_path: Path) -> None:
    pipeline = pipeline_of(scene, tmp_path)
    camera, batch = pipeline.datamanager.next_train(0)
    losses = pipeline.model.get_loss_dict(pipeline.model(camera), batch)
    assert float(losses["depth_loss"]) > 0
    views = pipeline.datamanager.training_views
    assert all(view.depth is None for view in views.labelled_views)
    assert all(view.depth is not None for view in views.views)
    assert pipeline.datamanager.training_depth is None
    assert not pipeline.datamanager.trains_with_depth


@pytest.mark.parametrize("data", [{"depth": "scene"}, {"depth": "none"}, {"use_depth": False}])
def test_without_stereo_there_is_nothing_to_begin_with(scene: Path, tmp_path: Path, data: dict[str, Any]) -> None:
    with pytest.raises(SceneError, match="Expected depth images, depth by stereo or sparse points"):
        pipeline_of(scene, tmp_path, data)


def test_depth_images_come_before_sparse_points_and_these_before_stereo_unless_it_is_said(
    own_scene: Path, nerfstudio_scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with_points(own_scene, POINTS)
    at_points = pipeline_of(own_scene, tmp_path)
    assert at_points.model.num_points == len(POINTS)
    assert not at_points.datamanager.training_views.are_by_stereo
    assert "Gaussians are less sharp than those that begin at depth by stereo" in said(capsys)
    by_stereo = pipeline_of(own_scene, tmp_path, {"depth": "stereo"})
    assert by_stereo.model.num_points > len(POINTS)
    assert by_stereo.datamanager.training_views.are_by_stereo
    given = pipeline_of(nerfstudio_scene, tmp_path).datamanager
    assert not given.training_views.are_by_stereo
    assert given.trains_with_depth
    assert not pipeline_of(nerfstudio_scene, tmp_path, {"depth": "scene"}).datamanager.training_views.are_by_stereo


def without_parallax(scene: Path) -> None:
    path = scene / "transforms.json"
    content = json.loads(path.read_text("utf8"))
    for frame in content["frames"]:
        frame["transform_matrix"] = content["frames"][0]["transform_matrix"]
    path.write_text(json.dumps(content), "utf8")


def of_several_sizes(scene: Path) -> None:
    path = scene / "transforms.json"
    content = json.loads(path.read_text("utf8"))
    lens = {name: content[name] for name in ("fl_x", "fl_y", "cx", "cy", "w", "h")}
    for number, frame in enumerate(content["frames"]):
        factor = 2 if number == 3 else 1
        frame.update({name: value // factor if name in "wh" else value / factor for name, value in lens.items()})
        if factor == 1:
            continue
        for key in ("file_path", "semantics_file_path"):
            if key in frame:
                image = Image.open(scene / frame[key])
                image.resize((image.width // 2, image.height // 2), Image.Resampling.NEAREST).save(scene / frame[key])
    path.write_text(json.dumps(content), "utf8")


@pytest.mark.parametrize(
    ("change", "reason"),
    [(without_parallax, "too little texture or parallax"), (of_several_sizes, "the images have several sizes")],
)
def test_where_stereo_gives_nothing_the_log_says_why_and_what_was_before_happens(
    own_scene: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[Path], None],
    reason: str,
) -> None:
    change(own_scene)
    with pytest.raises(SceneError, match="Expected depth images, depth by stereo or sparse points"):
        pipeline_of(own_scene, tmp_path)
    assert said(capsys).count(f"stereo between the training images gives no depth: {reason}") == 1
    with_points(own_scene, POINTS)
    assert pipeline_of(own_scene, tmp_path, {"depth": "stereo"}).model.num_points == len(POINTS)
    assert said(capsys).count(f"gives no depth: {reason}") == 1


def test_little_depth_by_stereo_is_used_only_where_it_is_asked_for(
    scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datamanager, "ENOUGH_STEREO", 0.99)
    with pytest.raises(SceneError, match="Expected depth images, depth by stereo or sparse points"):
        pipeline_of(scene, tmp_path)
    assert "gives too little depth; --pipeline.datamanager.depth stereo takes it nevertheless" in said(capsys)
    monkeypatch.setattr(depth_by_stereo, "_LEAST_SHARE", 0.99)
    assert pipeline_of(scene, tmp_path, {"depth": "stereo"}).datamanager.training_views.are_by_stereo
    assert "of the pixels have depth by stereo that other images confirm, and of so few many are wrong" in said(capsys)


def test_a_training_that_is_killed_twice_ends_with_the_weights_of_an_unbroken_one(scene: Path, tmp_path: Path) -> None:
    def own(folder: str) -> Any:
        config = config_of(scene, tmp_path / folder)
        config.steps_per_save = 6
        return config

    with trainer_of(own("unbroken")) as trainer:
        trainer.train()
        weights = weights_of(trainer)
    for broken in train_with_breaks(own("broken"), [8, 15]):
        found = weights_of(broken)
        assert found.keys() == weights.keys()
        assert [key for key, value in found.items() if not torch.equal(value, weights[key])] == []


def test_options_of_before_mean_what_they_meant() -> None:
    config = copy.deepcopy(semantic_splatfacto.config.pipeline.datamanager)
    former: Any = copy.copy(config)
    del former.__dict__["depth"]  # as a file of before has it
    assert former.depth_source == "scene-or-stereo"
    former.use_depth = False
    assert former.depth_source == "none"
