"""Every check of a trained scene looks along the same rays: those of pinhole cameras, on one grid of each picture."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.rays import RayBundle
from numpy import ndarray
from torch import Tensor

from semantic_ns.dataparsers.auto import AutoDataParserConfig
from semantic_ns.datasets.semantic_dataset import SemanticDataset
from semantic_ns.doctor.loading import load_scene
from semantic_ns.evaluation import veil_of_model
from semantic_ns.evaluation.other_views import ExaminedRays, tile_middles
from semantic_ns.evaluation.unsure_surface import find_unsure_surface
from semantic_ns.evaluation.veil import find_veils
from semantic_ns.evaluation.veil_of_model import find_unsure_surface_of, find_veils_of
from support import small_nerf
from support.bent_scene import BENT, FISHEYE, write_bent_scene
from support.spheres import Spheres, cameras_at, ring


class Noted(Spheres):
    """A room that remembers the rays by which it was asked first."""

    asked: RayBundle | None = None

    def depth(self, rays: RayBundle) -> Tensor:
        self.asked = self.asked or rays
        return super().depth(rays)


def assert_same_rays(first: RayBundle | None, second: RayBundle | None) -> None:
    assert first is not None
    assert second is not None
    for name in ("origins", "directions", "camera_indices"):
        torch.testing.assert_close(getattr(first, name), getattr(second, name))


def test_they_are_those_of_nerfstudio_through_the_middles_of_the_tiles() -> None:
    cameras = cameras_at(ring())
    found = ExaminedRays.of(cameras, 3, 12)
    assert found.cameras.tolist() == sorted(set(found.owner.tolist()))
    place = 0
    for index in found.cameras.tolist():
        rows, columns = tile_middles(48, 64, 12)
        for row in rows.tolist():
            for column in columns.tolist():
                middle = torch.tensor([[row + 0.5, column + 0.5]])
                expected = cameras.generate_rays(torch.tensor([[index]]), coords=middle)
                torch.testing.assert_close(found.rays.directions[place], expected.directions[0])
                torch.testing.assert_close(found.rays.origins[place], cameras.camera_to_worlds[index, :, 3])
                assert found.owner[place] == index
                place += 1
    assert place == len(found.rays)


def test_points_and_shares_are_those_of_one_ray_after_another() -> None:
    found = ExaminedRays.of(cameras_at(ring()), 3, 20)
    generator = np.random.default_rng(0)
    distance, is_counted = generator.uniform(1, 2, len(found.rays)), generator.random(len(found.rays)) < 0.4
    points: ndarray = found.points(distance)
    for number, point in enumerate(points):
        origin, direction = (found.rays[number].origins.tolist(), found.rays[number].directions.tolist())
        expected = [start + distance[number] * step for start, step in zip(origin, direction, strict=True)]
        np.testing.assert_allclose(point, expected, rtol=1e-12)
    for camera, share in zip(found.cameras, found.shares(is_counted), strict=True):
        own = [bool(counted) for counted, owner in zip(is_counted, found.owner, strict=True) if owner == camera]
        assert share == sum(own) / len(own)


@pytest.mark.parametrize("options", [{"num_rays": 64}, {"num_cameras": 3, "num_rays": 192}])
def test_veils_and_unsure_surfaces_are_looked_for_along_the_same_rays(options: dict[str, int]) -> None:
    cameras, names = cameras_at(ring()), [str(number) for number in range(8)]
    veils, surface = Noted(), Noted()
    assert (
        find_veils(cameras, names, veils, **options).names
        == find_unsure_surface(cameras, names, surface, **options).names
    )
    assert_same_rays(veils.asked, surface.asked)


@pytest.mark.parametrize("lens", [BENT, FISHEYE], ids=["bent", "fisheye"])
def test_a_training_and_the_doctor_look_through_a_lens_alike(
    lens: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = AutoDataParserConfig(data=write_bent_scene(tmp_path / "scene", lens), split="all")
    in_training: Cameras = SemanticDataset(config.setup().get_dataparser_outputs("train")).cameras
    of_doctor = load_scene(config).cameras()
    assert not torch.equal(in_training.fx, of_doctor.fx)
    asked = []
    for find in (find_veils_of, find_unsure_surface_of):
        for cameras in (in_training, of_doctor):
            scene = Noted()
            monkeypatch.setattr(veil_of_model, "ModelRays", lambda _model, scene=scene: scene)
            found = find(small_nerf.build(small_nerf.lean_config()), cameras, ["a", "b", "c", "d"])
            assert found is not None
            asked.append(scene.asked)
    for rays in asked[1:]:
        assert_same_rays(rays, asked[0])


def test_cameras_whose_distortion_cannot_be_undone_are_looked_through_as_they_are(tmp_path: Path) -> None:
    config = AutoDataParserConfig(data=write_bent_scene(tmp_path / "scene", {"k1": -3.0}), split="all")
    cameras = SemanticDataset(config.setup().get_dataparser_outputs("train")).cameras
    assert veil_of_model.as_pinholes(cameras) is cameras
