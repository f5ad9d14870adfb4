"""Captures that no benchmark has train to finite scores with the default settings, or are refused in one sentence."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nerfstudio.plugins.types import MethodSpecification
from numpy import ndarray

from semantic_ns import synthetic_scene
from semantic_ns.dataparsers.nerfstudio_semantic import NerfstudioSemanticDataParserConfig
from semantic_ns.errors import SceneError
from semantic_ns.evaluation import run_notices
from semantic_ns.methods.semantic_nerf.method import semantic_nerf
from semantic_ns.methods.semantic_ngp.method import semantic_ngp
from semantic_ns.synthetic_scene import write_nerfstudio_scene
from support.broken_scenes import each_image, edit
from support.registered import SMALL, configured

_STEPS = 30
_NUM_FRAMES = 8
Trajectory = Callable[[int, int], ndarray]


def looking(positions: ndarray, headings: ndarray) -> ndarray:
    """OpenCV cameras to world [frames, 4, 4], upright and level."""
    zero, one = np.zeros_like(headings), np.ones_like(headings)
    c2w = np.tile(np.eye(4), (len(headings), 1, 1))
    c2w[:, :3, 0] = np.stack([np.sin(headings), -np.cos(headings), zero], axis=-1)
    c2w[:, :3, 1] = np.stack([zero, zero, -one], axis=-1)
    c2w[:, :3, 2] = np.stack([np.cos(headings), np.sin(headings), zero], axis=-1)
    c2w[:, :3, 3] = positions
    return c2w


def angles(num_frames: int) -> ndarray:
    return 2 * math.pi * np.arange(num_frames) / num_frames


def outward_from_one_point(num_frames: int, _seed: int) -> ndarray:
    return looking(np.tile([0.0, 0.0, 1.3], (num_frames, 1)), angles(num_frames))


def inward_at_an_object(num_frames: int, _seed: int) -> ndarray:
    around = angles(num_frames)
    ring = np.stack([1.2 * np.cos(around), 1.2 * np.sin(around), np.full(num_frames, 1.3)], axis=-1)
    return looking(ring, around + math.pi)


def without_depth(folder: Path) -> None:
    edit(lambda content: [frame.pop("depth_file_path") for frame in content["frames"]])(folder)


def write_scene(folder: Path, monkeypatch: pytest.MonkeyPatch, capture: str) -> Path:
    trajectories: dict[str, Trajectory] = {
        "outward from one point": outward_from_one_point, "inward at an object": inward_at_an_object,
    }  # fmt: skip
    if capture in trajectories:
        monkeypatch.setattr(synthetic_scene, "make_trajectory", trajectories[capture])
    if capture == "outdoors":  # furniture on a plain, with walls kilometres away; such depth does not fit into 16 bits
        monkeypatch.setattr(synthetic_scene, "ROOM_HALF_SIZE", (3000.0, 2000.0, 800.0))
    write_nerfstudio_scene(folder, _NUM_FRAMES, 32, 24)
    if capture in ("no depth", "outdoors"):
        without_depth(folder)
    if capture == "wrong depth":
        each_image("depth", lambda values: np.random.default_rng(0).uniform(0, 65_000, values.shape))(folder)
    return folder


def trained(method: MethodSpecification, scene: Path, output: Path, **model: Any) -> Any:
    config = configured(method, scene, output, _STEPS, **SMALL[str(method.config.method_name)], **model)
    trainer = config.setup()
    trainer.setup()
    trainer.train()
    return trainer.pipeline


def check_is_finite(pipeline: Any) -> None:
    assert all(bool(value.isfinite().all()) for value in pipeline.model.parameters())
    scores = pipeline.get_average_eval_image_metrics()
    assert scores["psnr"] > 5
    assert 0 <= scores["miou_present"] <= 1


CAPTURES = ["outward from one point", "inward at an object", "no depth", "wrong depth", "outdoors"]


@pytest.mark.parametrize(
    ("method", "capture"),
    [*((semantic_nerf, capture) for capture in CAPTURES), (semantic_ngp, CAPTURES[0]), (semantic_ngp, "outdoors")],
    ids=lambda value: value if isinstance(value, str) else value.config.method_name,
)
def test_an_odd_capture_trains_with_its_notices_and_stays_finite(
    method: MethodSpecification, capture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_notices, "_LEAST_STEPS", 0)
    check_is_finite(trained(method, write_scene(tmp_path / "scene", monkeypatch, capture), tmp_path))


@pytest.mark.parametrize(
    "options",
    [
        {"camera_optimizer.mode": "SO3xR3"},
        {"use_semantics": False, "fuse_on_cpu": False},
        {"unseen_ray_share": 1.5, "near_camera_reach": 10.0},
        {"near_plane": 50.0},
    ],
    ids=str,
)
def test_odd_options_train_with_their_notices_and_stay_finite(
    options: dict[str, Any], smaller_scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_notices, "_LEAST_STEPS", 0)
    config = configured(semantic_nerf, smaller_scene, tmp_path, _STEPS, **SMALL["semantic-nerf"])
    for name, value in options.items():
        *owners, last = name.split(".")
        owner: Any = config.pipeline.model
        for each in owners:
            owner = getattr(owner, each)
        setattr(owner, last, value)
    trainer = config.setup()
    trainer.setup()
    trainer.train()
    assert all(bool(value.isfinite().all()) for value in trainer.pipeline.model.parameters())
    assert math.isfinite(trainer.pipeline.get_average_eval_image_metrics()["psnr"])


def test_one_camera_alone_trains_and_is_scored(tmp_path: Path) -> None:
    scene = write_nerfstudio_scene(tmp_path / "scene", num_frames=1)
    check_is_finite(trained(semantic_nerf, scene, tmp_path))


def test_cameras_in_one_place_without_depth_keep_the_units_of_their_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = write_scene(tmp_path / "scene", monkeypatch, "outward from one point")
    without_depth(scene)
    outputs = NerfstudioSemanticDataParserConfig(data=scene).setup().get_dataparser_outputs("train")
    assert outputs.dataparser_scale == 1
    assert outputs.cameras.camera_to_worlds[:, :, 3].abs().max() < 1e-6


def test_one_training_image_trains(tmp_path: Path) -> None:
    scene = write_nerfstudio_scene(tmp_path / "scene", num_frames=2)
    content = json.loads((scene / "transforms.json").read_text())
    first, second = (frame["file_path"] for frame in content["frames"])
    content |= {"train_filenames": [first], "test_filenames": [second], "val_filenames": [second]}
    (scene / "transforms.json").write_text(json.dumps(content))
    pipeline = trained(semantic_nerf, scene, tmp_path)
    assert len(pipeline.datamanager.train_dataset) == 1
    assert all(bool(value.isfinite().all()) for value in pipeline.model.parameters())


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("near_camera_loss_weight", -0.1), ("near_camera_loss_weight", math.nan), ("near_camera_reach", -1.0),
        ("near_camera_depth_reach", -1.0),
        ("unseen_ray_share", -0.5), ("unseen_ray_share", math.inf),
    ],
)  # fmt: skip
def test_a_price_that_cannot_be_is_refused_in_one_sentence(
    option: str, value: float, nerfstudio_scene: Path, tmp_path: Path
) -> None:
    config = configured(semantic_nerf, nerfstudio_scene, tmp_path, 1, **SMALL["semantic-nerf"], **{option: value})
    with pytest.raises(SceneError, match=f"--pipeline.model.{option.replace('_', '-')}"):
        config.setup().setup()
