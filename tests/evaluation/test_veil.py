"""A veil is found where one hangs before one camera; clean views and real surfaces close to the lens are not named."""

import math

import pytest
import torch
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor

from semantic_ns.evaluation import other_views
from semantic_ns.evaluation.veil import LEAST_SHARE, Veils, find_veils
from support.spheres import Spheres, cameras_at, look_at, ring


def named(poses: list[Tensor], scene: Spheres, **options: int) -> Veils:
    return find_veils(cameras_at(poses), [f"view {i}" for i in range(len(poses))], scene, **options)


def before(pose: Tensor, distance: float) -> list[float]:
    """A place on the optical axis of a camera."""
    return (pose[:, 3] - distance * pose[:, 2]).tolist()


def beside(pose: Tensor, target: list[float]) -> list[Tensor]:
    """Cameras left and right of another one that look at a point before it."""
    return [look_at((pose[:, 3] + side * pose[:, 0]).tolist(), target) for side in (-0.3, 0.3)]


# Others look through the thin veil, and away from the dense ones.
@pytest.mark.parametrize(("share", "inward"), [(0.3, True), (0.6, False), (1.0, False)])
def test_a_veil_before_one_camera_is_found_and_only_it_is_named(share: float, inward: bool) -> None:
    poses = ring(inward=inward)
    found = named(poses, Spheres(coats=[(poses[2][:, 3].tolist(), 0.1, share)]))
    assert [name for name, _ in found.veiled()] == ["view 2"]
    assert found.shares[2] == 1
    assert found.end == pytest.approx(0.1, rel=1e-3)
    sentence = found.sentence()
    assert sentence is not None
    assert "1 of 8 views" in sentence
    assert "view 2 100%" in sentence
    assert "0.1 scene units" in sentence


def test_a_thin_haze_is_no_veil() -> None:
    poses = ring()
    assert named(poses, Spheres(coats=[(poses[2][:, 3].tolist(), 0.1, 0.15)])).veiled() == []


@pytest.mark.parametrize("inward", [True, False])
def test_clean_views_are_not_named(inward: bool) -> None:
    found = named(ring(inward=inward), Spheres())
    assert found.sentence() is None
    assert not found.shares.any()
    assert math.isnan(found.end)


def test_a_real_surface_close_to_the_lens_that_a_second_camera_sees_is_not_named() -> None:
    poses = ring()
    ball = (before(poses[0], 0.4), 0.2)
    found = named([*poses, *beside(poses[0], ball[0])], Spheres(balls=[ball]), num_rays=192)
    assert found.near > 0.3
    assert found.veiled() == []
    # The same ball that is there for the first camera alone would be named.
    alone = named([poses[0], look_at([0.0, 0.0, 2.0], [0.1, 0.0, 3.0])], Spheres(balls=[ball]), num_rays=192)
    assert [name for name, _ in alone.veiled()] == ["view 0"]


def test_a_part_of_a_view_that_is_veiled_counts_by_its_share() -> None:
    poses = ring()
    coat = (before(poses[3], 0.1), 0.03, 0.3)
    found = named(poses, Spheres(coats=[coat]), num_rays=1000)
    covered = math.pi * 0.03**2 / (0.1**2 - 0.03**2) * 32 * 32 / (64 * 48)
    assert found.shares[3] == pytest.approx(covered, rel=0.15)
    assert (covered < LEAST_SHARE) == (found.veiled() == [])


def test_a_camera_from_the_same_place_confirms_nothing() -> None:
    poses = ring(inward=False)
    twin = poses[2].clone()
    twin[:, 3] += 0.01 * twin[:, 0]
    found = named([*poses, twin], Spheres(coats=[(poses[2][:, 3].tolist(), 0.1, 0.9)]))
    assert {name for name, _ in found.veiled()} == {"view 2", "view 8"}


def test_of_a_panorama_nothing_can_be_said() -> None:
    near_ball = ([0.7, 0.0, 0.0], 0.3)
    panorama = named(ring(radius=0.01, inward=False), Spheres(balls=[near_ball]))
    assert panorama.sentence() is None
    # A camera that stands far enough away to see it, and does not, is enough to doubt it.
    aside = look_at([0.0, 2.0, 0.0], [0.0, 3.0, 0.0])
    assert named([*ring(radius=0.01, inward=False), aside], Spheres(balls=[near_ball])).sentence() is not None


def test_veils_before_most_cameras_are_found() -> None:
    poses = ring(inward=False)
    found = named(poses, Spheres(coats=[(pose[:, 3].tolist(), 0.1, 0.9) for pose in poses[:5]]))
    assert {name for name, _ in found.veiled()} == {f"view {i}" for i in range(5)}


def test_only_some_cameras_are_examined_and_all_confirm() -> None:
    poses = ring()
    ball = (before(poses[0], 0.4), 0.2)
    found = named([*poses, *beside(poses[0], ball[0])], Spheres(balls=[ball]), num_cameras=2, num_rays=12)
    assert found.names == ("view 0", "view 5")
    assert found.veiled() == []
    scene = Spheres(coats=[(poses[4][:, 3].tolist(), 0.1, 0.3)])
    assert [name for name, _ in named(poses, scene, num_cameras=2, num_rays=12).veiled()] == ["view 4"]
    assert scene.num_rays <= (2 + 2 + 8) * 12


@pytest.mark.parametrize("factor", [0.01, 100.0])
def test_the_unit_of_length_does_not_matter(factor: float) -> None:
    poses, place = ring(), 2

    def scaled(pose: Tensor) -> Tensor:
        return torch.cat([pose[:, :3], factor * pose[:, 3:]], dim=1)

    class Scaled(Spheres):
        def depth(self, rays: RayBundle) -> Tensor:
            return factor * super().depth(shrunk(rays))

        def near_weight(self, rays: RayBundle, end: float) -> tuple[Tensor, Tensor]:
            weight, distance = super().near_weight(shrunk(rays), end / factor)
            return weight, factor * distance

    def shrunk(rays: RayBundle) -> RayBundle:
        return RayBundle(rays.origins / factor, rays.directions, rays.pixel_area)

    found = named([scaled(pose) for pose in poses], Scaled(coats=[(poses[place][:, 3].tolist(), 0.1, 0.3)]))
    assert [name for name, _ in found.veiled()] == [f"view {place}"]
    assert found.end == pytest.approx(0.1 * factor, rel=1e-3)


def test_rays_that_meet_nothing_are_no_veil() -> None:
    class Nothing(Spheres):
        def depth(self, rays: RayBundle) -> Tensor:
            return torch.zeros(len(rays))

        def near_weight(self, rays: RayBundle, end: float) -> tuple[Tensor, Tensor]:
            assert end == 0
            return torch.zeros(len(rays)), torch.zeros(len(rays))

    assert named(ring(), Nothing()).veiled() == []


def test_points_looked_at_in_parts_are_judged_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    poses = ring()
    ball = (before(poses[0], 0.4), 0.2)
    scene = Spheres(balls=[ball], coats=[(poses[3][:, 3].tolist(), 0.1, 0.3)])
    together = named([*poses, *beside(poses[0], ball[0])], scene)
    monkeypatch.setattr(other_views, "_MOST_PAIRS", 3 * 10)  # three points and the ten cameras
    parts = named([*poses, *beside(poses[0], ball[0])], scene)
    assert together.veiled()
    assert parts.shares.tolist() == together.shares.tolist()
    assert parts.end == together.end
