"""Images with lens distortion are undistorted where a method compares views, with all that belongs to them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nerfstudio.cameras.cameras import CameraType

from semantic_ns.dataparsers import metadata as keys
from semantic_ns.datasets.semantic_dataset import SemanticDataset
from semantic_ns.errors import SceneError
from semantic_ns.geometry.undistortion import can_be_undistorted, undistort, undistorted
from semantic_ns.many_scenes.scene_frames import read_views
from semantic_ns.many_scenes.views import SceneViews
from support.bent_scene import (
    BENT,
    FISHEYE,
    color_at,
    depth_at,
    directions_of,
    label_at,
    mask_at,
    write_bent_scene,
)
from support.cameras import make_cameras
from support.rooms import parser_of

LENSES = [BENT, {"k1": 0.08}, FISHEYE, {"camera_model": "OPENCV_FISHEYE"}]


def read(folder: Path, scale_factor: float = 1.0) -> tuple[SemanticDataset, SceneViews]:
    parser = parser_of(folder, split="all")
    dataset = SemanticDataset(parser.training_outputs(parser.scenes[0]), scale_factor, load_depth=True)
    return dataset, read_views(dataset)


@pytest.mark.parametrize("lens", LENSES)
def test_rays_of_the_undistorted_image_meet_what_those_of_nerfstudios_distorted_camera_meet(
    lens: dict[str, Any], tmp_path: Path
) -> None:
    """What a ray meets is a function of its direction alone, and the images were made with nerfstudio's bent rays."""
    dataset, views = read(write_bent_scene(tmp_path / "scene", lens))
    assert dataset.cameras.distortion_params is None
    assert views.depths_m is not None
    for index in range(len(dataset)):
        directions = directions_of(dataset.cameras, index)
        error = np.abs(views.images[index].numpy() / 255 - color_at(directions))
        assert error.max() < 0.01
        np.testing.assert_allclose(views.depths_m[index].numpy(), depth_at(directions), atol=0.03)
        differs = views.labels[index].numpy() != label_at(directions)
        assert differs.mean() < 0.03
        along = views.cameras.ray_directions(torch.rand(len(views), 1, 2))
        assert bool(along.isfinite().all())


def test_without_undistortion_they_meet_something_else(tmp_path: Path) -> None:
    """The tolerances above are tight enough to tell."""
    folder = write_bent_scene(tmp_path / "scene", BENT)
    outputs = parser_of(folder, split="all").training_outputs(parser_of(folder).scenes[0])
    bent = outputs.metadata[keys.DISTORTED_CAMERAS]
    stored = SemanticDataset(outputs)
    del stored.metadata[keys.DISTORTED_CAMERAS]
    assert np.abs(stored.color_of(0).numpy() - color_at(directions_of(outputs.cameras, 0))).max() > 0.03
    assert np.abs(stored.color_of(0).numpy() - color_at(directions_of(bent, 0))).max() < 0.01


@pytest.mark.parametrize("scale_factor", [0.5, 0.4])
def test_smaller_images_are_undistorted_like_large_ones(scale_factor: float, tmp_path: Path) -> None:
    dataset, views = read(write_bent_scene(tmp_path / "scene", BENT), scale_factor)
    assert views.size == (int(48 * scale_factor), int(64 * scale_factor))
    directions = directions_of(dataset.cameras, 1)
    assert np.abs(views.images[1].numpy() / 255 - color_at(directions)).max() < 0.03


def test_a_mask_is_bent_back_with_its_image(tmp_path: Path) -> None:
    dataset, _ = read(write_bent_scene(tmp_path / "scene", BENT, has_masks=True))
    expected = mask_at(directions_of(dataset.cameras, 0))
    assert 0.1 < expected.mean() < 0.9
    assert (dataset[0]["mask"][..., 0].numpy() != expected).mean() < 0.03


def test_cameras_without_distortion_stay_as_they_are_beside_others() -> None:
    cameras = make_cameras()
    assert not can_be_undistorted(cameras)
    assert cameras.distortion_params is not None
    cameras.distortion_params[1, 0] = -0.1
    assert can_be_undistorted(cameras)
    found = undistorted(cameras)
    for name in ("fx", "fy", "cx", "cy"):
        before, after = getattr(cameras, name)[:, 0], getattr(found, name)[:, 0]
        assert torch.equal(before[[0, 2]], after[[0, 2]])
        assert before[1] != after[1]
    image = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    assert undistort(image, cameras, found, 0, is_color=True) is image
    assert not np.array_equal(undistort(image, cameras, found, 1, is_color=True), image)


@pytest.mark.parametrize(
    ("numbers", "kind", "message"),
    [([0, 0, 0, 0.1, 0, 0], CameraType.PERSPECTIVE, "Expected a lens distortion of k1, k2, k3, p1 and p2, found k4"),
     ([0, 0, 0, 0, 0.1, 0], CameraType.FISHEYE, "Expected a fisheye lens without tangential distortion, found p1 0.1"),
     ([-3.0, 0, 0, 0, 0, 0], CameraType.PERSPECTIVE, "that can be undone in all of the image, found .* -3, 0")],
)  # fmt: skip
def test_a_distortion_that_cannot_be_undone_is_told(numbers: list[float], kind: CameraType, message: str) -> None:
    cameras = make_cameras(kind)
    cameras.distortion_params = torch.tensor(numbers, dtype=torch.float32).expand(3, 6).clone()
    with pytest.raises(SceneError, match=message) as raised:
        undistorted(cameras)
    assert "\n" not in str(raised.value)


def test_a_kind_of_camera_that_has_no_pinhole_is_left_to_others() -> None:
    assert not can_be_undistorted(make_cameras(CameraType.EQUIRECTANGULAR, distortion=0.1))
