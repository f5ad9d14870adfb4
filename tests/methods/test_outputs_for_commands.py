"""What nerfstudio's commands ask of every method: normals of single rays, and no class where a ray meets nothing."""

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.scene_box import OrientedBox
from nerfstudio.model_components.renderers import background_color_override_context
from nerfstudio.plugins.types import MethodSpecification
from nerfstudio.utils import colormaps
from torch import Tensor
from torchmetrics.functional import structural_similarity_index_measure

from semantic_ns.batch import meets_nothing, seen_labels
from semantic_ns.dataparsers.auto import AutoDataParserConfig
from semantic_ns.errors import SceneError
from semantic_ns.evaluation import color
from semantic_ns.evaluation.color import structural_similarity
from semantic_ns.host import draw_labels_in_class_colors
from semantic_ns.methods import point_cloud
from semantic_ns.methods.point_cloud import EmptyRays
from support.registered import METHODS, SMALL

OF_ONE_SCENE = {name: method for name, method in METHODS.items() if method.config.pipeline.model._target.renders_rays}
"""Methods whose field is that of one scene, by their names."""
IN_TURN = pytest.mark.parametrize("method", OF_ONE_SCENE.values(), ids=OF_ONE_SCENE)
RAYS = 6


@pytest.fixture(scope="module")
def models(nerfstudio_scene: Path) -> dict[str, Any]:
    """A small untrained model of each method."""
    scene = AutoDataParserConfig(data=nerfstudio_scene).setup().get_dataparser_outputs("train")
    built = {}
    for name, method in OF_ONE_SCENE.items():
        config: Any = copy.deepcopy(method.config.pipeline.model)
        for option, value in SMALL[name].items():
            setattr(config, option, value)
        torch.manual_seed(0)
        built[name] = config.setup(
            scene_box=scene.scene_box, num_train_data=3, metadata=scene.metadata, device="cpu"
        ).eval()
    return built


def rays() -> RayBundle:
    """Rays of no unit length and of no image, by which `ns-export` sees whether there are normals."""
    origins = torch.zeros(RAYS, 3)
    directions = torch.ones(RAYS, 3)
    return RayBundle(
        origins=origins,
        directions=directions,
        pixel_area=torch.ones(RAYS, 1),
        camera_indices=torch.zeros(RAYS, 1, dtype=torch.long),
        metadata={"directions_norm": directions.norm(dim=-1, keepdim=True)},
    )


def emptied(outputs: dict[str, Tensor], model: Any, accumulation: Tensor) -> dict[str, Tensor]:
    """The outputs that a model describes where rays have these accumulations."""
    logits = torch.eye(model.taxonomy.num_classes)[torch.arange(RAYS) % model.taxonomy.num_classes]
    given = {name: outputs[name] for name in ("rgb", "depth")} | {"accumulation": accumulation, "semantics": logits}
    with model.raw_outputs():
        model._describe_semantics(given, rays())
    return given


@IN_TURN
def test_a_ray_past_the_box_of_a_crop_meets_nothing(method: MethodSpecification, models: dict[str, Any]) -> None:
    model = models[str(method.config.method_name)]
    camera = Cameras(torch.eye(4)[None, :3], fx=8.0, fy=8.0, cx=4.0, cy=3.0, width=8, height=6)
    for center, misses in (((0.5, 0.0, -1.0), 3), ((0.0, 0.0, 9.0), 8)):  # on the right; behind the camera
        box = OrientedBox.from_params(center, (0.0, 0.0, 0.0), (0.75, 9.0, 0.5))
        with model.raw_outputs():
            outputs = model.get_outputs_for_camera(camera, obb_box=box)
        assert (outputs["accumulation"][:, :misses] < 1e-3).all()
        assert (seen_labels(outputs)[:, :misses] == -1).all()
        assert all(value.isfinite().all() for value in outputs.values())


