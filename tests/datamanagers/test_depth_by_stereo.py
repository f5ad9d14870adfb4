"""Depth by stereo between the training images of a scene trains geometry, if it is asked for, and nothing else."""

import copy
import math
import random
import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from nerfstudio.cameras.cameras import CameraType
from nerfstudio.viewer.utils import parse_object
from nerfstudio.viewer.viewer_elements import ViewerElement
from PIL import Image, ImageFilter

from benchmarks.captures.places import furnished_room
from semantic_ns.batch import RAY_DISTANCE
from semantic_ns.datamanagers import depth_by_stereo, semantic_datamanager
from semantic_ns.datamanagers.depth_by_stereo import read_depth_by_stereo, read_fused_depth
from semantic_ns.datamanagers.semantic_datamanager import SemanticDataManagerConfig
from semantic_ns.datasets.training_depth import DepthImages
from semantic_ns.labels.corruption import CorruptionConfig
from semantic_ns.labels.corruption_frames import evenly_spaced
from semantic_ns.losses import DEPTH_NOISE_M, STEREO_NOISE
from semantic_ns.methods.semantic_nerf.method import semantic_nerf
from semantic_ns.propagation.config import PropagationConfig
from semantic_ns.propagation.stage import PropagationStage
from semantic_ns.synthetic_scene import make_trajectory, render_content, write_replica_scene
from support.propagation_runs import CLICKS, pipeline_of
from support.rendered_images import HFOV_DEGREES, SIZE, images_of, rendered

ALL = CorruptionConfig()


def in_room() -> np.ndarray:
    return make_trajectory(16, seed=1)


@dataclass
class Dataset:
    """Images as a data set has them."""

    cameras: Any
    colors: list[Any]
    masks: list[Any] | None = None
    alpha: torch.Tensor | None = None
    metres_per_unit: float = 1.0

    @property
    def metadata(self) -> dict[str, Any]:
        return {"metres_per_unit": self.metres_per_unit}

    def __len__(self) -> int:
        return len(self.colors)

    def color_of(self, index: int) -> torch.Tensor:
        return self.colors[index]

    def mask_of(self, index: int) -> Any:
        return None if self.masks is None else self.masks[index]

    def alpha_of(self, index: int) -> Any:
        del index
        return self.alpha


def dataset_of_room(scale: float = 1.0, colors: list[Any] | None = None, count: int = 16, **others: Any) -> Dataset:
    poses, seen, _ = rendered(furnished_room, in_room)
    poses, seen = poses[:count], seen[:count]
    cameras = {name: others.pop(name) for name in ("camera_type", "distortion_params") if name in others}
    return Dataset(images_of(poses, seen, scale, **cameras).cameras, seen if colors is None else colors, **others)


def confirmed(dataset: Dataset, is_asked_for: bool = False) -> DepthImages | None:
    found = read_depth_by_stereo(dataset, is_asked_for)
    return None if found is None else found.confirmed_images()


def true_depth() -> np.ndarray:
    content = furnished_room()
    return np.stack([render_content(content, pose, *SIZE, HFOV_DEGREES).depth_m for pose in in_room()])


def test_what_is_known_is_near_the_true_depth_at_any_scale_of_the_cameras_and_without_a_draw() -> None:
    before = torch.random.get_rng_state()
    found = confirmed(dataset_of_room())
    assert found is not None
    known, truth = np.stack(found), true_depth()
    is_known = known > 0
    assert is_known.mean() > 0.1
    assert np.median(np.abs(known / truth - 1)[is_known]) < 0.04
    # Cameras in units of 5 cm, which their data set knows.
    scaled = confirmed(dataset_of_room(20.0, metres_per_unit=0.05))
    assert scaled is not None
    is_both = is_known & (np.stack(scaled) > 0)
    assert is_both.sum() > 0.95 * is_known.sum()
    assert np.median(np.abs(np.stack(scaled)[is_both] / known[is_both] - 1)) < 1e-3
    assert torch.equal(torch.random.get_rng_state(), before)


def test_fused_depth_is_that_which_is_read_as_such_and_knows_more_and_nearer_the_truth() -> None:
    compared = read_depth_by_stereo(dataset_of_room())
    assert compared is not None
    single, fused = (np.stack(images) for images in (compared.confirmed_images(), compared.fused_images()))
    read = read_fused_depth(dataset_of_room(), "{}")
    assert read is not None
    np.testing.assert_array_equal(fused, np.stack(read))
    assert (fused > 0).sum() > (single > 0).sum()
    is_both, truth = (fused > 0) & (single > 0), true_depth()
    errors = [np.median(np.abs(depth / truth - 1)[is_both]) for depth in (fused, single)]
    assert errors[0] < errors[1]


