"""Images, labels, depth, masks and cameras at another size, odd sizes included, still belong together."""

from pathlib import Path

import numpy as np
import pytest
import torch

from semantic_ns.batch import DEPTH_M, LABELS, MASK
from semantic_ns.datamanagers.many_scenes_datamanager import ManyScenesDataManager, ManyScenesDataManagerConfig
from semantic_ns.dataparsers.many_scenes import ManyScenesDataParserConfig
from semantic_ns.datasets.semantic_dataset import SemanticDataset
from semantic_ns.errors import SceneError
from support.bent_scene import color_at, depth_at, directions_of, label_at, mask_at, write_bent_scene
from support.rooms import parser_of

FACTORS = (0.52, 0.29, 0.7, 1.5)
"""Of images of 64x48: 33x24, 18x13, 44x33 and 96x72."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bent_scene(tmp_path_factory.mktemp("scaled") / "scene", {}, has_masks=True)


@pytest.mark.parametrize("factor", FACTORS)
def test_rays_of_scaled_cameras_meet_the_pixels_of_scaled_images(factor: float, folder: Path) -> None:
    """What a ray meets is a function of its direction alone."""
    parser = parser_of(folder, split="all")
    dataset = SemanticDataset(parser.training_outputs(parser.scenes[0]), factor, load_depth=True)
    size = (int(48 * factor), int(64 * factor))
    item, directions = dataset[1], directions_of(dataset.cameras, 1)
    assert directions.shape[:2] == size
    assert {tuple(item[name].shape[:2]) for name in ("image", LABELS, DEPTH_M, MASK)} == {size}
    assert np.abs(item["image"].numpy() - color_at(directions)).max() < 0.02
    assert np.abs(item[DEPTH_M][..., 0].numpy() - depth_at(directions)).max() < 0.04
    # Nearest neighbours are off by up to half a pixel; a row is 8 % of the smallest image.
    assert ((item[LABELS][..., 0].numpy() != label_at(directions)) & item[MASK][..., 0].numpy()).mean() < 0.08
    assert (item[MASK][..., 0].numpy() != mask_at(directions)).mean() < 0.08


@pytest.mark.parametrize("factor", [0.5, 0.29])
def test_relative_intrinsics_do_not_change_with_the_size(factor: float, folder: Path) -> None:
    parser = parser_of(folder, split="all")
    outputs = parser.training_outputs(parser.scenes[0])
    full, small = outputs.cameras, SemanticDataset(outputs, factor).cameras
    for name, side in (("fx", "width"), ("cx", "width"), ("fy", "height"), ("cy", "height")):
        torch.testing.assert_close(
            getattr(small, name) / getattr(small, side), getattr(full, name) / getattr(full, side), rtol=1e-6, atol=0
        )


def test_sources_targets_and_scored_images_of_many_scenes_have_the_scaled_size(folder: Path) -> None:
    config = ManyScenesDataManagerConfig(
        data=folder,
        dataparser=ManyScenesDataParserConfig(split="all"),
        targets_per_step=2,
        train_sources=(2, 2),
        camera_res_scale_factor=0.7,
    )
    manager = ManyScenesDataManager(config)
    size = (33, 44)
    sample, _ = manager.next_train(0)
    camera, batch = next(iter(manager.fixed_indices_eval_dataloader))
    assert sample.sources.size == sample.targets.size == manager.shelf.sources(0).size == size
    assert (int(camera.height), int(camera.width)) == tuple(batch["image"].shape[:2]) == size
    assert tuple(batch[LABELS].shape[:2]) == size
    assert manager.get_train_rays_per_batch() == 2 * 33 * 44


def test_a_factor_that_leaves_no_pixel_is_told(folder: Path) -> None:
    parser = parser_of(folder, split="all")
    outputs = parser.training_outputs(parser.scenes[0])
    for factor in (0.01, 0.0, -1.0):
        with pytest.raises(SceneError, match="camera-res-scale-factor that leaves some pixels, found"):
            SemanticDataset(outputs, factor)
