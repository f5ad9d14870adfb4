"""A pinhole image as a camera with lens distortion sees it: each pixel shows what its ray meets."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nerfstudio.cameras.cameras import Cameras, CameraType

from semantic_ns.dataparsers.auto import AutoDataParserConfig
from semantic_ns.geometry.lens import Lens
from semantic_ns.geometry.undistortion import distort, undistort, undistorted
from support.bent_scene import BENT, FISHEYE, write_bent_scene


@pytest.fixture(params=[BENT, FISHEYE], ids=["opencv", "fisheye"])
def cameras(request: pytest.FixtureRequest, tmp_path: Path) -> Cameras:
    parser: Any = AutoDataParserConfig(data=write_bent_scene(tmp_path / "scene", request.param), split="all").setup()
    return parser.get_dataparser_outputs("train").cameras


def test_a_pixel_is_where_the_pinhole_camera_sees_its_ray(cameras: Cameras) -> None:
    pinholes = undistorted(cameras)
    height, width = int(cameras.height[1]), int(cameras.width[1])
    columns, rows = Lens.of(cameras, 1).places_in(np.array(Lens.of(pinholes, 1).intrinsics), (height, width))
    coords = torch.from_numpy(np.stack([rows, columns], axis=-1)).float().reshape(-1, 2) + 0.5
    seen = pinholes.generate_rays(torch.ones(len(coords), 1, dtype=torch.long), coords=coords).directions
    seen = seen.reshape(height, width, 3)
    taken = cameras.generate_rays(torch.tensor([1])).directions.reshape(height, width, 3)
    torch.testing.assert_close(seen, taken, rtol=0, atol=2e-4)


def test_what_the_pinhole_camera_does_not_see_is_0_and_the_rest_comes_back(cameras: Cameras) -> None:
    pinholes = undistorted(cameras)
    height, width = int(cameras.height[0]), int(cameras.width[0])
    rows, columns = np.mgrid[:height, :width]
    taken = (1.0 + rows + 100 * columns).astype(np.float32)
    found = distort(undistort(taken, cameras, pinholes, 0), cameras, pinholes, 0)
    is_seen = found > 0
    assert 0.3 < is_seen.mean() < 1
    # Twice the nearest pixel: at most one away.
    assert np.abs((found - 1) % 100 - rows)[is_seen].max() <= 1
    assert np.abs((found - 1) // 100 - columns)[is_seen].max() <= 1


def test_a_camera_without_distortion_sees_the_same() -> None:
    camera = Cameras(torch.eye(4)[None, :3], 40.0, 40.0, 3.0, 2.0, 6, 4, camera_type=CameraType.PERSPECTIVE)
    values = np.arange(24.0).reshape(4, 6)
    assert distort(values, camera, camera, 0) is values
