import numpy as np
import pytest
import torch

from semantic_ns.dataparsers.hypersim_camera import (
    CAMERA_TABLE,
    CameraRow,
    exact_pinhole,
    parse_camera_row,
    read_camera_row,
    read_rows,
)
from semantic_ns.dataparsers.posed_scene import PosedFrame, PosedScene
from semantic_ns.dataparsers.scene import SceneClasses
from semantic_ns.dataparsers.splits import Split
from semantic_ns.errors import SceneError
from semantic_ns.geometry import poses
from semantic_ns.labels.taxonomy import Taxonomy
from support.hypersim_scene import CAMERAS, HEIGHT, SKEWED, WIDTH, world_rays, write_camera_table

NO_SKEW = [name for name in CAMERAS if name != SKEWED]


def row_of(name):
    return CameraRow(np.reshape(CAMERAS[name], (3, 3)).astype(float), 1024.0, 768.0, 0.01, name)


def random_rotation(seed):
    rotation = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    return rotation * np.linalg.det(rotation)


def parsed_cameras(pinhole, rotation, tmp_path):
    """nerfstudio's cameras for one frame whose nominal camera has this rotation."""
    c2w = np.eye(4)
    c2w[:3, :3] = rotation @ pinhole.nominal_from_opencv
    frame = PosedFrame(tmp_path, None, None, "", 0, "", c2w)
    taxonomy = Taxonomy((1,), ("wall",), ((1, 2, 3),), (False,), 0)
    one = np.zeros(1, np.int64)
    similarity = poses.Similarity(np.zeros(3), 1.0)
    scene = PosedScene((frame,), pinhole, SceneClasses(taxonomy, (False,)), None, Split(one, one, ""), similarity, 1.0)
    return scene.outputs("train").cameras


def largest_angle(first, second):
    """Radians between unit vectors; by the sine, as the cosine of small angles is 1."""
    return np.linalg.norm(np.cross(first, second), axis=-1).max()


@pytest.mark.parametrize("name", NO_SKEW)
def test_rays_of_the_pinhole_are_those_of_the_tilt_shift_camera(name, tmp_path):
    rotation = random_rotation(0)
    pinhole = exact_pinhole(row_of(name), (WIDTH, HEIGHT))
    rays = parsed_cameras(pinhole, rotation, tmp_path).generate_rays(0).directions.numpy()
    assert largest_angle(rays, world_rays(CAMERAS[name], rotation)) < 1e-5


def test_the_nominal_camera_keeps_its_pose_and_has_60_degrees():
    pinhole = exact_pinhole(row_of("ai_001_001"), (1024, 768))
    np.testing.assert_allclose(pinhole.nominal_from_opencv, np.diag([1, -1, -1]), atol=1e-6)
    expected = 512 / np.tan(np.pi / 6)
    np.testing.assert_allclose([pinhole.fx, pinhole.fy, pinhole.cx, pinhole.cy], [expected, expected, 512, 384], 1e-6)


@pytest.mark.parametrize(
    ("name", "focal", "cx", "cy", "degrees"),
    [("ai_007_005", 864.25, 512, 185.22, 12.95), ("ai_037_002", 887.54, 573.44, 457.64, 0.53)],
)
def test_tilt_and_shift_are_those_that_were_found_by_hand(name, focal, cx, cy, degrees):
    pinhole = exact_pinhole(row_of(name), (1024, 768))
    np.testing.assert_allclose([pinhole.fx, pinhole.fy, pinhole.cx, pinhole.cy], [focal, focal, cx, cy], atol=0.006)
    tilt = np.diag([1, -1, -1]) @ pinhole.nominal_from_opencv
    assert np.linalg.det(tilt) == pytest.approx(1)
    assert np.degrees(np.arccos((np.trace(tilt) - 1) / 2)) == pytest.approx(degrees, abs=0.01)


@pytest.mark.parametrize("name", NO_SKEW)
def test_planar_depth_is_that_of_the_hit_point_along_the_optical_axis(name):
    pinhole = exact_pinhole(row_of(name), (WIDTH, HEIGHT))
    rays = world_rays(CAMERAS[name], np.eye(3))
    distance = np.random.default_rng(0).uniform(1, 20, (HEIGHT, WIDTH))
    axis = pinhole.nominal_from_opencv[:, 2]
    planar = distance * pinhole.planar_per_ray_depth()
    for row in range(HEIGHT):
        for column in range(WIDTH):
            expected = axis @ (distance[row, column] * rays[row, column])
            assert planar[row, column] == pytest.approx(expected, rel=1e-5)


