"""Batches say how far their rays go by the depth of training frames, and of no others."""

import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from semantic_ns.batch import NUM_UNIFORM, RAY_DISTANCE
from semantic_ns.io.images import read_depth_image
from semantic_ns.labels.corruption import CorruptionConfig
from semantic_ns.methods.semantic_nerf.method import semantic_nerf
from semantic_ns.methods.semantic_nerf_vanilla.method import semantic_nerf_vanilla
from semantic_ns.methods.semantic_ngp.method import semantic_ngp
from semantic_ns.propagation.config import PropagationConfig
from semantic_ns.propagation.stage import PropagationStage
from semantic_ns.synthetic_scene import write_replica_scene
from support.propagation_runs import CLICKS, pipeline_of

ALL = CorruptionConfig()


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_replica_scene(tmp_path_factory.mktemp("depth") / "room", 24, width=48, height=36)


@pytest.fixture(autouse=True)
def weight_of_depth(monkeypatch: pytest.MonkeyPatch) -> None:
    """Depth trains both methods in these tests; by default semantic-ngp uses none."""
    monkeypatch.setattr(semantic_ngp.config.pipeline.model, "depth_loss_weight", 0.002)


def depth_files(pipeline: Any, split: str) -> list[Path]:
    return getattr(pipeline.datamanager, f"{split}_dataset").metadata["depth_filenames"]


def rewrite(path: Path, change: Any) -> None:
    values = np.asarray(Image.open(path))
    path.unlink()  # a copy may share its file
    Image.fromarray(change(values).astype(np.uint16)).save(path)


@pytest.mark.parametrize("method", [semantic_nerf, semantic_ngp], ids=["nerf", "ngp"])
def test_each_ray_has_the_distance_that_its_depth_image_says(scene: Path, tmp_path: Path, method: Any) -> None:
    with pipeline_of(scene, tmp_path, CLICKS, method) as pipeline:
        dataset = pipeline.datamanager.train_dataset
        rays, batch = pipeline.datamanager.next_train(0)
        assert batch[NUM_UNIFORM] < len(batch["semantics"]) == len(batch[RAY_DISTANCE])
        num_learnt = 0
        for row in range(0, 512, 37):
            image, y, x = batch["indices"][row].tolist()
            planar = dataset.depth_of(image)[y, x] / dataset.metadata["metres_per_unit"]
            expected = planar * float(rays.metadata["directions_norm"][row])
            is_learnt = bool(pipeline.datamanager.training_depth.learnt_at(batch["indices"][row]))
            assert float(batch[RAY_DISTANCE][row]) == pytest.approx(expected if is_learnt else 0, rel=1e-5)
            num_learnt += is_learnt
        assert num_learnt > 7
        assert "depth_loss" in pipeline.get_train_loss_dict(1)[1]


def trained(scene: Path, output: Path) -> dict[str, torch.Tensor]:
    """Parameters after some steps with clicks that spread in between."""
    torch.manual_seed(0)
    random.seed(0)  # by which nerfstudio puts the images in an order
    with pipeline_of(scene, output, CLICKS) as pipeline:
        optimizer, losses = torch.optim.SGD(pipeline.model.parameters(), lr=0.1), {}
        config = PropagationConfig(fractions=(0.5,), num_nodes=400, rays_per_node=0.1)
        stage = PropagationStage(config, pipeline.model, pipeline.datamanager, 4)
        for step in range(4):
            stage.before_step(step)
            optimizer.zero_grad()
            losses = pipeline.get_train_loss_dict(step)[1]
            torch.stack(list(losses.values())).sum().backward()
            optimizer.step()
        assert "depth_loss" in losses
        return {name: value.clone() for name, value in pipeline.model.state_dict().items()}


