"""Models are asked for veils in the middle of a training, which goes on as if they had not been."""

import math
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from nerfstudio.cameras.cameras import Cameras, CameraType
from nerfstudio.plugins.types import MethodSpecification
from nerfstudio.scripts.train import _set_random_seed
from nerfstudio.scripts.train import main as train
from rich.console import Console

from semantic_ns.doctor.loading import load_scene, parser_config
from semantic_ns.doctor.report import examine
from semantic_ns.doctor.trained import _find_veils, load_trained_scene
from semantic_ns.errors import SceneError
from semantic_ns.evaluation import run_notices
from semantic_ns.evaluation.veil import Veils
from semantic_ns.evaluation.veil_of_model import ModelRays, find_veils_of, undisturbed, why_not_looked_for
from semantic_ns.methods.semantic_nerf.method import semantic_nerf
from semantic_ns.methods.semantic_ngp.method import semantic_ngp
from semantic_ns.synthetic_scene import write_nerfstudio_scene
from support import small_nerf, small_ngp, small_vanilla
from support.ray_batches import rays
from support.registered import METHODS, SMALL, configured

VEILS = Veils(("a.png", "b.png", "c.png"), np.array([0.05, 0.3, 0.8]), 0.5, 0.04, "--pipeline.model.a-plane 3")

BUILDERS = {
    "fused": lambda: small_nerf.build(small_nerf.lean_config()),
    "plain": lambda: small_nerf.build(small_nerf.lean_config(fuse_on_cpu=False)),
    "ngp": lambda: small_ngp.build(small_ngp.lean_config()),
    "vanilla": small_vanilla.build,
}
PRICE = "--pipeline.model.near-camera-loss-weight"
REMEDIES = {"fused": PRICE, "plain": PRICE, "ngp": PRICE, "vanilla": "--pipeline.model.near-plane"}


@pytest.mark.parametrize("name", BUILDERS)
def test_all_light_that_stops_stops_before_the_far_plane_and_none_before_the_lens(name: str) -> None:
    model = BUILDERS[name]()
    with undisturbed(model):
        accumulation = model(rays())["accumulation"][:, 0]
        bundle = rays()
        weight, _ = ModelRays(model).near_weight(bundle, model.bounds.far)
        assert bundle.nears is None
        if name != "vanilla":  # whose far plane is one of planar depth
            torch.testing.assert_close(weight, accumulation)
        nothing, _ = ModelRays(model).near_weight(rays(), 0.0)
        assert nothing.max() < 1e-3


def test_the_paper_has_nothing_behind_a_ray_that_is_cut_off() -> None:
    model, density, end = small_vanilla.build(), 0.7, 0.6
    with torch.no_grad():
        for network in (model.field_coarse, model.field_fine):
            network.density.weight.zero_()
            network.density.bias.fill_(density)
        with undisturbed(model):
            weight, _ = ModelRays(model).near_weight(rays(), end)
    length = small_vanilla.METRES * (end - model.bounds.near * 1.25)  # of the rays' directions
    torch.testing.assert_close(weight, torch.full_like(weight, 1 - math.exp(-density * length)), atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", BUILDERS)
def test_a_model_is_left_as_it_was(name: str) -> None:
    model = BUILDERS[name]().train()
    sampler = getattr(model, "proposal_sampler", None)
    if sampler is not None:
        sampler._steps_since_update, sampler._step = 7, 100
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    poses = torch.eye(4)[:3].repeat(3, 1, 1)
    poses[:, 0, 3] = torch.tensor([-0.3, 0.0, 0.3])
    cameras = Cameras(poses, 16.0, 16.0, 16.0, 12.0, 32, 24, camera_type=CameraType.PERSPECTIVE)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    found = find_veils_of(model, cameras, ["a", "b", "c"], num_rays=12)
    assert found is not None
    assert found.remedy.split()[0] == REMEDIES[name]
    assert found.names == ("a", "b", "c")
    assert torch.equal(torch.rand(3), expected)
    assert model.training
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    if sampler is not None:
        assert (sampler._steps_since_update, sampler._step) == (7, 100)


@pytest.mark.parametrize(("weight", "words"), [(0.02, "0.06 (now 0.02)"), (0.0, "0.02 (now 0)")])
def test_the_remedy_of_a_hash_grid_is_a_higher_price_close_to_the_camera(weight: float, words: str) -> None:
    model = small_nerf.build(small_nerf.lean_config(near_camera_loss_weight=weight))
    poses = torch.eye(4)[:3].repeat(2, 1, 1)
    cameras = Cameras(poses, 16.0, 16.0, 16.0, 12.0, 32, 24, camera_type=CameraType.PERSPECTIVE)
    found = find_veils_of(model, cameras, ["a", "b"], num_rays=12)
    assert found is not None
    assert found.remedy == f"{PRICE} {words}"


def test_cameras_that_are_not_perspective_are_not_judged() -> None:
    poses = torch.eye(4)[:3].repeat(2, 1, 1)
    cameras = Cameras(poses, 16.0, 16.0, 16.0, 12.0, 32, 24, camera_type=CameraType.EQUIRECTANGULAR)
    assert find_veils_of(cast(Any, object()), cameras, ["a", "b"]) is None
    assert "perspective" in str(why_not_looked_for(cameras))
    assert "only one camera" in str(why_not_looked_for(cameras[:1]))


@pytest.mark.parametrize("name", METHODS)
def test_a_method_looks_for_veils_exactly_where_its_model_renders_rays(name: str) -> None:
    pipeline: Any = METHODS[name].config.pipeline
    assert pipeline.warn_of_veils == pipeline.model._target.renders_rays


def test_a_model_without_rays_is_refused_before_it_is_trained(nerfstudio_scene: Path, tmp_path: Path) -> None:
    config = configured(METHODS["semantic-splatfacto"], nerfstudio_scene, tmp_path, 2)
    config.pipeline.warn_of_veils = True  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(SceneError, match="warn-of-veils True, found a SemanticSplatfactoModel"):
        config.setup().setup()


@pytest.mark.parametrize("method", [semantic_nerf, semantic_ngp], ids=["nerf", "ngp"])
def test_looking_for_veils_changes_nothing_of_a_training(
    method: MethodSpecification, replica_scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_notices, "_LEAST_STEPS", 0)
    looks: list[Veils] = []

    def counted(*arguments: Any) -> Veils | None:
        found = find_veils_of(*arguments)
        assert found is not None
        looks.append(found)
        return found

    monkeypatch.setattr(run_notices, "find_veils_of", counted)
    states = []
    for is_looking in (True, False):
        config = configured(
            method, replica_scene, tmp_path / str(is_looking), 5, **SMALL[str(method.config.method_name)]
        )
        config.pipeline.warn_of_veils = is_looking  # pyright: ignore[reportAttributeAccessIssue]
        config.pipeline.eval_images_at_end = 0  # pyright: ignore[reportAttributeAccessIssue]
        _set_random_seed(42)
        trainer = config.setup()
        trainer.setup()
        trainer.train()
        states.append(trainer.pipeline.model.state_dict())
        assert len(looks) == 2
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())


