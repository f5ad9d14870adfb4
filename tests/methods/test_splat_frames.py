"""Frames of a model of Gaussians, which are drawn in memory that it keeps."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from nerfstudio.data.scene_box import OrientedBox
from torch import Tensor

from semantic_ns.batch import LOGITS, PLANAR_DEPTH
from semantic_ns.export.splat import pinhole_camera
from semantic_ns.methods.semantic_splatfacto.method import semantic_splatfacto
from semantic_ns.splatting.rasterize import fill_light, rasterize
from semantic_ns.viewer.shown_outputs import showing
from support.registered import configured


@pytest.fixture(scope="module")
def trainer(nerfstudio_scene: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A trainer that has not begun, whose Gaussians look another way from each side and have classes."""
    trainer = configured(semantic_splatfacto, nerfstudio_scene, tmp_path_factory.mktemp("run"), 2).setup(
        local_rank=0, world_size=1
    )
    trainer.setup()
    trainer.pipeline.update_classes()
    model = trainer.pipeline.model.eval()
    generator = torch.Generator().manual_seed(0)
    model.features_rest.data.copy_(0.1 * torch.randn(model.features_rest.shape, generator=generator))
    return trainer


def test_outputs_of_a_frame_are_those_of_the_rasteriser_and_stay_when_the_next_one_is_drawn(trainer: Any) -> None:
    model, cameras = trainer.pipeline.model, trainer.pipeline.datamanager.train_dataset.cameras
    first, second = cameras[0:1], cameras[1:2]
    with model.raw_outputs():
        found = model._rendered(first)
        before = {name: value.clone() for name, value in found.items()}
        other = model._rendered(second)
    assert not torch.equal(found["rgb"], other["rgb"])
    for name, value in before.items():
        assert torch.equal(found[name], value), name
    with torch.no_grad():
        features = torch.cat([model.seen_colors(first.camera_to_worlds[0, :, 3]), model.class_probabilities], dim=1)
        image, depth, opacity = rasterize(model.gaussians(), features, pinhole_camera(first[0]))
        filled = fill_light(image, opacity)
    assert torch.equal(found["rgb"], filled[..., :3].clamp(0, 1))
    assert torch.equal(found["accumulation"][..., 0], opacity)
    expected = (depth / opacity.clamp(min=1e-6)).where(opacity > 1e-6, math.nan)
    seen: Tensor = ~expected.isnan()
    assert torch.equal(found[PLANAR_DEPTH][..., 0][seen], expected[seen])
    shares = filled[..., 3:].clamp(min=1e-6)
    assert torch.equal(found[LOGITS], (shares / shares.sum(dim=-1, keepdim=True)).log())


def test_colors_of_some_gaussians_are_to_the_bit_those_of_all(trainer: Any) -> None:
    model = trainer.pipeline.model
    position, rows = torch.tensor([0.1, 0.2, 0.3]), torch.arange(model.num_points).flip(0)[::3].int()
    assert torch.equal(model.seen_colors(position, rows), model.seen_colors(position)[rows.long()])


@pytest.mark.parametrize(
    "shown",
    [
        ("rgb",), ("rgb", "depth"), ("accumulation",), ("semantics_colormap", "depth"), ("semantics_overlay",),
        ("semantics_overlay", "rgb"), ("semantics_confidence",), ("expected_depth", "semantics_entropy"), ("not set",),
    ],
)  # fmt: skip
@pytest.mark.parametrize("is_cropped", [False, True])
def test_what_a_viewer_shows_is_to_the_bit_what_all_outputs_hold(
    trainer: Any, shown: tuple[str, ...], is_cropped: bool
) -> None:
    model, camera = trainer.pipeline.model, trainer.pipeline.datamanager.train_dataset.cameras[0:1]
    middle = model.means.mean(dim=0).detach()
    box = OrientedBox(torch.eye(3), middle, model.means.std(dim=0).detach() * 2) if is_cropped else None
    before = model.class_probabilities.clone()
    model.class_probabilities[: model.num_points // 2] = 0.0  # some of the surface has no class
    try:
        expected = model.get_outputs_for_camera(camera, obb_box=box)
        with showing(frozenset(shown)):
            found = model.get_outputs_for_camera(camera, obb_box=box)
    finally:
        model.class_probabilities = before
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert found[name].shape == value.shape
        assert found[name].dtype == value.dtype
        assert name not in shown or torch.equal(found[name], value), name
    assert bool((expected["semantics_colormap"].sum(dim=-1) == 0).any())


def test_classes_are_not_drawn_while_a_viewer_shows_colors(trainer: Any) -> None:
    model, camera = trainer.pipeline.model, trainer.pipeline.datamanager.train_dataset.cameras[0:1]
    with showing(frozenset({"rgb", "depth"})):
        found = model.get_outputs_for_camera(camera)
        with model.raw_outputs():  # which are scored, whoever looks
            scored = model.get_outputs_for_camera(camera)
    assert not bool(found["semantics_colormap"].any())
    assert bool(scored["semantics_colormap"].any())
    assert bool(model.get_outputs_for_camera(camera)["semantics_colormap"].any())
