"""Gaussians that are split while they train on a CPU."""

import copy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from nerfstudio.engine.callbacks import TrainingCallbackAttributes

from semantic_ns.errors import SceneError
from semantic_ns.methods.semantic_splatfacto import splitting
from semantic_ns.methods.semantic_splatfacto.datamanager import TrainingViews
from semantic_ns.methods.semantic_splatfacto.device_options import refuse_options_of_device
from semantic_ns.methods.semantic_splatfacto.method import semantic_splatfacto
from semantic_ns.methods.semantic_splatfacto.splitting import (
    SPLITS_BY_DEFAULT,
    number_of_splits,
    split_gaussians,
    steps_of_splits,
)
from semantic_ns.runs import load_run
from support.registered import configured

STEPS = 40


def set_up(scene: Path, folder: Path, uses_depth: bool = True, **model: Any) -> Any:
    """A trainer that has not begun."""
    config: Any = configured(semantic_splatfacto, scene, folder, STEPS, **model)
    config.pipeline.datamanager.use_depth = uses_depth
    torch.manual_seed(0)
    trainer = config.setup(local_rank=0, world_size=1)
    trainer.setup()
    return trainer


def points_of(trainer: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """A few points of the surface that the Gaussians of a trainer lie on, and their colours in 0..255."""
    model = trainer.pipeline.model
    rows = torch.randperm(model.num_points, generator=torch.Generator().manual_seed(0))[:60]
    return model.means.detach()[rows].clone(), (255 * model.colors.detach()[rows].clamp(0, 1)).byte()


@pytest.fixture(scope="module")
def with_depth(nerfstudio_scene: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A trainer whose Gaussians begin at depth, and that no test changes."""
    return set_up(nerfstudio_scene, tmp_path_factory.mktemp("depth"))


def test_of_few_points_more_gaussians_are_made_and_they_look_more_like_the_images(
    with_depth: Any, nerfstudio_scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = points_of(with_depth)
    monkeypatch.setattr(TrainingViews, "sparse_points", lambda self: points)
    errors, trainers = {}, {}
    for num_splits in (0, None):
        trainer = set_up(nerfstudio_scene, tmp_path / str(num_splits), uses_depth=False, num_splits=num_splits)
        assert trainer.pipeline.model.num_points == len(points[0])
        trainer.config.save_config()
        trainer.train()
        views = trainer.pipeline.datamanager.training_views.views
        cameras = trainer.pipeline.datamanager.train_dataset.cameras
        model = trainer.pipeline.model.eval()
        found = [model.get_outputs_for_camera(cameras[n : n + 1])["rgb"] for n in range(len(views))]
        squares = [(image - view.color).square().mean() for image, view in zip(found, views, strict=True)]
        errors[num_splits], trainers[num_splits] = float(torch.stack(squares).mean()), trainer
    assert trainers[0].pipeline.model.num_points == len(points[0])
    model = trainers[None].pipeline.model
    assert model.num_points > 5 * len(points[0])
    assert errors[None] < 0.9 * errors[0]
    loaded: Any = load_run(trainers[None].base_dir / "config.yml").model
    assert torch.equal(loaded.means, model.means)
    assert loaded.class_probabilities.shape == (model.num_points, model.taxonomy.num_classes)


def test_moments_follow_their_gaussians_and_halves_begin_without(nerfstudio_scene: Path, tmp_path: Path) -> None:
    trainer = set_up(nerfstudio_scene, tmp_path)
    model, optimizers = trainer.pipeline.model, trainer.optimizers.optimizers
    assert split_gaussians(model, trainer.optimizers) == 0  # nothing has been trained
    for step in range(4):
        trainer.train_iteration(step)
    model.class_probabilities = torch.rand(model.num_points, model.taxonomy.num_classes)
    names = list(model.gauss_params)
    held = {name: model.gauss_params[name] for name in names}
    before = {name: held[name].detach().clone() for name in names}
    moments = {
        name: copy.deepcopy(dict(optimizers[name].state[held[name]])) for name in names if optimizers[name].state
    }
    classes, count = model.class_probabilities.clone(), model.num_points
    num_split = split_gaussians(model, trainer.optimizers)
    assert 0 < num_split <= count // 2
    assert model.num_points == count + num_split
    assert all(optimizers[name].param_groups[0]["params"] == [model.gauss_params[name]] for name in names)
    assert all(trainer.optimizers.parameters[name] == [model.gauss_params[name]] for name in names)
    assert not any(held[name] in optimizers[name].state for name in names)
    is_whole = (model.means[:count] == before["means"]).all(dim=1)
    rows = (~is_whole).nonzero()[:, 0]
    assert len(rows) == num_split
    assert moments.keys() >= {"means", "scales", "quats", "opacities", "features_dc"}
    for name in names:
        after = model.gauss_params[name].detach()
        assert len(after) == count + num_split
        assert torch.equal(after[:count][is_whole], before[name][is_whole])
        if name in {"quats", "opacities", "features_dc", "features_rest"}:
            assert torch.equal(after[rows], before[name][rows])
            assert torch.equal(after[count:], before[name][rows])
    torch.testing.assert_close((model.means[rows] + model.means[count:]) / 2, before["means"][rows])
    assert torch.equal(model.class_probabilities, torch.cat([classes, classes[rows]]))
    for name, of_before in moments.items():
        for kind, values in of_before.items():
            after = optimizers[name].state[model.gauss_params[name]][kind]
            assert torch.equal(after[:count][is_whole], values[is_whole])
            assert not bool(after[rows].any())
            assert not bool(after[count:].any())
    for step in range(4, 8):
        trainer.train_iteration(step)
    assert bool(optimizers["means"].state[model.gauss_params["means"]]["turns"][count:].any())
    assert all(bool(value.isfinite().all()) for value in model.gauss_params.values())


def test_no_more_gaussians_are_made_than_is_said(
    nerfstudio_scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = set_up(nerfstudio_scene, tmp_path)
    model = trainer.pipeline.model
    trainer.train_iteration(0)
    count = model.num_points
    monkeypatch.setattr(splitting, "MOST_GAUSSIANS", count + 3)
    assert split_gaussians(model, trainer.optimizers) == 3
    assert split_gaussians(model, trainer.optimizers) == 0
    assert model.num_points == count + 3


def test_splits_are_spread_over_the_run_and_leave_time_afterwards() -> None:
    assert sorted(steps_of_splits(7, 400)) == [50, 80, 110, 140, 170, 200, 230]
    assert steps_of_splits(1, 400) == {50}
    assert steps_of_splits(0, 400) == frozenset()
    assert min(steps_of_splits(7, 4)) == 1


@pytest.mark.parametrize(
    ("start_from", "depth", "trains", "chosen", "expected"),
    [
        (None, None, True, None, SPLITS_BY_DEFAULT),
        (None, "stereo", True, None, SPLITS_BY_DEFAULT),
        (None, "scene", True, None, 0),
        (Path("a.ply"), None, True, None, 0),
        (Path("a.ply"), "stereo", True, None, 0),
        (None, "scene", True, 3, 3),
        (None, None, True, 0, 0),
        (Path("a.ply"), None, False, 3, 0),
    ],
)
def test_gaussians_of_points_or_of_stereo_are_split_unless_it_is_said(
    start_from: Path | None, depth: str | None, trains: bool, chosen: int | None, expected: int
) -> None:
    config = SimpleNamespace(start_from=start_from, train_gaussians=trains, num_splits=chosen)
    depths = None if depth is None else [torch.ones(1, 1)]
    views = SimpleNamespace(depths=depths, are_by_stereo=depth == "stereo")
    model: Any = SimpleNamespace(config=config, _training_views=views)
    assert number_of_splits(model) == expected


def test_numbers_of_splits_that_make_no_sense_are_refused() -> None:
    config = replace(semantic_splatfacto.config.pipeline.model, num_splits=-1)  # pyright: ignore[reportCallIssue]
    with pytest.raises(SceneError, match=r"Expected 0 or more for --pipeline.model.num-splits, found -1"):
        refuse_options_of_device(config, is_on_cpu=True)
    with pytest.raises(SceneError, match=r"Expected a CPU for --pipeline.model.num-splits"):
        refuse_options_of_device(config, is_on_cpu=False)


@pytest.mark.parametrize(("per_step", "first", "expected"), [(1, 0, 3), (10, 0, 3), (1, 20, 1), (10, 3, 0), (1, 39, 0)])
def test_splits_follow_the_clock_of_the_run_and_outlines_are_painted_after_the_last_one(
    monkeypatch: pytest.MonkeyPatch, per_step: int, first: int, expected: int
) -> None:
    done: list[str] = []
    monkeypatch.setattr(splitting, "split_gaussians", lambda model, optimizers: done.append("split"))
    model: Any = SimpleNamespace(
        config=SimpleNamespace(num_splits=3, train_gaussians=True, start_from=None), _training_views=object(),
        _unit_of_rate=lambda name: 1.0, paint_classes=lambda: done.append("paint"),
    )  # fmt: skip
    clock = SimpleNamespace(schedule_step=lambda step: per_step * step)
    trainer: Any = SimpleNamespace(config=SimpleNamespace(max_num_iterations=STEPS), clock=clock)
    optimizers: Any = SimpleNamespace(optimizers={})
    attributes = TrainingCallbackAttributes(optimizers=optimizers, grad_scaler=None, pipeline=None, trainer=trainer)
    split = splitting.callbacks_on_cpu(model, attributes)[-1]
    for step in range(first, STEPS):
        split.run_callback(step)
    assert sorted(steps_of_splits(3, STEPS)) == [5, 14, 23]
    assert done == ["split"] * expected + ["paint"] * (expected > 0)
