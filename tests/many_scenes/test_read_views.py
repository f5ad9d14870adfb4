"""Frames of a data set as views: sizes, cameras in metres, labels and depth."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nerfstudio.cameras.cameras import CameraType
from PIL import Image

from semantic_ns.dataparsers import metadata as keys
from semantic_ns.dataparsers.auto import AutoDataParserConfig
from semantic_ns.dataparsers.splits import SplitMethod
from semantic_ns.datasets.semantic_dataset import SemanticDataset
from semantic_ns.errors import SceneError
from semantic_ns.geometry.views import pixel_centres, reproject, sample_images, sweep_matrices
from semantic_ns.many_scenes.scene_frames import read_views
from semantic_ns.many_scenes.views import SceneViews, reduced_size, view_cameras
from support.cameras import make_cameras
from support.hand_made_scene import each_frame, load
from support.scene_geometry import scene_points


def views_of(scene: Path, max_width: int | None = None, method: SplitMethod = "auto") -> SceneViews:
    outputs = AutoDataParserConfig(data=scene, split=method).setup().get_dataparser_outputs("train")
    return read_views(SemanticDataset(outputs), max_width)


def test_cameras_are_nerfstudios_in_metres_with_opencvs_axes() -> None:
    cameras = make_cameras()
    ours = view_cameras(cameras, metres_per_unit=2.5)
    rays = cameras.generate_rays(torch.arange(3)[:, None], coords=torch.tensor([[3.5, 7.5]]).repeat(3, 1))
    xy = torch.tensor([[[7.5 / 32, 3.5 / 24]]]).repeat(3, 1, 1)
    directions = ours.ray_directions(xy)[:, 0]
    torch.testing.assert_close(directions / directions.norm(dim=-1, keepdim=True), rays.directions, atol=1e-6, rtol=0)
    torch.testing.assert_close(ours.centres, 2.5 * rays.origins.double(), atol=1e-6, rtol=0)


def test_a_single_camera_of_any_shape_is_one_view() -> None:
    cameras = make_cameras()
    for camera in (cameras[1], cameras[1:2], cameras[1:2].reshape((1, 1))):
        assert torch.equal(view_cameras(camera, 1.0).c2w, view_cameras(cameras, 1.0).c2w[1:2])


def test_each_camera_is_relative_to_the_size_of_its_own_image() -> None:
    cameras = make_cameras()
    cameras.width = torch.tensor([[32], [64], [16]])
    fx, _, cx, _ = view_cameras(cameras, 1.0).intrinsics.unbind(-1)
    np.testing.assert_allclose(fx, [30 / 32, 25 / 64, 40 / 16], rtol=1e-6)
    np.testing.assert_allclose(cx, [16 / 32, 15.3 / 64, 17 / 16], rtol=1e-6)


@pytest.mark.parametrize(
    ("cameras", "message"),
    [(make_cameras(CameraType.FISHEYE), "Expected perspective cameras .*, found others; undistort"),
     (make_cameras(distortion=0.01), "Expected images without lens distortion .*; undistort the images")],
)  # fmt: skip
def test_cameras_that_are_no_pinholes_are_told(cameras: Any, message: str) -> None:
    with pytest.raises(SceneError, match=message):
        view_cameras(cameras, 1.0)


def test_views_at_full_size_hold_the_images_of_the_data_set(nerfstudio_scene: Path) -> None:
    dataset = load(nerfstudio_scene)
    views = read_views(dataset)
    assert views.size == (36, 48)
    assert views.metres_per_unit == dataset.metadata[keys.METRES_PER_UNIT]
    assert views.depths_m is not None
    colors = views.colors(torch.arange(len(views)))
    for index in range(len(dataset)):
        with Image.open(dataset.image_filenames[index]) as image:
            np.testing.assert_array_equal(views.images[index].numpy(), np.asarray(image))
        torch.testing.assert_close(colors[index].permute(1, 2, 0), dataset.color_of(index))
        np.testing.assert_array_equal(views.labels[index].numpy(), dataset.labels_of(index))
        depth = dataset.depth_of(index)
        assert depth is not None
        np.testing.assert_array_equal(views.depths_m[index].numpy(), depth)


def test_points_of_a_view_are_those_of_nerfstudios_rays(nerfstudio_scene: Path) -> None:
    dataset = load(nerfstudio_scene)
    views = read_views(dataset)
    assert views.depths_m is not None
    xy = pixel_centres(*views.size)
    ends = views.cameras.ray_directions(xy.expand(len(views), -1, -1, -1)) * views.depths_m[..., None]
    ends = ends + views.cameras.centres[:, None, None]
    expected = scene_points(dataset._dataparser_outputs, 2, views.depths_m[2, ..., None]) * views.metres_per_unit
    torch.testing.assert_close(ends[2].float(), expected, atol=1e-4, rtol=0)


def test_a_view_sees_the_surface_of_another_one_with_its_depth_and_colour(nerfstudio_scene: Path) -> None:
    """Where depth in the other view agrees, its colour does; so that poses, axes, scale and intrinsics fit together."""
    views = views_of(nerfstudio_scene)
    assert views.depths_m is not None
    at = reproject(sweep_matrices(views.cameras[1:], views.cameras[:1]), pixel_centres(36, 48), views.depths_m[0])
    there = sample_images(views.depths_m[1:, None], at.xy, mode="nearest")[:, 0]
    is_same = at.is_seen & ((there - at.depth).abs() < 0.03)
    colors = views.colors(torch.arange(len(views)))
    difference = (sample_images(colors[1:], at.xy) - colors[0]).abs().mean(dim=1)[is_same]
    assert int(is_same.sum()) > 500
    assert float(difference.median()) < 0.01


@pytest.mark.parametrize("max_width", [24, 16, 12])
def test_smaller_colours_are_averages_over_blocks_and_labels_and_depth_are_those_of_their_middle(
    max_width: int, nerfstudio_scene: Path
) -> None:
    full, small = views_of(nerfstudio_scene), views_of(nerfstudio_scene, max_width)
    block = 48 // max_width
    assert small.size == (36 // block, max_width)
    assert full.depths_m is not None
    assert small.depths_m is not None
    for row, column in [(0, 0), (3, 5), (small.size[0] - 1, max_width - 1)]:
        rows, columns = slice(block * row, block * (row + 1)), slice(block * column, block * (column + 1))
        mean = full.images[:, rows, columns].double().mean(dim=(1, 2))
        assert float((small.images[:, row, column].double() - mean).abs().max()) <= 0.51
        middle = (block * row + block // 2, block * column + block // 2)
        assert torch.equal(small.labels[:, row, column], full.labels[:, middle[0], middle[1]])
        assert torch.equal(small.depths_m[:, row, column], full.depths_m[:, middle[0], middle[1]])


def test_cameras_of_smaller_images_see_a_point_at_the_same_image_coordinates(nerfstudio_scene: Path) -> None:
    full, small = views_of(nerfstudio_scene), views_of(nerfstudio_scene, 20)
    assert small.size == (15, 20)
    assert torch.equal(small.cameras.intrinsics, full.cameras.intrinsics)
    assert torch.equal(small.cameras.c2w, full.cameras.c2w)


@pytest.mark.parametrize(
    ("max_width", "size"), [(None, (24, 32)), (64, (24, 32)), (32, (24, 32)), (7, (5, 7)), (1, (1, 1))]
)
def test_sizes_keep_their_proportions_and_never_grow(max_width: int | None, size: tuple[int, int]) -> None:
    assert reduced_size(make_cameras(), max_width) == size


def turned_by_a_tag(scene: Path, orientation: int) -> None:
    """Save images as JPEG whose tag asks viewers to turn them, without turning the pixels."""

    def change(_index: int, entry: dict[str, Any]) -> None:
        path = scene / entry["file_path"]
        with Image.open(path) as image:
            exif = image.getexif()
            exif[0x0112] = orientation
            image.save(path.with_suffix(".jpg"), exif=exif, quality=95)
        path.unlink()
        entry["file_path"] = str(Path(entry["file_path"]).with_suffix(".jpg"))

    each_frame(scene, change)


def test_orientation_tags_do_not_turn_views_away_from_their_cameras(nerfstudio_scene: Path, tmp_path: Path) -> None:
    read = []
    for orientation in (1, 6):
        scene = Path(shutil.copytree(nerfstudio_scene, tmp_path / str(orientation)))
        turned_by_a_tag(scene, orientation)
        read.append(views_of(scene, 24))
    assert read[0].size == (18, 24)
    assert torch.equal(read[0].images, read[1].images)
    assert torch.equal(read[0].labels, read[1].labels)
    assert torch.equal(read[0].cameras.intrinsics, read[1].cameras.intrinsics)


def test_a_scene_without_depth_has_none_and_frames_without_labels_are_void(
    nerfstudio_scene: Path, tmp_path: Path
) -> None:
    scene = Path(shutil.copytree(nerfstudio_scene, tmp_path / "scene"))
    each_frame(scene, lambda _index, entry: entry.pop("depth_file_path"))
    for path in sorted((scene / "semantics").iterdir())[4:]:
        path.unlink()
    views = views_of(scene, method="all")
    assert views.depths_m is None
    assert [bool((labels >= 0).any()) for labels in views.labels] == [True] * 4 + [False] * 8


def test_a_frame_without_depth_in_a_scene_with_depth_is_unknown_everywhere(
    nerfstudio_scene: Path, tmp_path: Path
) -> None:
    scene = Path(shutil.copytree(nerfstudio_scene, tmp_path / "scene"))
    each_frame(scene, lambda index, entry: entry.pop("depth_file_path") if index == 2 else None)
    views = views_of(scene, 24, method="all")
    assert views.depths_m is not None
    assert [bool((depth > 0).any()) for depth in views.depths_m] == [index != 2 for index in range(12)]


def test_images_of_another_size_are_brought_to_the_size_of_the_first_and_see_points_at_the_same_places(
    nerfstudio_scene: Path, tmp_path: Path
) -> None:
    """Frame 5 is replaced by its middle, twice as large: the camera has twice the focal length, and 48x48 pixels."""
    scene = Path(shutil.copytree(nerfstudio_scene, tmp_path / "scene"))
    content = json.loads((scene / "transforms.json").read_text())
    camera = {key: content.pop(key) for key in ("w", "h", "fl_x", "fl_y", "cx", "cy")}
    for index, entry in enumerate(content["frames"]):
        entry.update(camera)
        if index == 5:
            entry.update(w=48, h=48, fl_x=48, fl_y=48, cx=24, cy=24)
            for key, kind in [("file_path", Image.Resampling.BICUBIC), ("depth_file_path", Image.Resampling.NEAREST)]:
                path = scene / entry[key]
                Image.open(path).crop((12, 6, 36, 30)).resize((48, 48), kind).save(path)
            path = scene / "semantics" / Path(entry["file_path"]).name
            Image.open(path).crop((12, 6, 36, 30)).resize((48, 48), Image.Resampling.NEAREST).save(path)
    (scene / "transforms.json").write_text(json.dumps(content))
    full, views = views_of(nerfstudio_scene, method="all"), views_of(scene, method="all")
    assert views.size == (36, 48)
    assert len(views) == 12
    np.testing.assert_allclose(views.cameras.intrinsics[5].numpy(), [1, 1, 0.5, 0.5])
    assert full.depths_m is not None
    # The surface of the whole frame, at the places where the new one sees it.
    at = reproject(sweep_matrices(views.cameras[5:6], full.cameras[5:6]), pixel_centres(36, 48), full.depths_m[5])
    assert math.isclose(float(at.is_seen.double().mean()), 24 * 24 / (36 * 48))
    seen = sample_images(views.colors(torch.tensor([5])), at.xy)[0]
    whole = full.colors(torch.tensor([5]))[0]
    assert float((seen - whole).abs().mean(dim=0)[at.is_seen[0]].median()) < 0.02
