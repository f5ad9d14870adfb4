"""A scene whose images a lens bends is exported and made Gaussians of as pinhole cameras would have taken it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nerfstudio.scripts.train import main as train
from PIL import Image

from semantic_ns.cli.export import PointCloud
from semantic_ns.cli.export_dataset import ExportDataset
from semantic_ns.cli.export_instances import Instances
from semantic_ns.cli.export_labels import ExportLabels
from semantic_ns.cli.to_splat import ToSplat
from semantic_ns.dataparsers.auto import AutoDataParserConfig
from semantic_ns.datasets.semantic_dataset import PinholeDataset, SemanticDataset
from semantic_ns.datasets.training_labels import LabelSource, read_label_folder, write_label_folder
from semantic_ns.export.labels import dataset_frames
from semantic_ns.export.scene_instances import read_run_surface
from semantic_ns.geometry.lens import Lens
from semantic_ns.labels.corruption import CorruptionConfig
from semantic_ns.methods.semantic_nerf.method import semantic_nerf
from semantic_ns.methods.semantic_splatfacto.method import semantic_splatfacto
from semantic_ns.runs import load_run
from support.bent_scene import BENT, color_at, directions_of, label_at, write_bent_scene
from support.hand_made_scene import rewrite
from support.registered import configured


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bent_scene(tmp_path_factory.mktemp("bent") / "scene", BENT)


def trained(method: Any, scene: Path, folder: Path, **model: Any) -> Path:
    """The config.yml of a run of three steps."""
    config = configured(method, scene, folder, 3, **model)
    config.pipeline.propagation.enabled = False  # pyright: ignore[reportAttributeAccessIssue]
    train(config)
    return config.get_base_dir() / "config.yml"


@pytest.fixture(scope="module")
def run(scene: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(semantic_nerf, scene, tmp_path_factory.mktemp("run"), num_levels=4)


@pytest.fixture(scope="module")
def splat_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Gaussians that begin at sparse points."""
    folder = tmp_path_factory.mktemp("splat")
    scene = write_bent_scene(folder / "scene", BENT)
    points = np.random.default_rng(0).uniform(-3, 3, (500, 3))
    names = [*(f"float {axis}" for axis in "xyz"), *(f"uchar {color}" for color in ("red", "green", "blue"))]
    head = ["ply", "format ascii 1.0", f"element vertex {len(points)}", *(f"property {name}" for name in names)]
    rows = [f"{x:.4f} {y:.4f} {z:.4f} 128 128 128" for x, y, z in points]
    (scene / "points.ply").write_text("\n".join([*head, "end_header", *rows]) + "\n")
    rewrite(scene, lambda content: content.update(ply_file_path="points.ply"))
    return trained(semantic_splatfacto, scene, folder)


def test_views_have_the_colors_of_the_directions_of_pinhole_cameras(run: Path) -> None:
    loaded = load_run(run)
    data: Any = loaded.pipeline.datamanager
    views = read_run_surface(loaded.model, data, "rendered").views
    pinholes = PinholeDataset.of(data.train_dataset)
    for index, view in enumerate(views):
        error = np.abs(view.color / 255 - color_at(directions_of(pinholes.cameras, index)))
        assert error.max() < 0.01
        np.testing.assert_allclose(view.lens, Lens.of(pinholes.cameras, index).intrinsics, rtol=1e-6)


def test_points_instances_and_gaussians_are_made_of_it(run: Path, tmp_path: Path) -> None:
    PointCloud(run, tmp_path / "points", depth="rendered", num_points=500).main()
    assert (tmp_path / "points/points.ply").exists()
    Instances(run, tmp_path / "things", depth="rendered").main()
    assert len(list((tmp_path / "things/instances").rglob("*.png"))) == 4
    ToSplat(run, tmp_path / "splat", depth="rendered", steps=2).main()
    assert (tmp_path / "splat/splat.ply").exists()


def test_what_the_pinhole_camera_does_not_see_is_outside_and_all_else_comes_back(run: Path) -> None:
    data: Any = load_run(run).pipeline.datamanager
    pinholes = PinholeDataset.of(data.train_dataset)
    labels = label_at(directions_of(data.train_dataset.cameras, 0)).astype(np.int16)
    again = pinholes.as_stored(pinholes.undistorted(labels, 0), 0, unseen=-1)
    is_seen = again >= 0
    assert 0.7 < is_seen.mean() < 1
    assert (again == labels)[is_seen].mean() > 0.97
    assert (labels == pinholes.undistorted(labels, 0)).mean() < 0.98
    assert PinholeDataset.of(pinholes) is pinholes


def test_gaussians_train_on_what_pinhole_cameras_see(splat_run: Path) -> None:
    data: Any = load_run(splat_run).pipeline.datamanager
    dataset = data.train_dataset
    assert dataset.cameras.distortion_params is None
    for index, view in enumerate(data.training_views.views):
        error = np.abs(view.color.numpy() - color_at(directions_of(dataset.cameras, index)))
        assert error.max() < 0.01
        expected = torch.from_numpy(label_at(directions_of(dataset.cameras, index)))
        assert (torch.from_numpy(data.training_labels[index]) == expected).float().mean() > 0.97


def test_a_dataset_that_gaussians_export_is_of_the_images_that_they_were_trained_on(
    splat_run: Path, tmp_path: Path
) -> None:
    ExportDataset(splat_run, tmp_path / "dataset").main()
    outputs = AutoDataParserConfig(data=tmp_path / "dataset", split="all").setup().get_dataparser_outputs("train")
    dataset = SemanticDataset(outputs)
    for index in range(len(dataset)):
        error = np.abs(dataset.color_of(index).numpy() - color_at(directions_of(dataset.cameras, index)))
        assert error.max() < 0.01


def test_labels_that_are_written_for_training_come_back_to_both_kinds_of_images(scene: Path, tmp_path: Path) -> None:
    outputs = AutoDataParserConfig(data=scene).setup().get_dataparser_outputs("train")
    pinholes, taken = PinholeDataset(outputs), SemanticDataset(outputs)
    source = LabelSource(None, CorruptionConfig())
    write_label_folder(tmp_path / "labels", pinholes, [pinholes.labels_of(i) for i in range(len(pinholes))], source)
    for dataset, least_known in ((pinholes, 0.97), (taken, 0.7)):
        for index, found in enumerate(read_label_folder(str(tmp_path / "labels"), dataset, scene)):
            is_known = found >= 0
            assert is_known.mean() > least_known
            assert (found == dataset.labels_of(index))[is_known].mean() > 0.98


def test_labels_of_gaussians_lie_on_the_images_as_they_were_taken(splat_run: Path, tmp_path: Path) -> None:
    ExportLabels(splat_run, tmp_path / "labels", frames="train").main()
    loaded = load_run(splat_run)
    model: Any = loaded.model
    dataset: Any = loaded.pipeline.datamanager.train_dataset
    for index, frame in enumerate(dataset_frames(dataset)):
        with torch.no_grad(), model.raw_outputs():
            rendered = model.get_outputs_for_camera(frame.camera)["semantics_labels"][..., 0].numpy()
        written = np.asarray(Image.open(tmp_path / "labels" / frame.name))
        expected = dataset.as_stored(rendered, index, unseen=-1)
        ids = np.array([*model.taxonomy.source_ids, model.taxonomy.void_source_id])[expected]
        np.testing.assert_array_equal(written, ids)
