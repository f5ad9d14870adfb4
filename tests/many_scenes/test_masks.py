"""Pixels outside the mask of an image neither train a method for many rooms nor are scored."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nerfstudio.data.scene_box import SceneBox
from PIL import Image

from semantic_ns.batch import DEPTH_M, LABELS, MASK
from semantic_ns.datamanagers.many_scenes_datamanager import ManyScenesDataManager, ManyScenesDataManagerConfig
from semantic_ns.dataparsers.many_scenes import ManyScenesDataParserConfig
from semantic_ns.errors import SceneError
from semantic_ns.labels.taxonomy import VOID
from semantic_ns.many_scenes.samples import Frames
from semantic_ns.many_scenes.views import SceneViews
from semantic_ns.methods.gsnerf_small.model import GsnerfSmallModelConfig
from support.bent_scene import directions_of, mask_at, write_bent_scene


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bent_scene(tmp_path_factory.mktemp("masked") / "scene", {}, has_masks=True)


def manager_of(folder: Path) -> ManyScenesDataManager:
    parser = ManyScenesDataParserConfig(split="all")
    return ManyScenesDataManager(ManyScenesDataManagerConfig(data=folder, dataparser=parser, train_sources=(2, 2)))


@pytest.fixture(scope="module")
def manager(folder: Path) -> ManyScenesDataManager:
    return manager_of(folder)


@pytest.fixture
def views(manager: ManyScenesDataManager) -> SceneViews:
    return manager.shelf.training(0).whole()


def test_what_a_mask_leaves_out_is_void_and_of_unknown_depth(manager: ManyScenesDataManager, views: SceneViews) -> None:
    assert views.masks is not None
    assert views.depths_m is not None
    for index in range(len(views)):
        np.testing.assert_array_equal(
            views.masks[index].numpy(), mask_at(directions_of(manager.train_dataset.cameras, index)).astype(bool)
        )
    assert 0.05 < float(views.masks.double().mean()) < 0.95
    assert bool((views.labels[~views.masks] == VOID).all())
    assert bool((views.labels[views.masks] >= 0).all())
    assert bool((views.depths_m[~views.masks] == 0).all())
    assert bool((views.depths_m[views.masks] > 0).all())


def test_a_mirror_turns_masks_with_their_images(views: SceneViews) -> None:
    frames = Frames.of(views, torch.tensor([2, 0]))
    mirrored = frames.mirrored()
    assert frames.masks is not None
    assert mirrored.masks is not None
    assert torch.equal(mirrored.masks, frames.masks.flip(-1))
    assert torch.equal(mirrored.masks, mirrored.labels >= 0)


def test_random_pixels_are_used_ones_and_all_of_these_alike(views: SceneViews) -> None:
    frames = Frames.of(views, torch.tensor([0, 1]))
    assert frames.masks is not None
    for mask, place in zip(
        frames.masks.flatten(1), frames.random_pixels(40_000, torch.Generator().manual_seed(0)), strict=True
    ):
        count = torch.bincount(place, minlength=len(mask))
        assert bool((count[~mask] == 0).all())
        expected = 40_000 / int(mask.sum())
        assert float((count[mask].double() - expected).square().mean()) == pytest.approx(expected, rel=0.2)


def test_without_masks_every_pixel_is_used(views: SceneViews) -> None:
    frames = replace(Frames.of(views, torch.tensor([0])), masks=None)
    place = frames.random_pixels(40_000, torch.Generator().manual_seed(0))[0]
    assert len(place.unique()) == 48 * 64


def test_what_a_mask_leaves_out_does_not_change_a_score(manager: ManyScenesDataManager) -> None:
    torch.manual_seed(0)
    config: Any = GsnerfSmallModelConfig(encoder="unet", num_source_views=2)
    box = SceneBox(torch.tensor([[-1.0, -1, -1], [1, 1, 1]]))
    model = config.setup(scene_box=box, num_train_data=4, metadata=manager.train_dataset.metadata).eval()
    manager.eval_dataset.load_depth = True
    camera, batch = manager.next_eval_image(0)
    with model.raw_outputs():
        outputs = model.get_outputs_for_camera(camera)

    def scores(batch: dict[str, Any]) -> dict[str, float]:
        model.evaluation_state.reset()
        metrics, _ = model.get_image_metrics_and_images(outputs, batch)
        return metrics | model.evaluation_state.result(model.taxonomy.names)

    outside = ~batch[MASK]
    other = {"image": 1 - batch["image"], LABELS: (batch[LABELS] + 1) % 4, DEPTH_M: batch[DEPTH_M] + 1}
    poisoned = batch | {name: torch.where(outside, other[name], batch[name]) for name in other}
    assert scores(poisoned) == scores(batch)
    inside = batch | {name: torch.where(outside, batch[name], other[name]) for name in other}
    changed, before = scores(inside), scores(batch)
    assert all(changed[name] != before[name] for name in ("psnr", "ssim", "psnr_pooled", "pixel_accuracy", "depth_l1"))


def test_psnr_is_that_of_the_used_pixels(manager: ManyScenesDataManager) -> None:
    config: Any = GsnerfSmallModelConfig(encoder="unet", num_source_views=2)
    box = SceneBox(torch.tensor([[-1.0, -1, -1], [1, 1, 1]]))
    model = config.setup(scene_box=box, num_train_data=4, metadata=manager.train_dataset.metadata).eval()
    camera, batch = manager.next_eval_image(1)
    outputs = model.get_outputs_for_camera(camera)
    used = batch[MASK][..., 0]
    error = (outputs["rgb"][used] - batch["image"][used]).square().mean()
    metrics, _ = model.get_image_metrics_and_images(outputs, batch)
    assert metrics["psnr"] == pytest.approx(-10 * float(error.log10()), abs=1e-4)


def test_a_mask_that_leaves_nothing_is_told(folder: Path, tmp_path: Path) -> None:
    black = write_bent_scene(tmp_path / "scene", {}, has_masks=True)
    Image.new("L", (64, 48)).save(black / "masks" / "2.png")
    with pytest.raises(SceneError, match=r"Expected a mask that leaves some pixels of .*images/2\.png"):
        manager_of(black).shelf.training(0).whole()
