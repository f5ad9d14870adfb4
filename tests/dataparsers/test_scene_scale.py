"""What cameras in nearly one place see is about 1 away, if depth images say how far it is."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from semantic_ns.dataparsers.auto import AutoDataParserConfig
from semantic_ns.dataparsers.nerfstudio_semantic import NerfstudioSemanticDataParserConfig
from semantic_ns.dataparsers.scene_scale import scale_by_depth
from support.hand_made_scene import each_frame


@pytest.fixture
def gathered(nerfstudio_scene: Path, copy_scene: Callable[[Path], Path]) -> Path:
    """The scene with its cameras at a hundredth of their distances."""
    scene = copy_scene(nerfstudio_scene)

    def move(_index: int, entry: dict[str, Any]) -> None:
        for row in entry["transform_matrix"][:3]:
            row[3] *= 0.01

    each_frame(scene, move)
    return scene


def median_depth(scene: Path) -> float:
    """Of all pixels of known depth of the frames that are looked at, in metres."""
    frames = json.loads((scene / "transforms.json").read_text())["frames"]
    images = [np.asarray(Image.open(scene / frame["depth_file_path"])) / 1000 for frame in frames[::2]]
    return float(np.median(np.concatenate([image[image > 0] for image in images])))


@pytest.mark.parametrize("config", [AutoDataParserConfig, NerfstudioSemanticDataParserConfig])
def test_the_typical_depth_is_1_in_all_splits_and_metres_are_known(gathered: Path, config: Any) -> None:
    parser = config(data=gathered).setup()
    for split in ("train", "val"):
        outputs = parser.get_dataparser_outputs(split)
        assert outputs.dataparser_scale * median_depth(gathered) == pytest.approx(1, rel=1e-5)
        assert outputs.metadata["metres_per_unit"] == pytest.approx(median_depth(gathered), rel=1e-5)
        assert float(outputs.cameras.camera_to_worlds[:, :3, 3].abs().max()) < 0.1


@pytest.mark.parametrize("config", [AutoDataParserConfig, NerfstudioSemanticDataParserConfig])
def test_a_run_from_before_is_shown_as_it_was_trained(gathered: Path, config: Any) -> None:
    old = yaml.load(yaml.dump(config(data=gathered)).replace("scales_by_depth: true\n", ""), Loader=yaml.Loader)
    outputs = old.setup().get_dataparser_outputs("train")
    assert float(outputs.cameras.camera_to_worlds[:, :3, 3].abs().max()) > 0.5


def test_poses_that_are_not_to_be_scaled_and_those_of_a_scene_without_depth_are_left(gathered: Path) -> None:
    kept = NerfstudioSemanticDataParserConfig(data=gathered, auto_scale_poses=False)
    assert kept.setup().get_dataparser_outputs("train").dataparser_scale == 1
    each_frame(gathered, lambda _, entry: entry.pop("depth_file_path"))
    outputs = NerfstudioSemanticDataParserConfig(data=gathered).setup().get_dataparser_outputs("train")
    assert float(outputs.cameras.camera_to_worlds[:, :3, 3].abs().max()) > 0.5


def test_the_factor_of_the_user_counts_on_top(gathered: Path) -> None:
    config = NerfstudioSemanticDataParserConfig(data=gathered, scale_factor=3.0)
    outputs = config.setup().get_dataparser_outputs("train")
    assert outputs.dataparser_scale * median_depth(gathered) == pytest.approx(3, rel=1e-5)


def test_cameras_that_spread_as_far_as_they_see_keep_their_scale(nerfstudio_scene: Path) -> None:
    outputs = NerfstudioSemanticDataParserConfig(data=nerfstudio_scene).setup().get_dataparser_outputs("train")
    assert float(outputs.cameras.camera_to_worlds[:, :3, 3].abs().max()) > 0.5


@pytest.mark.parametrize(("extent", "is_near"), [(0.0, True), (0.19, True), (0.21, False), (2.0, False)])
def test_cameras_are_in_nearly_one_place_below_a_tenth_of_the_depth(
    extent: float, is_near: bool, tmp_path: Path
) -> None:
    np.save(tmp_path / "depth.npy", np.array([[0, 1.0, 2.0, 3.0]], np.float32))
    places = np.array([[5, 0, extent], [5, 0, -extent]])
    assert scale_by_depth(places, [tmp_path / "depth.npy"], 1.0) == (pytest.approx(0.5) if is_near else None)


def test_images_without_any_known_depth_say_nothing_of_the_scale(tmp_path: Path) -> None:
    np.save(tmp_path / "depth.npy", np.zeros((2, 2), np.float32))
    assert scale_by_depth(np.zeros((2, 3)), [tmp_path / "depth.npy"], 1.0) is None
    assert scale_by_depth(np.zeros((2, 3)), [], 1.0) is None
