"""A model of Gaussians whose colours are drawn back to the first ones, from step to step and from run to run."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from semantic_ns.methods.semantic_splatfacto.method import semantic_splatfacto
from semantic_ns.methods.semantic_splatfacto.splitting import split_gaussians
from semantic_ns.splatting.fit_config import FIRST_COLOR_WEIGHT
from support.registered import configured


def set_up(scene: Path, folder: Path, steps: int) -> Any:
    config = configured(semantic_splatfacto, scene, folder, steps)
    trainer = config.setup(local_rank=0, world_size=1)
    trainer.setup()
    return trainer


def gradient(trainer: Any) -> torch.Tensor:
    """Of one image in the harmonics of degree 0."""
    _, losses, _ = trainer.pipeline.get_train_loss_dict(0)
    trainer.optimizers.zero_grad_all()
    torch.stack(list(losses.values())).sum().backward()
    return trainer.pipeline.model.features_dc.grad.clone()


def test_an_image_draws_what_it_shows_back_to_the_colors_that_the_octree_found(
    nerfstudio_scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = set_up(nerfstudio_scene, tmp_path, 2)
    model, views = trainer.pipeline.model, trainer.pipeline.datamanager.training_views
    torch.testing.assert_close(model.first_colors.of_gaussians, model.colors.detach(), rtol=0, atol=1e-6)
    batch = trainer.pipeline.datamanager.next_train(0)
    monkeypatch.setattr(trainer.pipeline.datamanager, "next_train", lambda _: batch)
    monkeypatch.setattr(model, "background", lambda: torch.zeros(3))
    plain = gradient(trainer)
    model.first_colors.begin(model.first_colors.of_gaussians - 0.25)
    drawn = gradient(trainer)
    is_shown = plain.any(dim=1)
    assert bool(is_shown.any())
    assert not bool(is_shown.all())
    camera, per_coefficient = views.views[0].camera, 0.28209479177387814
    factor = 2 * FIRST_COLOR_WEIGHT / (camera.height * camera.width * len(views.views)) * per_coefficient
    expected = torch.where(is_shown[:, None], 0.25 * factor, 0.0).expand(-1, 3)
    torch.testing.assert_close(drawn - plain, expected, rtol=1e-3, atol=1e-9)


def test_a_run_that_goes_on_keeps_the_first_colors_and_one_of_before_has_none(
    nerfstudio_scene: Path, tmp_path: Path
) -> None:
    trainer = set_up(nerfstudio_scene, tmp_path, 2)
    first = trainer.pipeline.model.first_colors.of_gaussians.clone()
    trainer.config.save_config()
    trainer.train()
    config = copy.deepcopy(trainer._resume_config())
    config.max_num_iterations = 4
    again: Any = config.setup(local_rank=0, world_size=1)
    again.setup()
    model, own = again.pipeline.model, trainer.pipeline.model
    assert not torch.equal(own.colors, first)
    assert torch.equal(model.first_colors.of_gaussians, first)
    model.load_state_dict({name: value for name, value in own.state_dict().items() if "first_colors" not in name})
    assert not len(model.first_colors.of_gaussians)
    assert bool(gradient(again).any())


def test_halves_of_a_gaussian_have_the_first_color_of_the_whole(nerfstudio_scene: Path, tmp_path: Path) -> None:
    trainer = set_up(nerfstudio_scene, tmp_path, 2)
    trainer.train_iteration(0)
    model = trainer.pipeline.model
    before, means = model.first_colors.of_gaussians.clone(), model.means.detach().clone()
    count = split_gaussians(model, trainer.optimizers)
    assert count > 0
    is_split = (model.means[: len(before)] != means).any(dim=1)
    assert torch.equal(model.first_colors.of_gaussians[len(before) :], before[is_split])
    trainer.train_iteration(1)
    assert bool(model.colors.isfinite().all())