@IN_TURN
def test_single_rays_have_normals_in_0_to_1_and_images_do_not(
    method: MethodSpecification, models: dict[str, Any]
) -> None:
    model = models[str(method.config.method_name)]
    with torch.no_grad():
        outputs = model(rays())
    normals = 2 * outputs["normals"] - 1
    assert outputs["normals"].min() >= 0
    assert outputs["normals"].max() <= 1
    torch.testing.assert_close(normals.norm(dim=-1), torch.ones(RAYS), atol=1e-4, rtol=0)
    assert (normals * rays().directions).sum(dim=-1).max() <= 1e-6
    camera = Cameras(torch.eye(4)[None, :3], fx=4.0, fy=4.0, cx=2.0, cy=1.0, width=4, height=2)
    assert "normals" not in model.get_outputs_for_camera(camera)
    with torch.no_grad():
        assert "normals" in model(rays())


@IN_TURN
def test_there_is_no_class_where_less_than_half_of_the_light_is_stopped(
    method: MethodSpecification, models: dict[str, Any]
) -> None:
    model = models[str(method.config.method_name)]
    with torch.no_grad():
        outputs = model(rays())
    accumulation = torch.tensor([[0.0], [0.3], [0.4999], [0.5], [1.0], [float("nan")]])
    is_empty = torch.tensor([True, True, True, False, False, True])
    assert torch.equal(meets_nothing(accumulation)[:, 0], is_empty)
    colors = model.taxonomy.color_table()[torch.arange(RAYS) % model.taxonomy.num_classes]

    plain = emptied(outputs, model, accumulation)
    assert torch.equal(plain["semantics_colormap"], torch.where(is_empty[:, None], torch.zeros(3), colors))
    assert torch.equal(plain["semantics_overlay"][is_empty], outputs["rgb"][is_empty])
    assert not torch.equal(plain["semantics_overlay"][~is_empty], outputs["rgb"][~is_empty])
    assert torch.equal(seen_labels(plain)[:, 0] == -1, is_empty)

    background = torch.tensor([0.25, 0.5, 0.75])
    with background_color_override_context(background):
        cropped = emptied(outputs, model, accumulation)
    assert torch.equal(cropped["semantics_colormap"], torch.where(is_empty[:, None], background, colors))


