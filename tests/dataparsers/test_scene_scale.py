"""What cameras in nearly one place see is about 1 away, if depth images say how far it is."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from benchmarks.captures.walks import outward
from semantic_ns import synthetic_scene
from semantic_ns.dataparsers.auto import AutoDataParserConfig
from semantic_ns.dataparsers.nerfstudio_semantic import NerfstudioSemanticDataParserConfig
from semantic_ns.dataparsers.scene_scale import scale_by_depth
from support.hand_made_scene import each_frame


@pytest.fixture
def gathered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A room seen from within a few centimetres."""
    monkeypatch.setattr(synthetic_scene, "make_trajectory", lambda num_frames, _seed: outward(num_frames))
    return synthetic_scene.write_nerfstudio_scene(tmp_path / "scene", num_frames=16)


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


def frames_of(*places: float) -> list[dict[str, Any]]:
    """Frames whose cameras stand along the third axis."""
    poses = [np.block([[np.eye(3), np.array([[5], [0], [z]])], [np.zeros((1, 3)), np.ones((1, 1))]]) for z in places]
    return [{"transform_matrix": pose.tolist()} for pose in poses]


CAMERA = {"fl_x": 4.0, "fl_y": 4.0, "cx": 2.0, "cy": 0.5, "w": 4, "h": 1}


@pytest.mark.parametrize(("extent", "is_near"), [(0.0, True), (0.19, True), (0.21, False), (2.0, False)])
def test_cameras_are_in_nearly_one_place_below_a_tenth_of_the_depth(
    extent: float, is_near: bool, tmp_path: Path
) -> None:
    np.save(tmp_path / "depth.npy", np.array([[0, 1.0, 2.0, 3.0]], np.float32))
    found = scale_by_depth(frames_of(extent, -extent), CAMERA, [tmp_path / "depth.npy", None], 1.0)
    assert found == (pytest.approx(0.5) if is_near else None)


def test_depth_of_another_unit_does_not_set_the_scale(nerfstudio_scene: Path) -> None:
    config = NerfstudioSemanticDataParserConfig(data=nerfstudio_scene, depth_unit_scale_factor=1.0)
    outputs = config.setup().get_dataparser_outputs("train")
    assert float(outputs.cameras.camera_to_worlds[:, :3, 3].abs().max()) > 0.5


def test_images_without_any_known_depth_say_nothing_of_the_scale(tmp_path: Path) -> None:
    np.save(tmp_path / "depth.npy", np.zeros((2, 2), np.float32))
    (tmp_path / "damaged.npy").write_bytes(b"no array")
    for paths in ([tmp_path / "depth.npy", None], [None, None], [tmp_path / "damaged.npy", None]):
        assert scale_by_depth(frames_of(0.0, 0.0), CAMERA, paths, 1.0) is None
