"""The typical depth of images is found from their colours, at any scale, or is not known."""

from typing import Any

import numpy as np
import pytest
import torch
from nerfstudio.cameras.cameras import CameraType

from benchmarks.captures.places import corridor, furnished_room
from benchmarks.captures.walks import along_corridor, outward
from semantic_ns.multi_view.typical_depth import SmallImages, least_depth, typical_depth
from semantic_ns.synthetic_scene import make_trajectory
from support.rendered_images import images_of, rendered


def in_one_place() -> np.ndarray:
    return outward(30)


def in_room() -> np.ndarray:
    return make_trajectory(16, seed=1)


def in_corridor() -> np.ndarray:
    return along_corridor(45)


def test_the_typical_depth_of_a_room_is_found_to_a_third_in_the_units_of_the_cameras_and_without_a_draw() -> None:
    poses, colors, median = rendered(furnished_room, in_room)
    before = torch.random.get_rng_state()
    assert typical_depth(images_of(poses, colors)) == pytest.approx(median, rel=0.33)
    assert typical_depth(images_of(poses, colors, scale=30.0)) == pytest.approx(30 * median, rel=0.33)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_that_of_a_corridor_is_found_though_its_walls_are_plain() -> None:
    poses, colors, median = rendered(corridor, in_corridor)
    found = typical_depth(images_of(poses, colors))
    assert found is not None
    assert 0.7 * median < found < 2.5 * median


@pytest.mark.parametrize("kind", ["one place", "one camera", "plain walls", "fisheye"])
def test_it_is_not_known_without_parallax_texture_or_perspective(kind: str) -> None:
    poses, colors, _ = rendered(furnished_room, in_room)
    more: dict[str, Any] = {}
    if kind == "one place":
        poses = outward(16)
        poses[:, :3, 3] = 0
    elif kind == "one camera":
        poses = poses[:1]
    elif kind == "plain walls":
        colors = [torch.full_like(image, 0.5) for image in colors]
    else:
        more = {"camera_type": CameraType.FISHEYE}
    assert typical_depth(images_of(poses, colors, **more)) is None


def test_lens_distortion_does_not_hinder_it() -> None:
    poses, colors, median = rendered(furnished_room, in_room)
    bent = images_of(poses, colors, distortion_params=torch.tensor([0.01, 0.0, 0.0, 0.0, 0.0, 0.0]))
    assert typical_depth(bent) == pytest.approx(median, rel=0.4)


@pytest.mark.parametrize("scale", [1.0, 40.0])
def test_cameras_in_nearly_one_place_see_what_is_many_times_farther_than_they_are_apart(scale: float) -> None:
    poses, colors, median = rendered(furnished_room, in_one_place)
    found = least_depth(images_of(poses, colors, scale))
    assert found is not None
    assert 0.5 * scale * median < found < 1.25 * scale * median  # they are up to 6 cm apart


@pytest.mark.parametrize("kind", ["room", "corridor", "one place", "one camera", "plain walls", "fisheye"])
def test_nothing_is_said_of_it_where_cameras_see_parallax_or_nothing(kind: str) -> None:
    place, walk = (corridor, in_corridor) if kind == "corridor" else (furnished_room, in_room)
    poses, colors, _ = rendered(place, walk)
    more: dict[str, Any] = {}
    if kind == "one place":
        poses = poses.copy()
        poses[:, :3, 3] = 0
    elif kind == "one camera":
        poses = poses[:1]
    elif kind == "plain walls":
        colors = [torch.full_like(image, 0.5) for image in colors]
    elif kind == "fisheye":
        more = {"camera_type": CameraType.FISHEYE}
    assert least_depth(images_of(poses, colors, **more)) is None


def test_every_image_is_read_once_for_both() -> None:
    poses, colors, _ = rendered(furnished_room, in_room)
    images, read = images_of(poses, colors), []
    images.color_of = lambda index: (read.append(index), colors[index])[1]
    small = SmallImages(images)
    assert (least_depth(small), typical_depth(small)) == (None, typical_depth(images_of(poses, colors)))
    assert len(read) == len(set(read)) <= len(poses)


def in_stations() -> np.ndarray:
    """Five cameras at each of eight places, which differ by an error of a millimetre."""
    poses = np.repeat(make_trajectory(8, seed=1), 5, axis=0)
    poses[:, :3, 3] += np.random.default_rng(0).normal(0, 0.001, (40, 3))
    return poses


def test_frames_from_a_few_tripods_are_not_taken_for_a_walk_close_to_walls() -> None:
    poses, colors, median = rendered(furnished_room, in_stations)
    draw = torch.Generator().manual_seed(0)
    noisy = [(image + 0.02 * torch.randn(image.shape, generator=draw)).clamp(0, 1) for image in colors]
    found = typical_depth(images_of(poses, noisy))
    assert found is None or found > 0.5 * median


@pytest.mark.parametrize("wrong", ["nan", "flat"])
def test_cameras_without_a_pose_are_passed_over(wrong: str) -> None:
    poses, colors, median = rendered(furnished_room, in_room)
    poses = poses.copy()
    poses[3, :3] = np.nan if wrong == "nan" else 0.0
    assert typical_depth(images_of(poses, colors)) == pytest.approx(median, rel=0.33)
    assert least_depth(images_of(poses, colors)) is None
