"""The Gaussians of a file that a training begins with: those that lie elsewhere are found by how they look."""

import copy
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nerfstudio.models.splatfacto import SH2RGB
from torch import Tensor

from semantic_ns.dataparsers.nerfstudio_semantic import NerfstudioSemanticDataParserConfig
from semantic_ns.errors import SceneError
from semantic_ns.export.splat import in_world
from semantic_ns.geometry.world import world_from_scene
from semantic_ns.methods.semantic_splatfacto.datamanager import SplatDataManagerConfig, TrainingViews
from semantic_ns.methods.semantic_splatfacto.likeness import fitting_scale, likeness
from semantic_ns.methods.semantic_splatfacto.start import GivenFile, of_file, parameters_of
from semantic_ns.splatting.first_gaussians import first_gaussians
from semantic_ns.splatting.ply import write_splat
from semantic_ns.splatting.project import Gaussians
from semantic_ns.splatting.rasterize import rasterize


@dataclass
class Scene:
    """Training images, and Gaussians at the depth of these, in scene units."""

    views: TrainingViews
    gaussians: Gaussians
    colors: Tensor


@pytest.fixture(scope="module")
def scene(nerfstudio_scene: Path) -> Scene:
    return scene_of(nerfstudio_scene)


def scene_of(folder: Path) -> Scene:
    parser = NerfstudioSemanticDataParserConfig(data=folder)
    data = SplatDataManagerConfig(dataparser=parser).setup(device="cpu")
    return Scene(data.training_views, *first_gaussians(data.training_views.views))


def written(path: Path, gaussians: Gaussians, colors: Tensor) -> Path:
    write_splat(path, gaussians, colors, np.full(len(gaussians), -1, np.int32))
    return path


def turned(gaussians: Gaussians, rows: list[list[float]], scale: float = 1.0) -> Gaussians:
    """Gaussians turned and scaled about their centre."""
    linear = scale * torch.tensor(rows)
    centre = gaussians.means.mean(dim=0)
    return in_world(gaussians, torch.cat([linear, (centre - linear @ centre)[:, None]], dim=1))


def begin(scene: Scene, path: Path, frame: Any) -> Gaussians:
    return of_file(GivenFile(path, frame), scene.views)[0]


@pytest.mark.parametrize(("frame", "other"), [("world", "scene"), ("scene", "world")])
def test_a_file_of_the_other_frame_is_refused_and_the_frame_that_fits_is_named(
    scene: Scene, tmp_path: Path, frame: str, other: str
) -> None:
    world = in_world(scene.gaussians, world_from_scene(scene.views.outputs))
    path = written(tmp_path / "splat.ply", scene.gaussians if frame == "scene" else world, scene.colors)
    torch.testing.assert_close(begin(scene, path, frame).means, scene.gaussians.means, atol=1e-4, rtol=1e-4)
    with pytest.raises(SceneError, match=re.escape(f"give --pipeline.model.start-frame {frame}.")):
        begin(scene, path, other)


@pytest.mark.parametrize("rows", [[[0.0, 1, 0], [1, 0, 0], [0, 0, -1]], [[1.0, 0, 0], [0, -1, 0], [0, 0, -1]]])
def test_gaussians_of_other_axes_are_refused_though_cameras_see_them(
    scene: Scene, tmp_path: Path, rows: list[list[float]]
) -> None:
    moved = turned(scene.gaussians, rows)
    assert likeness(moved, scene.colors, scene.views.views).visible > 0.5  # so that they are refused by how they look
    path = written(tmp_path / "splat.ply", moved, scene.colors)
    with pytest.raises(SceneError, match=r"Expected the Gaussians of .* to look like the training images"):
        begin(scene, path, "scene")


@pytest.fixture(scope="module")
def shown(scene: Scene) -> Scene:
    """The scene with images of nothing but its Gaussians, as if these were trained to the end."""
    views = copy.copy(scene.views)
    images = [rasterize(scene.gaussians, scene.colors, view.camera) for view in scene.views.views]
    views.views = [
        replace(view, pixels=(image / opacity.clamp(min=0.5)[..., None]).clamp(0, 1))
        for view, (image, _, opacity) in zip(scene.views.views, images, strict=True)
    ]
    return replace(scene, views=views)


@pytest.mark.parametrize(("scale", "frame"), [(0.9, "world"), (1.06, "scene"), (1.2, "world")])
def test_gaussians_in_other_units_are_refused_and_the_scale_that_fits_is_named(
    shown: Scene, tmp_path: Path, scale: float, frame: str
) -> None:
    scene = shown
    own = in_world(scene.gaussians, world_from_scene(scene.views.outputs)) if frame == "world" else scene.gaussians
    smaller = Gaussians(own.means / scale, own.quats, own.scales / scale, own.opacities)
    path = written(tmp_path / "splat.ply", smaller, scene.colors)
    with pytest.raises(SceneError, match="in the units of the scene's poses, found") as caught:
        begin(scene, path, frame)
    right = written(tmp_path / "right.ply", own, scene.colors)
    assert len(begin(scene, right, frame)) == len(own)
    named = re.search(r"dB (\d\.\d+) times as large", str(caught.value))
    assert named is not None
    assert float(named[1]) == pytest.approx(scale, rel=0.02)