def test_depth_of_test_frames_changes_nothing_that_is_learnt_and_that_of_training_frames_does(
    scene: Path, tmp_path: Path
) -> None:
    with pipeline_of(scene, tmp_path / "names", ALL) as pipeline:
        of_test, of_train = ([path.name for path in depth_files(pipeline, split)] for split in ("eval", "train"))
    assert of_test
    assert not set(of_test) & set(of_train)
    results = [trained(scene, tmp_path / "as given")]
    for number, names in enumerate((of_test, of_train[:4])):
        changed = tmp_path / f"scene_{number}"
        shutil.copytree(scene, changed)
        for path in changed.rglob("depth_*.png"):
            if path.name in names:
                rewrite(path, lambda values: values // 3)
        results.append(trained(changed, tmp_path / f"run_{number}"))
    same = [all(torch.equal(value, other[name]) for name, value in results[0].items()) for other in results[1:]]
    assert same == [True, False]


def test_training_reads_no_depth_of_test_frames(scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []

    def noted(path: Path, metres_per_unit: float) -> Any:
        read.append(path)
        return read_depth_image(path, metres_per_unit)

    monkeypatch.setattr("semantic_ns.datasets.semantic_dataset.read_depth_image", noted)
    with pipeline_of(scene, tmp_path, ALL) as pipeline:
        for step in range(3):
            pipeline.get_train_loss_dict(step)
        assert set(read) == set(depth_files(pipeline, "train"))


@pytest.mark.parametrize(
    ("name", "change", "sentence"),
    [
        ("another unit", lambda values: values // 4, "multiplied by 4"),
        ("constant", lambda values: np.full_like(values, 2000), "same value, 2 m"),
        ("unknown", np.zeros_like, "no pixel of the depth images is known"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_depth_that_cannot_be_trusted_is_left_out_and_the_log_says_why_once(
    scene: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    change: Any,
    sentence: str,
) -> None:
    monkeypatch.setattr(semantic_nerf.config.pipeline.datamanager, "depth", "scene")
    wrong = tmp_path / name.replace(" ", "_")
    shutil.copytree(scene, wrong)
    for path in wrong.rglob("depth_*.png"):
        rewrite(path, change)
    with pipeline_of(wrong, tmp_path, ALL) as pipeline:
        for step in range(3):
            assert RAY_DISTANCE not in pipeline.datamanager.next_train(step)[1]
    said = capsys.readouterr().out
    assert said.count("depth images are left out: ") == 1
    assert sentence in said


def test_half_of_the_depth_missing_leaves_those_pixels_unknown(scene: Path, tmp_path: Path) -> None:
    half = tmp_path / "half"
    shutil.copytree(scene, half)
    for path in half.rglob("depth_*.png"):
        rewrite(path, lambda values: np.where(np.arange(values.shape[1]) < values.shape[1] // 2, 0, values))
    with pipeline_of(half, tmp_path, ALL) as pipeline:
        _, batch = pipeline.datamanager.next_train(0)
        is_left = batch["indices"][:, 2] < 24
        assert float(batch[RAY_DISTANCE][is_left].max()) == 0
        assert float(pipeline.datamanager.training_depth.at(batch["indices"][~is_left]).min()) > 0
        assert float((batch[RAY_DISTANCE][~is_left] > 0).float().mean()) > 0.5  # not those close behind outlines


def test_the_log_counts_the_pixels_of_images_without_any_depth_as_unknown(
    scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    some = tmp_path / "some"
    shutil.copytree(scene, some)
    with pipeline_of(scene, tmp_path / "names", ALL) as pipeline:
        names = [path.name for path in depth_files(pipeline, "train")]
    for path in some.rglob("depth_*.png"):
        if path.name in names[::2]:
            rewrite(path, np.zeros_like)
    capsys.readouterr()
    with pipeline_of(some, tmp_path, ALL) as pipeline:
        depth = [pipeline.datamanager.train_dataset.depth_of(n) for n in range(len(names))]
        pipeline.datamanager.next_train(0)
    known = round(100 * float(np.mean([(np.nan_to_num(image) > 0).mean() for image in depth])))
    assert 30 < known < 60
    assert f"({known}% of the pixels are known" in " ".join(capsys.readouterr().out.split())


def test_depth_of_another_resolution_is_that_of_the_nearest_pixel(scene: Path, tmp_path: Path) -> None:
    small = tmp_path / "small"
    shutil.copytree(scene, small)
    for path in small.rglob("depth_*.png"):
        rewrite(path, lambda values: values[1::3, 1::3])
    with pipeline_of(small, tmp_path, ALL) as pipeline, pipeline_of(scene, tmp_path / "full", ALL) as full:
        pixels = torch.tensor([[0, 1, 1], [0, 13, 22], [2, 34, 46]])
        torch.testing.assert_close(
            pipeline.datamanager.training_depth.at(pixels), full.datamanager.training_depth.at(pixels)
        )


def test_without_a_weight_depth_is_not_read(scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(semantic_nerf.config.pipeline.model, "depth_loss_weight", 0.0)
    with pipeline_of(scene, tmp_path, ALL) as pipeline:
        assert RAY_DISTANCE not in pipeline.datamanager.next_train(0)[1]
        assert pipeline.datamanager.training_depth is None


def test_by_default_semantic_nerf_learns_from_depth_and_semantic_ngp_does_not() -> None:
    weights = [type(method.config.pipeline.model)().depth_loss_weight for method in (semantic_nerf, semantic_ngp)]  # pyright: ignore[reportAttributeAccessIssue]
    assert weights[0] > 0
    assert weights[1] == 0


def test_the_published_protocol_has_no_weight_for_depth() -> None:
    assert not hasattr(semantic_nerf_vanilla.config.pipeline.model, "depth_loss_weight")
