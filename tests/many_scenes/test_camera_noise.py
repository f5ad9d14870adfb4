"""Noise of source cameras: which angles, which cameras, and what stays exact."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from semantic_ns.datamanagers.many_scenes_datamanager import ManyScenesDataManagerConfig
from semantic_ns.errors import SceneError
from semantic_ns.many_scenes.camera_noise import rotations, turned
from semantic_ns.many_scenes.samples import draw_sample
from semantic_ns.many_scenes.shelf import SceneShelf
from semantic_ns.methods.source_views import ChosenSources
from support.rooms import parser_of, write_rooms
from support.views import random_cameras, scene_views


def by_hand(x: float, y: float, z: float) -> Tensor:
    about_x = [[1, 0, 0], [0, math.cos(x), -math.sin(x)], [0, math.sin(x), math.cos(x)]]
    about_y = [[math.cos(y), 0, math.sin(y)], [0, 1, 0], [-math.sin(y), 0, math.cos(y)]]
    about_z = [[math.cos(z), -math.sin(z), 0], [math.sin(z), math.cos(z), 0], [0, 0, 1]]
    first, second, third = (torch.tensor(turn, dtype=torch.float64) for turn in (about_x, about_y, about_z))
    return first @ second @ third


def test_rotations_are_the_product_of_those_about_x_y_and_z() -> None:
    angles = torch.tensor([[0.3, -0.2, 0.9], [0.0, 0.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(rotations(angles), torch.stack([by_hand(0.3, -0.2, 0.9), torch.eye(3).double()]))


def test_angles_are_uniform_up_to_the_largest_and_cameras_stay_in_place() -> None:
    cameras = random_cameras(400)
    noisy = turned(cameras, 10.0, torch.Generator().manual_seed(0))
    assert torch.equal(noisy.centres, cameras.centres)
    assert torch.equal(noisy.intrinsics, cameras.intrinsics)
    turns = cameras.c2w[:, :3, :3].mT @ noisy.c2w[:, :3, :3]
    # R_x R_y R_z: its last column and first row give the angles back.
    angles = torch.rad2deg(
        torch.stack(
            [
                torch.atan2(-turns[:, 1, 2], turns[:, 2, 2]),
                torch.asin(turns[:, 0, 2]),
                torch.atan2(-turns[:, 0, 1], turns[:, 0, 0]),
            ]
        )
    )
    assert float(angles.abs().max()) <= 10
    for one in angles:
        assert float(one.std()) == pytest.approx(20 / math.sqrt(12), rel=0.1)
        assert abs(float(one.mean())) < 1


def test_without_noise_cameras_are_the_same_and_nothing_is_drawn() -> None:
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    cameras = random_cameras(3)
    assert turned(cameras, 0.0, generator) is cameras
    assert torch.equal(generator.get_state(), before)


def test_noise_of_a_training_step_turns_its_sources_and_no_target() -> None:
    views = scene_views(random_cameras(12))
    exact = draw_sample(views, 3, 7, 2, (3, 3))
    noisy = exact.with_camera_noise(10.0, 7)
    assert torch.equal(exact.targets.cameras.c2w, noisy.targets.cameras.c2w)
    assert torch.equal(exact.sources.images, noisy.sources.images)
    assert not torch.equal(exact.sources.cameras.c2w, noisy.sources.cameras.c2w)
    assert torch.equal(exact.with_camera_noise(10.0, 7).sources.cameras.c2w, noisy.sources.cameras.c2w)
    assert not torch.equal(exact.with_camera_noise(10.0, 8).sources.cameras.c2w, noisy.sources.cameras.c2w)


def test_models_get_the_wrong_cameras_of_scored_scenes_and_sources_are_chosen_by_the_exact_ones(tmp_path: Path) -> None:
    parser = parser_of(write_rooms(tmp_path))
    exact, noisy = (SceneShelf(parser, None, 1 << 20, source_noise_deg=degrees).sources(1) for degrees in (0.0, 10.0))
    assert torch.equal(exact.cameras.c2w, noisy.cameras.c2w)
    chosen = torch.tensor([2, 0])
    known = ChosenSources(1, noisy, chosen).cameras
    assert not torch.equal(known.c2w, exact.cameras[chosen].c2w)
    assert torch.equal(ChosenSources(1, exact, chosen).cameras.c2w, exact.cameras[chosen].c2w)
    again = SceneShelf(parser, None, 1 << 20, source_noise_deg=10.0).sources(1)
    assert again.noisy_cameras is not None
    assert torch.equal(again.noisy_cameras[chosen].c2w, known.c2w)
    assert torch.equal(replace(noisy, noisy_cameras=None).known_cameras.c2w, exact.cameras.c2w)


@pytest.mark.parametrize("degrees", [-1.0, 90.5, float("nan")])
@pytest.mark.parametrize("option", ["train_camera_noise", "camera_noise"])
def test_noise_beyond_a_right_angle_is_refused_in_one_sentence(degrees: float, option: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {option: degrees}
    config: Any = ManyScenesDataManagerConfig(**options)
    config.dataparser.data = write_rooms(tmp_path)
    with pytest.raises(SceneError, match="Expected 0 to 90 degrees of camera noise for --pipeline") as raised:
        config.setup(device="cpu")
    assert "\n" not in str(raised.value)