def test_a_camera_with_skew_is_refused():
    with pytest.raises(SceneError, match=r"without skew at ai_019_007, found -16 pixels"):
        exact_pinhole(row_of(SKEWED), (1024, 768))


def test_the_error_without_skew_is_bounded_at_every_pixel():
    matrix = np.reshape(CAMERAS["ai_001_001"], (3, 3)).astype(float)
    matrix[2] += [0, 0.02, 0]  # tilted up and down: skew comes with a turn about the optical axis
    matrix = matrix @ [[1, 1.2e-4, 0], [0, 1, 0], [0, 0, 1]]
    pinhole = exact_pinhole(CameraRow(matrix, 1024.0, 768.0, 0.01, "skew"), (WIDTH, HEIGHT))
    x, y = np.meshgrid(np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5)
    rays = np.stack([(x - pinhole.cx) / pinhole.fx, (y - pinhole.cy) / pinhole.fy, np.ones_like(x)], -1)
    rays = rays / np.linalg.norm(rays, axis=-1, keepdims=True) @ pinhole.nominal_from_opencv.T
    error = largest_angle(rays, world_rays(matrix, np.eye(3)))
    assert 1e-6 < error <= pinhole.skew_error() < 1e-4


def test_images_of_another_proportion_are_refused():
    with pytest.raises(SceneError, match=r"1024x768 for ai_001_001, found 48x27"):
        exact_pinhole(row_of("ai_001_001"), (48, 27))


@pytest.mark.parametrize("change", [-1.0, 0.0, np.nan])
def test_a_matrix_that_is_no_camera_is_refused(change):
    row = CameraRow(np.reshape(CAMERAS["ai_001_001"], (3, 3)) * [1, 1, change], 1024.0, 768.0, 0.01, "row 1")
    with pytest.raises(SceneError, match=r"row 1.*restore the table"):
        exact_pinhole(row, (1024, 768))


def test_the_row_of_a_scene_is_read_by_its_name(tmp_path):
    write_camera_table(tmp_path / CAMERA_TABLE)
    row = read_camera_row(tmp_path / CAMERA_TABLE, "ai_037_002")
    np.testing.assert_array_equal(row.cam_from_uv.ravel(), CAMERAS["ai_037_002"])
    assert (row.width, row.height, row.metres_per_asset_unit) == (1024, 768, 0.0254)


def test_rays_are_right_for_the_whole_camera_table(data_root, tmp_path):
    table = data_root / "hypersim" / CAMERA_TABLE
    if not table.is_file():
        pytest.skip(f"no camera table at {table}")
    width, height = 1024, 768
    x, y = np.meshgrid(np.linspace(0.5, width - 0.5, 9), np.linspace(0.5, height - 0.5, 7))
    uv1 = np.stack([2 * x / width - 1, 1 - 2 * y / height, np.ones_like(x)], axis=-1)
    coords = torch.from_numpy(np.stack([y, x], axis=-1)).float()
    refused, errors = [], []
    for seed, values in enumerate(read_rows(table, "scene_name")):
        row, rotation = parse_camera_row(values, values["scene_name"]), random_rotation(seed)
        try:
            pinhole = exact_pinhole(row, (width, height))
        except SceneError as error:
            refused.append(str(error))
            continue
        cameras = parsed_cameras(pinhole, rotation, tmp_path)
        rays = cameras.generate_rays(torch.zeros(*coords.shape[:2], 1, dtype=torch.long), coords).directions.numpy()
        expected = uv1 @ (rotation @ row.cam_from_uv).T
        errors.append(largest_angle(rays, expected / np.linalg.norm(expected, axis=-1, keepdims=True)))
    assert (len(errors), len(refused)) == (452, 30)
    assert max(errors) < 1e-4
    assert np.median(errors) < 1e-6
    assert all("without skew" in sentence for sentence in refused)
    assert any(SKEWED in sentence for sentence in refused)