def test_a_training_warns_on_one_line_that_names_the_worst_views_and_a_remedy(
    replica_scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run_notices, "_LEAST_STEPS", 0)
    monkeypatch.setattr(run_notices, "find_veils_of", lambda *_: VEILS)
    train(configured(semantic_nerf, replica_scene, tmp_path, 2, **SMALL["semantic-nerf"]))
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Warning")]
    assert "2 of 3 views" in line
    assert "c.png 80%, b.png 30%" in line
    assert "Train again with --pipeline.model.a-plane 3, or see all of them: " in line
    assert f"sns-doctor {replica_scene}" in line


def test_the_doctor_names_the_veiled_views_of_a_run_and_a_remedy(nerfstudio_scene: Path) -> None:
    scene = load_scene(parser_config("semantic-data", nerfstudio_scene))
    assert examine(scene, "room").veils is None
    vars(scene)["find_veils"] = lambda: VEILS
    report = examine(scene, "room")
    assert not report.is_healthy
    assert report.problems[-1].endswith("; train again with --pipeline.model.a-plane 3.")
    assert report.to_json()["veiled_share_by_frame"] == {"c.png": 0.8, "b.png": 0.3}


def test_the_doctor_says_why_no_veil_was_looked_for(nerfstudio_scene: Path) -> None:
    scene = load_scene(parser_config("semantic-data", nerfstudio_scene))
    vars(scene)["find_veils"] = lambda: "there is only one camera"
    report = examine(scene, "room")
    console = Console(width=200, record=True)
    console.print(report.to_text())
    assert "not looked for, because there is only one camera" in console.export_text()
    written = report.to_json()
    assert (written["veiled_share_by_frame"], written["veils_not_looked_for"]) == (None, "there is only one camera")
    assert not any("veil" in sentence for sentence in report.problems)


@pytest.mark.parametrize(("renders_rays", "reason"), [(False, "single rays"), (True, "perspective")])
def test_a_run_whose_veils_cannot_be_looked_for_has_a_reason(renders_rays: bool, reason: str, tmp_path: Path) -> None:
    folder = write_nerfstudio_scene(tmp_path, num_frames=3, width=32, height=24)
    path = folder / "transforms.json"
    path.write_text(path.read_text().replace('"camera_model": "OPENCV"', '"camera_model": "EQUIRECTANGULAR"'))
    model = small_nerf.build(small_nerf.lean_config())
    model.renders_rays = renders_rays
    found = _find_veils(load_scene(parser_config("semantic-data", folder)), model)
    assert isinstance(found, str)
    assert reason in found


def test_the_doctor_looks_through_every_camera_of_a_run(replica_scene: Path, tmp_path: Path) -> None:
    config = configured(semantic_nerf, replica_scene, tmp_path, 2, **SMALL["semantic-nerf"])
    trainer = config.setup()
    config.save_config()
    trainer.setup()
    trainer.train()
    scene = load_trained_scene(config.get_base_dir() / "config.yml", replica_scene)
    assert scene.find_veils is not None
    veils = scene.find_veils()
    assert isinstance(veils, Veils)
    assert len(veils.names) == len(scene.views) == 12
