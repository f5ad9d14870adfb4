"""A model of Gaussians that follows the outlines of classes, from step to step and from run to run."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from semantic_ns.labels.corruption import CorruptionConfig
from semantic_ns.methods.semantic_splatfacto.method import semantic_splatfacto
from semantic_ns.methods.semantic_splatfacto.painted_classes import SUMMED_PAINT
from semantic_ns.methods.semantic_splatfacto.splitting import split_gaussians
from semantic_ns.splatting import classes
from semantic_ns.splatting.first_gaussians import first_gaussians
from semantic_ns.splatting.outlines import class_paints
from semantic_ns.splatting.votes import gaussian_votes
from support.registered import configured


@pytest.fixture(scope="module", autouse=True)
def coarse_gaussians_are_clean() -> Iterator[None]:
    """Let outlines count that lie inside Gaussians as large as those of a scene of ten small images."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classes, "CLEAN_NOISE_RATE", 0.5)
        yield


def set_up(scene: Path, folder: Path, steps: int, **model: Any) -> Any:
    config = configured(semantic_splatfacto, scene, folder, steps)
    for name, value in model.items():
        setattr(config.pipeline.model, name, value)
    trainer = config.setup(local_rank=0, world_size=1)
    trainer.setup()
    return trainer


@pytest.fixture(scope="module")
def trainer(nerfstudio_scene: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return set_up(nerfstudio_scene, tmp_path_factory.mktemp("run"), 4)


def test_gaussians_begin_at_the_depth_images_divided_by_labels_and_in_their_colors(
    nerfstudio_scene: Path, tmp_path: Path
) -> None:
    pipeline = set_up(nerfstudio_scene, tmp_path, 4).pipeline
    views, model = pipeline.datamanager.training_views, pipeline.model
    gaussians, colors = first_gaussians(views.views, views.labels)
    torch.testing.assert_close(model.means, gaussians.means)
    torch.testing.assert_close(model.gaussians().scales, gaussians.scales)
    torch.testing.assert_close(model.gaussians().opacities, gaussians.opacities)
    torch.testing.assert_close(model.colors, colors, atol=2e-3, rtol=0)


def test_gaussians_have_the_paint_of_their_class_and_keep_it_while_they_train(trainer: Any) -> None:
    model, views = trainer.pipeline.model, trainer.pipeline.datamanager.training_views
    cameras = [view.camera for view in views.views]
    votes = gaussian_votes(model.gaussians(), cameras, views.labels, model.taxonomy.num_classes).counts
    has_votes, paints = votes.sum(dim=1) > 0, class_paints(model.taxonomy.num_classes)
    before = model.painted.of_gaussians.clone()
    torch.testing.assert_close(before[has_votes], paints[votes.argmax(dim=1)][has_votes])
    _, losses, _ = trainer.pipeline.get_train_loss_dict(0)
    assert float(losses["outline_loss"].detach()) > 0
    trainer.train_iteration(0)
    assert torch.equal(model.painted.of_gaussians, before)
    assert "painted.of_gaussians" not in dict(model.named_parameters())


def test_a_run_that_goes_on_follows_the_same_outlines_and_one_of_before_none(
    nerfstudio_scene: Path, tmp_path: Path
) -> None:
    trainer = set_up(nerfstudio_scene, tmp_path, 2)
    trainer.config.save_config()
    trainer.train()
    config = copy.deepcopy(trainer._resume_config())
    config.max_num_iterations = 4
    again: Any = config.setup(local_rank=0, world_size=1)
    again.setup()
    model, own = again.pipeline.model, trainer.pipeline.model
    assert torch.equal(model.painted.of_gaussians, own.painted.of_gaussians)
    assert SUMMED_PAINT in model.train()(again.pipeline.datamanager.next_train(2)[0])
    old = {name: value for name, value in own.state_dict().items() if "painted" not in name}
    model.load_state_dict(old)
    assert SUMMED_PAINT not in model.train()(again.pipeline.datamanager.next_train(2)[0])
    _, losses, _ = again.pipeline.get_train_loss_dict(2)
    assert "outline_loss" not in losses


def test_without_a_weight_and_after_labels_have_changed_no_outlines_are_followed(
    nerfstudio_scene: Path, tmp_path: Path
) -> None:
    none = set_up(nerfstudio_scene, tmp_path / "none", 1, outline_loss_weight=0.0)
    assert "outline_loss" not in none.pipeline.get_train_loss_dict(0)[1]
    trainer = set_up(nerfstudio_scene, tmp_path / "changed", 1)
    assert "outline_loss" in trainer.pipeline.get_train_loss_dict(0)[1]
    data = trainer.pipeline.datamanager
    data.set_training_labels(
        [np.full_like(data.train_dataset.read_labels(n), 3) for n in range(len(data.train_dataset))]
    )
    assert "outline_loss" not in trainer.pipeline.get_train_loss_dict(0)[1]


def test_halves_of_a_gaussian_have_the_paint_of_the_whole(nerfstudio_scene: Path, tmp_path: Path) -> None:
    trainer = set_up(nerfstudio_scene, tmp_path, 2)
    trainer.train_iteration(0)
    model = trainer.pipeline.model
    before, means = model.painted.of_gaussians.clone(), model.means.detach().clone()
    count = split_gaussians(model, trainer.optimizers)
    assert count > 0
    assert len(model.painted.of_gaussians) == model.num_points == len(before) + count
    is_split = (model.means[: len(before)] != means).any(dim=1)
    assert torch.equal(model.painted.of_gaussians[len(before) :], before[is_split])
    assert "outline_loss" in trainer.pipeline.get_train_loss_dict(1)[1]


@pytest.mark.parametrize("spreads", [True, False])
def test_clicks_that_spread_have_outlines_and_those_that_do_not_have_none(
    nerfstudio_scene: Path, tmp_path: Path, spreads: bool
) -> None:
    config: Any = configured(semantic_splatfacto, nerfstudio_scene, tmp_path, 2)
    config.pipeline.datamanager.corruption = CorruptionConfig(propagation=0.0, seed=1)
    config.pipeline.propagation.enabled = spreads
    config.save_config()
    trainer = config.setup(local_rank=0, world_size=1)
    trainer.setup()
    assert ("outline_loss" in trainer.pipeline.get_train_loss_dict(0)[1]) == spreads
    found = trainer.pipeline.datamanager.training_views.outlined_labels
    known = float(torch.cat([(image >= 0).flatten() for image in found]).float().mean())
    assert known > 0.5 if spreads else known < 0.1
    if spreads:  # a run that goes on has the same
        trainer.train()
        config = copy.deepcopy(trainer._resume_config())
        config.max_num_iterations = 4
        again: Any = config.setup(local_rank=0, world_size=1)
        again.setup()
        later = again.pipeline.datamanager.training_views.outlined_labels
        assert all(torch.equal(own, other) for own, other in zip(found, later, strict=True))