@pytest.mark.parametrize("kind", ["masked", "transparent"])
def test_what_is_not_used_has_no_depth(kind: str) -> None:
    is_used = np.ones(SIZE[::-1], bool)
    is_used[:, : SIZE[0] // 5] = False
    others: dict[str, Any] = {"masks": [is_used] * 8}
    if kind == "transparent":
        others = {"alpha": torch.from_numpy(is_used).float()}
    found = confirmed(dataset_of_room(count=8, **others))
    assert found is not None
    assert not np.stack(found)[:, ~is_used].any()
    assert np.stack(found)[:, is_used].any()


def test_of_many_frames_some_evenly_spaced_ones_have_depth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(depth_by_stereo, "_MOST_FRAMES", 12)
    found = confirmed(dataset_of_room())
    assert found is not None
    compared = set(evenly_spaced(12, 16).tolist())
    assert np.stack(found).any()
    assert {number for number, image in enumerate(found) if image.any()} <= compared
    assert len(found) == 16


def test_the_planes_reach_beyond_ten_times_the_typical_depth() -> None:
    depths = depth_by_stereo._SETTINGS.depths()
    assert float(depths[0]) < 0.2 * depth_by_stereo._USUAL_DEPTH_M
    assert float(depths[-2]) > 5 * depth_by_stereo._USUAL_DEPTH_M
    assert float(depths[-1]) > 10 * depth_by_stereo._USUAL_DEPTH_M


def test_many_frames_are_compared_at_smaller_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    finer = depth_by_stereo.finer_depth

    def watched(depths: torch.Tensor, images: torch.Tensor, *others: Any) -> torch.Tensor:
        seen.append((depths.shape[-1], images.shape[-1]))
        return finer(depths, images, *others)

    monkeypatch.setattr(depth_by_stereo, "finer_depth", watched)
    for name, width in (("_WIDTH", 56), ("_WIDTH_OF_MANY", 52), ("_FINE_WIDTH", 64), ("_FINE_WIDTH_OF_MANY", 60)):
        monkeypatch.setattr(depth_by_stereo, name, width)
    for most in (16, 15):
        monkeypatch.setattr(depth_by_stereo, "_FEW_FRAMES", most)
        found = confirmed(dataset_of_room())
        assert found is not None
        assert found[0].shape == SIZE[::-1]
    assert seen == [(56, 64), (52, 60)]


@pytest.mark.parametrize(
    ("others", "sentence"),
    [
        ({"camera_type": CameraType.FISHEYE}, "no perspective ones"),
        ({"distortion_params": torch.tensor([[-3.0, 0, 0, 0, 0, 0]] * 16)}, "lens distortion cannot be undone"),
        ({"colors": [torch.full((*SIZE[::-1], 3), 0.5)] * 16}, "too little texture"),
    ],
    ids=["fisheye", "distortion", "plain"],
)
def test_without_depth_the_log_says_why(
    others: dict[str, Any], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert confirmed(dataset_of_room(**others)) is None
    assert sentence in " ".join(capsys.readouterr().out.split())


def said(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().out.split())


def test_depth_of_few_pixels_is_left_out_unless_it_is_asked_for_with_a_warning_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(depth_by_stereo, "_LEAST_SHARE", 0.9)
    assert confirmed(dataset_of_room(count=8)) is None
    out = said(capsys)
    assert "of the pixels have one" in out
    assert "--pipeline.datamanager.depth stereo takes it nevertheless" in out
    found = confirmed(dataset_of_room(count=8), is_asked_for=True)
    assert found is not None
    share = re.search(r"only ([\d.]+)% of the pixels have depth by stereo that other images confirm", said(capsys))
    assert share is not None
    assert 100 * (np.stack(found) > 0).mean() == pytest.approx(float(share[1]), abs=0.06)


def test_where_no_pixel_is_confirmed_there_is_no_depth_though_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    none = torch.zeros(8, SIZE[1], SIZE[0], dtype=torch.bool)
    monkeypatch.setattr(depth_by_stereo, "are_confirmed", lambda *_: none)
    assert confirmed(dataset_of_room(count=8), is_asked_for=True) is None
    assert "gives no depth: no pixel has one that others confirm" in said(capsys)


def without_poses(dataset: Dataset, numbers: list[int]) -> Dataset:
    dataset.cameras.camera_to_worlds = dataset.cameras.camera_to_worlds.clone()
    dataset.cameras.camera_to_worlds[numbers] = torch.nan
    return dataset


def test_images_of_several_sizes_and_scenes_without_poses_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    several = dataset_of_room()
    several.cameras.width = several.cameras.width.clone()
    several.cameras.width[3] = 100
    lost = without_poses(dataset_of_room(), list(range(15)))
    for dataset, sentence in ((several, "several sizes"), (lost, "fewer than two cameras have a pose")):
        assert confirmed(dataset) is None
        assert sentence in " ".join(capsys.readouterr().out.split())


def test_frames_without_a_pose_have_no_depth_and_the_others_do() -> None:
    found = confirmed(without_poses(dataset_of_room(), [2, 7]))
    assert found is not None
    assert [image.any() for image in found] == [number not in (2, 7) for number in range(16)]


def test_images_that_a_lens_bends_have_the_depth_that_their_pixels_show() -> None:
    lens = torch.tensor([[-0.12, 0.02, 0, 0, 0.002, -0.001]] * 16)
    bent = dataset_of_room(distortion_params=lens)
    content, (width, height) = furnished_room(), SIZE
    finer, field = (6 * width, 6 * height), 95.0
    focal = finer[0] / 2 / math.tan(math.radians(field / 2))
    turn = bent.cameras.generate_rays(torch.tensor([0])).directions.reshape(height, width, 3)
    local = (turn @ bent.cameras.camera_to_worlds[0, :, :3]).double().numpy()  # the same in all frames
    columns = np.floor(finer[0] / 2 - focal * local[..., 0] / local[..., 2]).astype(int)
    rows = np.floor(finer[1] / 2 + focal * local[..., 1] / local[..., 2]).astype(int)
    assert columns.min() >= 0 <= rows.min()
    views = [render_content(content, pose, *finer, field) for pose in in_room()]
    # Means of 3 x 3 pixels, about as large as one of the bent image.
    smooth = [np.asarray(Image.fromarray(view.rgb).filter(ImageFilter.BoxBlur(2))) for view in views]
    bent.colors = [torch.from_numpy(image[rows, columns]).float() / 255 for image in smooth]
    truth = np.stack([view.depth_m[rows, columns] for view in views])
    found = confirmed(bent)
    assert found is not None
    is_known = np.stack(found) > 0
    assert is_known.mean() > 0.1
    assert np.median(np.abs(np.stack(found) / truth - 1)[is_known]) < 0.04


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """One room with depth images, without, and with such as nobody can trust."""
    return with_depth_and_without(tmp_path_factory.mktemp("stereo"), 18, (48, 36))


@pytest.fixture(scope="module")
def short_scenes(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """As `scenes`, of few frames: some pixels have a depth by stereo, and it takes seconds less."""
    return with_depth_and_without(tmp_path_factory.mktemp("short"), 12, (48, 36))


def with_depth_and_without(folder: Path, num_frames: int, size: tuple[int, int]) -> SimpleNamespace:
    whole = write_replica_scene(folder / "whole", num_frames, width=size[0], height=size[1])
    without = folder / "without"
    shutil.copytree(whole, without)
    for path in without.rglob("depth"):
        shutil.rmtree(path)
    constant = folder / "constant"
    shutil.copytree(whole, constant)
    for path in constant.rglob("depth_*.png"):
        Image.fromarray(np.full_like(np.asarray(Image.open(path)), 2000)).save(path)
    return SimpleNamespace(whole=whole, without=without, constant=constant)


def batch_of(scene: Path, output: Path, monkeypatch: pytest.MonkeyPatch, depth: str) -> tuple[Any, dict[str, Any]]:
    monkeypatch.setattr(semantic_nerf.config.pipeline.datamanager, "depth", depth)
    random.seed(0)  # by which nerfstudio puts the images in an order
    with pipeline_of(scene, output, ALL) as pipeline:
        torch.manual_seed(0)
        return pipeline.datamanager, pipeline.datamanager.next_train(0)[1]


def test_rays_learn_from_stereo_and_labels_spread_over_the_mean_of_what_frames_say(
    scenes: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager, batch = batch_of(scenes.without, tmp_path / "a", monkeypatch, "scene-or-stereo")
    true_manager, _ = batch_of(scenes.whole, tmp_path / "b", monkeypatch, "scene")
    truth = true_manager.training_depth.at(batch["indices"])
    found = batch[RAY_DISTANCE][:, 0]
    is_known = found > 0
    assert float(is_known.float().mean()) > 0.05
    assert float((found / truth - 1).abs()[is_known].median()) < 0.05
    assert manager.training_depth is None
    assert not manager.trains_with_depth
    surface = manager.surface_depth()
    assert int((surface.values > 0).sum()) > int((manager._learnt_depth.values > 0).sum())
    is_found = surface.values > 0
    assert float((surface.values / true_manager.training_depth.values - 1).abs()[is_found].median()) < 0.05
    assert true_manager.surface_depth() is true_manager.training_depth
    assert manager.depth_noise_m == STEREO_NOISE
    assert true_manager.depth_noise_m == DEPTH_NOISE_M


@pytest.mark.parametrize("enough", [0.5, 1.0])
def test_a_surface_is_where_stereo_says_unless_it_knows_too_few_pixels(
    scenes: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, enough: float
) -> None:
    monkeypatch.setattr(semantic_nerf.config.pipeline.datamanager, "depth", "scene-or-stereo")
    monkeypatch.setattr(semantic_datamanager, "_ENOUGH_STEREO", enough)
    with pipeline_of(scenes.without, tmp_path, CLICKS) as pipeline:
        config = PropagationConfig(fractions=(), num_nodes=400, rays_per_node=0.1)
        stage = PropagationStage(config, pipeline.model, pipeline.datamanager, 1)
        found = stage.propagate()
        assert found is not None
        assert RAY_DISTANCE in pipeline.datamanager.next_train(0)[1]
        assert (found.known is None) == (enough == 1.0)
        if found.known is None:
            return
        pixels = found.maps.pixels_of(np.arange(found.maps.depths.size))
        known = found.known.at(torch.from_numpy(pixels)).numpy()
        assert (known > 0).mean() > 0.5
        np.testing.assert_array_equal(found.maps.depths.reshape(-1)[known > 0], known[known > 0])
        # Those of a checkpoint from before labels spread over stereo are what was rendered then.
        rendered = replace(found.maps, depths=np.float32(1.3) * found.maps.depths)
        own, others = (stage._points.of_maps(maps).positions for maps in (found.maps, rendered))
        np.testing.assert_array_equal(own[known > 0], others[known > 0])
        assert (own != others).any()


def test_what_the_viewer_reads_of_a_pipeline_compares_no_images(
    short_scenes: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(semantic_nerf.config.pipeline.datamanager, "depth", "stereo")
    compared = []
    monkeypatch.setattr(depth_by_stereo, "read_depth_by_stereo", lambda *_, **__: compared.append(1))
    with pipeline_of(short_scenes.without, tmp_path, ALL) as pipeline:
        manager = pipeline.datamanager
        assert compared  # the loss asks at the start of a training how far depth may be off
        for name in ("_stereo", "_learnt_depth", "depth_noise_m"):  # as in a run that is looked at
            vars(manager).pop(name, None)
        compared.clear()
        parse_object(pipeline, ViewerElement, "pipeline")
        assert not compared
        assert RAY_DISTANCE not in manager.next_train(0)[1]
        assert compared


def test_stereo_takes_the_place_of_depth_images_by_default_where_these_cannot_be_trusted() -> None:
    assert SemanticDataManagerConfig().depth == "scene-or-stereo"


def test_a_run_from_before_the_option_goes_on_without_stereo() -> None:
    config = SemanticDataManagerConfig(depth="none")
    assert copy.copy(config).depth == "none"
    state = dict(vars(config))
    del state["depth"]
    former = SemanticDataManagerConfig.__new__(SemanticDataManagerConfig)
    former.__setstate__(state)
    assert former.depth == "scene"


def test_the_option_says_where_depth_comes_from(
    short_scenes: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def distances(scene: Path, depth: str) -> Any:
        return batch_of(scene, tmp_path / f"{scene.name}_{depth}", monkeypatch, depth)[1].get(RAY_DISTANCE)

    whole, without = short_scenes.whole, short_scenes.without
    for scene, depth in ((without, "scene"), (without, "none"), (whole, "none")):
        assert distances(scene, depth) is None
    assert torch.equal(distances(whole, "scene-or-stereo"), distances(whole, "scene"))
    by_stereo = distances(whole, "stereo")
    assert torch.equal(distances(short_scenes.constant, "scene-or-stereo"), by_stereo)
    assert (by_stereo > 0).sum() > 5
    assert torch.equal(by_stereo, distances(without, "stereo"))
