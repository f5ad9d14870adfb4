"""What one camera sees and others see through is unsure, and so are rays that end nowhere; right surfaces are not."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nerfstudio.cameras.rays import RayBundle
from rich.console import Console
from torch import Tensor

from semantic_ns.doctor.loading import load_scene, parser_config
from semantic_ns.doctor.report import examine
from semantic_ns.doctor.trained import _find_unsure_surface
from semantic_ns.evaluation.other_views import Sightings
from semantic_ns.evaluation.unsure_surface import UnsureSurface, find_unsure_surface
from semantic_ns.evaluation.veil_of_model import ModelRays, undisturbed
from support import small_nerf
from support.ray_batches import rays
from support.spheres import Spheres, cameras_at, ring


def unsure(poses: list[Tensor], scene: Spheres, **options: int) -> UnsureSurface:
    return find_unsure_surface(cameras_at(poses), [f"view {i}" for i in range(len(poses))], scene, **options)


class WrongFromOnePlace(Spheres):
    """A room of which the rays from one place see everything too near or too far, by a factor."""

    place: Tensor
    factor: float

    def depth(self, rays: RayBundle) -> Tensor:
        is_there = (rays.origins - self.place).norm(dim=1) < 0.05
        return super().depth(rays) * torch.where(is_there, self.factor, 1.0)


def wrong_from(pose: Tensor, factor: float) -> WrongFromOnePlace:
    scene = WrongFromOnePlace()
    scene.place, scene.factor = pose[:, 3], factor
    return scene


@pytest.mark.parametrize("inward", [True, False])
def test_a_room_that_all_cameras_see_alike_is_sure(inward: bool) -> None:
    found = unsure(ring(inward=inward), Spheres(balls=[([0.2, 0.1, 0.0], 0.4)]))
    assert not found.shares.any()
    assert found.frames() == []
    assert found.sentence() == "0.0% of the pixels, in no frame more than 0.0%"


def test_a_surface_that_one_camera_alone_sees_in_free_space_is_unsure_for_it_alone() -> None:
    poses = ring()
    found = unsure(poses, wrong_from(poses[2], 0.7))
    assert found.shares[2] == 1
    assert np.delete(found.shares, 2).max() == 0
    assert found.share == pytest.approx(1 / 8)
    assert "12.5% of the pixels, most in view 2 100%; labels given there do not travel" in found.sentence()


def test_what_differs_by_less_than_the_tolerance_is_sure() -> None:
    poses = ring()
    assert unsure(poses, wrong_from(poses[2], 0.99)).share == 0


def test_one_camera_does_not_outvote_those_that_agree() -> None:
    poses = [*ring(), *ring(radius=0.9)]  # each camera of the second ring has one of the first behind it
    assert not unsure(poses, wrong_from(poses[2], 1.3)).shares[8:].any()
    # Where no other camera sees a surface, the one that sees none is heard.
    assert unsure(poses[:8], wrong_from(poses[2], 1.3)).shares.any()


def test_a_camera_at_the_same_place_is_not_asked() -> None:
    poses = ring()
    twin = poses[2].clone()
    twin[:, 3] += 0.1 * twin[:, 0]
    assert unsure([poses[2], twin], wrong_from(poses[2], 0.7)).share == 0


def test_rays_whose_light_is_not_stopped_are_unsure() -> None:
    class HalfEmpty(Spheres):
        def stopped(self, rays: RayBundle) -> tuple[Tensor, Tensor]:
            return torch.where(rays.directions[:, 2] > 0, 0.8, 1.0), self.depth(rays)

    found = unsure(ring(), HalfEmpty(), num_rays=192)
    np.testing.assert_allclose(found.shares, 0.5)


@pytest.mark.parametrize(("factor", "share"), [(1.15, 0.5), (0.85, 0.5), (1.05, 0.0)])
def test_rays_whose_light_is_stopped_in_two_places_are_unsure(factor: float, share: float) -> None:
    class Haze(Spheres):
        def stopped(self, rays: RayBundle) -> tuple[Tensor, Tensor]:
            return torch.ones(len(rays)), self.depth(rays) * torch.where(rays.directions[:, 2] > 0, factor, 1.0)

    np.testing.assert_allclose(unsure(ring(), Haze(), num_rays=192).shares, share)


def test_a_field_that_renders_nothing_is_unsure_everywhere() -> None:
    class Nothing(Spheres):
        def depth(self, rays: RayBundle) -> Tensor:
            return torch.zeros(len(rays))

    assert unsure(ring(), Nothing()).share == 1


def test_only_some_cameras_are_examined_and_all_are_asked() -> None:
    poses = ring()
    found = unsure(poses, wrong_from(poses[4], 0.7), num_cameras=2, num_rays=12)
    assert found.names == ("view 0", "view 4")
    assert found.shares.tolist() == [0, 1]


def test_the_unit_of_length_does_not_matter() -> None:
    poses, factor = ring(), 100.0

    class Scaled(WrongFromOnePlace):
        def depth(self, rays: RayBundle) -> Tensor:
            return factor * super().depth(RayBundle(rays.origins / factor, rays.directions, rays.pixel_area))

    scene = Scaled()
    scene.place, scene.factor = poses[2][:, 3], 0.7
    found = unsure([torch.cat([pose[:, :3], factor * pose[:, 3:]], dim=1) for pose in poses], scene)
    assert found.shares.tolist() == [0, 0, 1, 0, 0, 0, 0, 0]


def test_votes_are_counted_point_by_point() -> None:
    generator = np.random.default_rng(0)
    point = generator.integers(0, 6, 40)
    distance, beyond = generator.uniform(0.5, 4, 40), generator.normal(0, 0.2, 40)
    agreeing, contradicting = Sightings(point, point, distance, beyond).votes(7, 0.1, 0.15)
    for number in range(7):
        yes = no = 0
        for which, length, difference in zip(point, distance, beyond, strict=True):
            if which == number:
                tolerance = max(0.1 * length, 0.15)
                yes += abs(difference) <= tolerance
                no += difference > tolerance
        assert (agreeing[number], contradicting[number]) == (yes, no)


def test_the_share_of_stopped_light_is_that_of_the_model() -> None:
    model = small_nerf.build(small_nerf.lean_config())
    with undisturbed(model):
        expected = model(rays())["accumulation"][:, 0]
        torch.testing.assert_close(ModelRays(model).stopped(rays())[0], expected)


def row_of(scene: Any) -> tuple[str, dict[str, Any]]:
    report = examine(scene, "room")
    console = Console(width=300, record=True)
    console.print(report.to_text())
    return next(line for line in console.export_text().splitlines() if "unsure surface" in line), report.to_json()


def test_the_doctor_says_where_the_surface_of_a_run_is_unsure(nerfstudio_scene: Path) -> None:
    scene = load_scene(parser_config("semantic-data", nerfstudio_scene))
    assert examine(scene, "room").unsure_surface is None
    vars(scene)["find_unsure_surface"] = lambda: UnsureSurface(("a.png", "b.png"), np.array([0.02, 0.4]))
    row, written = row_of(scene)
    assert "21.0% of the pixels, most in b.png 40%; labels given there do not travel to other frames" in row
    assert written["unsure_surface"]["share"] == pytest.approx(0.21)
    assert written["unsure_surface"]["by_frame"] == {"a.png": 0.02, "b.png": 0.4}
    vars(scene)["find_unsure_surface"] = lambda: "there is only one camera"
    row, written = row_of(scene)
    assert "not looked for, because there is only one camera" in row
    assert (written["unsure_surface"], written["unsure_surface_not_looked_for"]) == (None, "there is only one camera")


def test_only_so_many_frames_are_named() -> None:
    found = UnsureSurface(tuple("abcdefg"), np.full(7, 0.5))
    assert "most in a 50%, b 50%, c 50%, d 50%, e 50%, and 2 more frames" in found.sentence()


def test_the_surface_of_whole_images_is_not_looked_at_by_rays(nerfstudio_scene: Path) -> None:
    model = small_nerf.build(small_nerf.lean_config())
    model.renders_rays = False
    found = _find_unsure_surface(load_scene(parser_config("semantic-data", nerfstudio_scene)), model)
    assert isinstance(found, str)
    assert "single rays" in found
