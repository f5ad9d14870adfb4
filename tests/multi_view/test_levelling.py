"""Cameras are turned until their up is that of their images, by the least angle."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from semantic_ns.geometry.views import ViewCameras
from semantic_ns.many_scenes.camera_noise import rotations, turned
from semantic_ns.multi_view.levelling import UpNetwork, levelled, up_loss, up_of, vertical_of
from support.ring_of_views import cameras_before_a_wall

CAMERAS = turned(cameras_before_a_wall(6), 40.0, torch.Generator().manual_seed(3))
"""Cameras with pitch and roll."""


def tilted(cameras: ViewCameras, largest_deg: float = 10.0) -> ViewCameras:
    return turned(cameras, largest_deg, torch.Generator().manual_seed(0))


def angle(rotation: Tensor) -> float:
    return math.acos(max(-1.0, min(1.0, (float(rotation.trace()) - 1) / 2)))


def test_up_is_the_z_axis_of_the_world_in_the_axes_of_each_camera() -> None:
    for camera, up in zip(CAMERAS.c2w, up_of(CAMERAS), strict=True):
        torch.testing.assert_close(camera[:3, :3] @ up, torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64))


def test_levelled_cameras_stay_in_place_and_have_the_up_that_is_given() -> None:
    noisy = tilted(CAMERAS)
    found = levelled(noisy, up_of(CAMERAS))
    torch.testing.assert_close(up_of(found), up_of(CAMERAS))
    assert torch.equal(found.centres, noisy.centres)
    assert torch.equal(found.intrinsics, noisy.intrinsics)
    for rotation in found.c2w[:, :3, :3]:
        torch.testing.assert_close(rotation @ rotation.T, torch.eye(3, dtype=torch.float64))
        assert float(torch.linalg.det(rotation)) == pytest.approx(1.0)


def test_what_is_left_of_noise_is_a_turn_about_the_vertical() -> None:
    found = levelled(tilted(CAMERAS), up_of(CAMERAS))
    z = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    for true, rotation in zip(CAMERAS.c2w[:, :3, :3], found.c2w[:, :3, :3], strict=True):
        torch.testing.assert_close(rotation @ true.T @ z, z)


def test_cameras_are_turned_by_the_angle_between_the_two_ups_and_not_by_more() -> None:
    noisy = tilted(CAMERAS)
    found = levelled(noisy, up_of(CAMERAS))
    for number in range(len(CAMERAS)):
        turn = noisy.c2w[number, :3, :3].T @ found.c2w[number, :3, :3]
        between = math.acos(float(up_of(noisy)[number] @ up_of(CAMERAS)[number]))
        assert angle(turn) == pytest.approx(between, abs=1e-6)


def test_a_camera_whose_up_is_right_is_not_turned() -> None:
    torch.testing.assert_close(levelled(CAMERAS, up_of(CAMERAS)).c2w, CAMERAS.c2w)


def test_a_camera_that_is_said_to_be_off_by_more_than_30_degrees_is_left_as_it_is() -> None:
    assert torch.equal(levelled(CAMERAS, -up_of(CAMERAS)).c2w, CAMERAS.c2w)
    across = torch.nn.functional.normalize(torch.linalg.cross(up_of(CAMERAS), torch.ones(6, 3).double()), dim=-1)
    for degrees, stays in ((29.0, False), (31.0, True)):
        up = math.cos(math.radians(degrees)) * up_of(CAMERAS) + math.sin(math.radians(degrees)) * across
        assert torch.equal(levelled(CAMERAS, up).c2w, CAMERAS.c2w) is stays


def world_turned(cameras: ViewCameras, degrees: float) -> tuple[ViewCameras, Tensor]:
    """A world that is tilted with all that is in it, and what is up in it."""
    turn = rotations(torch.tensor([[math.radians(degrees), 0.0, 0.0]], dtype=torch.float64))[0]
    c2w = cameras.c2w.clone()
    c2w[:, :3] = turn @ c2w[:, :3]
    return replace(cameras, c2w=c2w), turn[:, 2]


def test_the_vertical_is_what_images_say_where_they_contradict_the_z_axis() -> None:
    tilted_world, vertical = world_turned(CAMERAS, 12.0)
    torch.testing.assert_close(vertical_of(tilted_world, up_of(CAMERAS)), vertical)
    z = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    assert torch.equal(vertical_of(CAMERAS, up_of(CAMERAS)), z)
    assert torch.equal(vertical_of(world_turned(CAMERAS, 2.0)[0], up_of(CAMERAS)), z)


def test_the_vertical_of_wrong_cameras_is_the_z_axis_unless_all_contradict_it_alike() -> None:
    many = turned(cameras_before_a_wall(16), 40.0, torch.Generator().manual_seed(3))
    z = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    assert torch.equal(vertical_of(tilted(many), up_of(many)), z)
    noisy, vertical = world_turned(tilted(many), 20.0)
    assert math.degrees(math.acos(float(vertical_of(noisy, up_of(many)) @ vertical))) < 6
    assert torch.equal(vertical_of(noisy[:1], up_of(many)[:1]), z)


def test_levelling_does_not_depend_on_how_a_world_is_tilted_if_its_vertical_is_known() -> None:
    noisy = tilted(CAMERAS)
    expected = levelled(noisy, up_of(CAMERAS))
    tilted_world, vertical = world_turned(noisy, 25.0)
    found = levelled(tilted_world, up_of(CAMERAS), vertical)
    torch.testing.assert_close(found.c2w, world_turned(expected, 25.0)[0].c2w)


def test_the_loss_is_the_squared_angle_if_that_is_small() -> None:
    turns = rotations(torch.tensor([[0.02, 0.0, 0.0]] * len(CAMERAS), dtype=torch.float64))
    across = turns @ torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
    camera = replace(CAMERAS, c2w=CAMERAS.c2w.clone())
    camera.c2w[:, 2, :3] = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
    assert float(up_loss(across.float(), camera)) == pytest.approx(0.02**2, rel=1e-3)
    assert float(up_loss(up_of(CAMERAS).float(), CAMERAS)) == pytest.approx(0.0, abs=1e-12)


def test_a_network_that_knows_nothing_takes_cameras_for_level() -> None:
    torch.manual_seed(0)
    found = UpNetwork(4)(torch.randn(len(CAMERAS), 4, 9, 12), CAMERAS)
    torch.testing.assert_close(found, torch.tensor([[0.0, -1.0, 0.0]]).expand(len(CAMERAS), 3))


def test_the_answer_does_not_depend_on_how_the_cameras_are_said_to_be_turned() -> None:
    torch.manual_seed(0)
    network, features = UpNetwork(4), torch.randn(len(CAMERAS), 4, 9, 12)
    torch.nn.init.normal_(network.direction.weight)
    assert torch.equal(network(features, CAMERAS), network(features, tilted(CAMERAS)))
    wider = replace(CAMERAS, intrinsics=0.5 * CAMERAS.intrinsics)
    assert not torch.equal(network(features, CAMERAS), network(features, wider))


def test_a_network_learns_up_from_images_that_show_it() -> None:
    """Images are as bright as their pixels look upwards."""
    torch.manual_seed(0)
    network = UpNetwork(1)
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3)
    xy = torch.stack(torch.meshgrid(torch.linspace(-1, 1, 12), torch.linspace(-1, 1, 9), indexing="xy"), dim=-1)
    looks = torch.nn.functional.pad(xy, (0, 1), value=1.0)

    def sample(seed: int) -> tuple[ViewCameras, Tensor]:
        cameras = turned(cameras_before_a_wall(8), 30.0, torch.Generator().manual_seed(seed))
        return cameras, torch.einsum("hwi,ni->nhw", looks, up_of(cameras).float())[:, None]

    held_out, images = sample(1000)
    with torch.no_grad():
        before = float(up_loss(network(images, held_out), held_out))
    for step in range(60):
        cameras, shown = sample(step)
        optimizer.zero_grad()
        up_loss(network(shown, cameras), cameras).backward()
        optimizer.step()
    with torch.no_grad():
        assert float(up_loss(network(images, held_out), held_out)) < 0.3 * before