@IN_TURN
def test_instances_are_asked_for_where_rays_end_and_by_the_class_that_is_seen(
    method: MethodSpecification, models: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Echo:
        """Says what it was asked."""

        def at(self, points: Tensor, labels: Tensor) -> Tensor:
            return torch.cat([points, labels[:, None]], dim=-1)

    model = models[str(method.config.method_name)]
    assert model.shows_instances
    with torch.no_grad():
        outputs = model(rays())
    assert "instances" not in outputs
    accumulation = torch.tensor([[0.0], [0.3], [0.6], [0.7], [1.0], [1.0]])
    monkeypatch.setattr(model, "instances", Echo())
    logits = torch.eye(model.taxonomy.num_classes)[torch.arange(RAYS) % model.taxonomy.num_classes]
    given = {name: outputs[name] for name in ("rgb", "depth")} | {"accumulation": accumulation, "semantics": logits}
    model._describe_semantics(given, rays())
    ends = rays().origins + rays().directions * outputs["depth"]
    torch.testing.assert_close(given["instances"][:, :3], ends)
    expected = torch.where(accumulation[:, 0] < 0.5, -1, torch.arange(RAYS) % model.taxonomy.num_classes)
    assert given["instances"][:, 3].tolist() == expected.tolist()
    assert "instances" not in emptied(outputs, model, accumulation)


@IN_TURN
def test_labels_of_a_scene_are_drawn_in_the_colors_of_its_classes(
    method: MethodSpecification, models: dict[str, Any]
) -> None:
    taxonomy = models[str(method.config.method_name)].taxonomy
    draw_labels_in_class_colors(taxonomy.colorize)  # as the building of a model does
    labels = torch.arange(-1, taxonomy.num_classes).view(1, -1, 1)
    expected = torch.cat([torch.zeros(1, 3), taxonomy.color_table()])[None]
    assert torch.equal(colormaps.apply_colormap(image=labels), expected)
    gray, floats = colormaps.ColormapOptions(colormap="gray"), torch.rand(2, 3, 1)
    torch.testing.assert_close(colormaps.apply_colormap(floats, gray), floats.expand(2, 3, 3))
    assert colormaps.apply_colormap(image=floats > 0.5).shape == (2, 3, 3)
    with pytest.raises(SceneError, match="leave out gt-image_idx"):
        colormaps.apply_colormap(image=3)  # pyright: ignore[reportArgumentType]


@IN_TURN
def test_rays_that_all_meet_nothing_end_the_export_of_points(
    method: MethodSpecification, models: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = models[str(method.config.method_name)]
    monkeypatch.setattr(point_cloud, "_MOST_EMPTY_RAYS", 3 * RAYS)
    monkeypatch.setattr(model, "_empty_rays", EmptyRays([]))
    monkeypatch.setattr(model.renderer_rgb, "background_color", "random")
    rgb = torch.full((RAYS, 3), 0.25)
    empty, seen = ({"rgb": rgb, "accumulation": torch.full((RAYS, 1), share)} for share in (0.5, 0.6))
    for outputs in (empty, empty, seen, empty, empty):
        rgba = model.get_rgba_image(outputs)
        assert rgba.shape == (RAYS, 4)
        assert torch.equal(rgba[:, 3:], outputs["accumulation"])
    for _ in range(4):  # an image is no part of a point cloud
        model.get_rgba_image({name: value.view(2, RAYS // 2, -1) for name, value in empty.items()})
    with pytest.raises(SceneError, match=f"none of {3 * RAYS} rays of training views loses more than half"):
        model.get_rgba_image(empty)


@IN_TURN
def test_rays_whose_points_are_all_outside_the_crop_box_end_the_export_of_points(
    method: MethodSpecification, models: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The points lie at 4 (1, 1, 1): a box of sides 2 around (3.5, 4, 4) holds them, a narrower one does not."""
    model = models[str(method.config.method_name)]
    monkeypatch.setattr(point_cloud, "_MOST_EMPTY_RAYS", 3 * RAYS)
    with torch.no_grad():
        outputs = model(rays()) | {"depth": torch.full((RAYS, 1), 4.0), "accumulation": torch.ones(RAYS, 1)}
    for width, is_inside in ((2.0, True), (0.9, False)):
        command = f"ns-export pointcloud --obb_center 3.5 4 4 --obb-rotation 0 0 0 --obb-scale {width} 2 2"
        monkeypatch.setattr(model, "_empty_rays", EmptyRays(command.split()))
        given = {name: outputs[name] for name in ("rgb", "depth", "accumulation")}
        model._describe_semantics(given, rays())
        assert given["is_in_crop_box"].tolist() == [is_inside] * RAYS
        for _ in range(2 if not is_inside else 4):
            model.get_rgba_image(given)
    with pytest.raises(SceneError, match=f"inside the crop box .* found none on {3 * RAYS} rays"):
        model.get_rgba_image(given)


def test_images_below_the_window_have_no_ssim_and_others_have_that_of_torchmetrics(
    capsys: pytest.CaptureFixture[str],
) -> None:
    generator = torch.Generator().manual_seed(0)
    for height, width in ((6, 9), (12, 20)):
        one, other = torch.rand(2, 1, 3, height, width, generator=generator)
        expected = structural_similarity_index_measure(one, other, data_range=1.0)
        assert torch.equal(structural_similarity(one, other, data_range=1.0), torch.as_tensor(expected))
    assert not capsys.readouterr().out
    color._tell_of_small_images.cache_clear()
    for _ in range(2):
        assert structural_similarity(torch.rand(1, 3, 5, 9), torch.rand(1, 3, 5, 9)).isnan()
    assert capsys.readouterr().out.count("those of 9x5 have none") == 1


@IN_TURN
def test_tiny_images_are_scored_but_for_their_ssim(method: MethodSpecification, models: dict[str, Any]) -> None:
    model = models[str(method.config.method_name)]
    camera = Cameras(torch.eye(4)[None, :3], fx=4.0, fy=4.0, cx=2.0, cy=1.0, width=4, height=2)
    labels = torch.zeros(2, 4, 1, dtype=torch.long)
    with model.raw_outputs():
        outputs = model.get_outputs_for_camera(camera)
        metrics, _ = model.get_image_metrics_and_images(outputs, {"image": torch.rand(2, 4, 3), "semantics": labels})
    assert math.isnan(metrics["ssim"])
    assert math.isfinite(metrics["psnr"])