def test_scales_are_compared_beside_the_same_images_however_others_are_exposed(shown: Scene) -> None:
    views = shown.views.views
    looked_at = {round(number * (len(views) - 1) / 3) for number in range(4)}
    dark = [view if index in looked_at else replace(view, pixels=view.pixels / 4) for index, view in enumerate(views)]
    scale, there, here = fitting_scale(
        lambda scale: turned(shown.gaussians, torch.eye(3).tolist(), scale), shown.colors, dark
    )
    assert scale == 1
    assert here == there
    assert likeness(shown.gaussians, shown.colors, dark).psnr < here.psnr - 3


def test_gaussians_that_may_lie_elsewhere_are_taken_with_a_warning(
    scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = turned(scene.gaussians, [[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    begin(scene, written(tmp_path / "splat.ply", moved, scene.colors), "scene")
    assert "may be of another scene" in " ".join(capsys.readouterr().out.split())


def test_right_gaussians_are_taken_without_a_warning_however_few_dark_or_translucent_they_are(
    scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given, colors = scene.gaussians, scene.colors
    few = torch.arange(len(given)) % 20 == 0
    parts = given.means, given.quats, given.scales, given.opacities
    poor = {
        "few": (Gaussians(*(part[few] for part in parts)), colors[few]),
        "dark": (given, colors * 0.3),
        "bright": (given, colors**0.4),
        "translucent": (Gaussians(*parts[:3], 0.2 * given.opacities), colors),
        "a part of the room": (Gaussians(*(part[: len(given) // 4] for part in parts)), colors[: len(given) // 4]),
    }
    for name, (gaussians, shown) in poor.items():
        path = written(tmp_path / f"{name}.ply", gaussians, shown)
        assert len(begin(scene, path, "scene")) == len(gaussians), name
    assert "another scene" not in " ".join(capsys.readouterr().out.split())


def test_a_file_without_gaussians_is_a_sentence_of_its_own(scene: Scene, tmp_path: Path) -> None:
    nothing = Gaussians(torch.zeros(0, 3), torch.zeros(0, 4), torch.zeros(0, 3), torch.zeros(0))
    path = written(tmp_path / "splat.ply", nothing, torch.zeros(0, 3))
    with pytest.raises(SceneError, match=r"Expected Gaussians in .*, found none"):
        begin(scene, path, "world")


def test_gaussians_that_must_not_move_keep_colors_of_any_brightness_and_opacities(scene: Scene) -> None:
    given, colors = scene.gaussians, scene.colors + 0.6
    gaussians = Gaussians(given.means, given.quats, given.scales, torch.full_like(given.opacities, 2e-6))
    kept, trained = (parameters_of(gaussians, colors, of_harmonics=True, trains=trains) for trains in (False, True))
    torch.testing.assert_close(SH2RGB(kept["features_dc"]), colors)
    torch.testing.assert_close(kept["opacities"][:, 0].sigmoid(), gaussians.opacities)
    torch.testing.assert_close(SH2RGB(trained["features_dc"]), colors.clamp(0, 1))
    torch.testing.assert_close(trained["opacities"][:, 0].sigmoid(), torch.full_like(given.opacities, 1e-4))


def test_classes_that_a_file_has_and_training_does_not_take_are_told(
    scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "splat.ply"
    write_splat(path, scene.gaussians, scene.colors, np.full(len(scene.gaussians), 3, np.int32))
    begin(scene, path, "scene")
    assert "are left out; Gaussians take theirs from the labels" in " ".join(capsys.readouterr().out.split())


def test_world_is_the_colmap_model_where_the_scene_has_an_applied_transform(
    nerfstudio_scene: Path, copy_scene: Callable[[Path], Path], tmp_path: Path
) -> None:
    folder = copy_scene(nerfstudio_scene)
    applied = torch.tensor([[0.0, 0, 1, 0.5], [1, 0, 0, 0], [0, 1, 0, -2]])
    content = json.loads((folder / "transforms.json").read_text("utf8"))
    (folder / "transforms.json").write_text(json.dumps(content | {"applied_transform": applied.tolist()}), "utf8")
    scene = scene_of(folder)
    of_model = in_world(scene.gaussians, world_from_scene(scene.views.outputs))
    of_poses = in_world(of_model, applied)
    name = scene.views.outputs.image_filenames[0].name
    first = next(frame for frame in content["frames"] if frame["file_path"].endswith(name))
    place = scene.views.dataset.cameras.camera_to_worlds[0, :, 3]
    world = world_from_scene(scene.views.outputs)
    pose = torch.tensor(first["transform_matrix"])[:3, 3]
    torch.testing.assert_close(
        applied[:, :3] @ (world[:, :3] @ place + world[:, 3]) + applied[:, 3], pose, atol=1e-4, rtol=1e-4
    )
    path = written(tmp_path / "model.ply", of_model, scene.colors)
    torch.testing.assert_close(begin(scene, path, "world").means, scene.gaussians.means, atol=1e-3, rtol=1e-3)
    with pytest.raises(SceneError, match=r"Expected the Gaussians of .* (to look like|where) the training"):
        begin(scene, written(tmp_path / "poses.ply", of_poses, scene.colors), "world")
