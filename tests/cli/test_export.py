"""`sns-export` on a run: the folder is complete or not there, and wrong input is one sentence."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import plyfile
import pytest
from nerfstudio.scripts.train import main as train

from semantic_ns.cli.export import Mesh, PointCloud, entrypoint
from semantic_ns.errors import SceneError
from semantic_ns.export.scene_instances import read_run_surface
from semantic_ns.export.surface_files import README
from semantic_ns.methods.semantic_nerf.method import semantic_nerf
from semantic_ns.runs import load_run
from support.registered import configured


def trained(scene: Path, folder: Path, **model: Any) -> Path:
    """The config.yml of a run of three steps."""
    config = configured(semantic_nerf, scene, folder, 3, num_levels=4, log2_hashmap_size=8, **model)
    config.pipeline.propagation.enabled = False  # pyright: ignore[reportAttributeAccessIssue]
    train(config)
    return config.get_base_dir() / "config.yml"


@pytest.fixture(scope="module")
def run(nerfstudio_scene: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(nerfstudio_scene, tmp_path_factory.mktemp("run"))


def test_the_depth_images_of_a_scene_give_its_surface_in_the_world_of_its_files(run: Path, tmp_path: Path) -> None:
    PointCloud(run, tmp_path / "out", num_points=2000).main()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        README, "classes.json", "points.ply", "points_classes.ply",
    ]  # fmt: skip
    table = plyfile.PlyData.read(str(tmp_path / "out/points.ply"))["vertex"].data
    found = np.stack([table[name] for name in "xyz"], axis=1)
    loaded = load_run(run)
    data: Any = loaded.pipeline.datamanager
    surface = read_run_surface(loaded.model, data, "given").scene
    assert surface.is_given
    assert surface.unit == "m"
    assert len(surface.views) == len(data.train_dataset)
    for index, view in enumerate(surface.views):
        np.testing.assert_allclose(view.depth, data.train_dataset.depth_of(index), rtol=1e-6)
    everything = np.concatenate([view.points().reshape(-1, 3) for view in surface.views])
    spacing = np.ptp(everything, axis=0).max() / 20
    assert (found >= everything.min(axis=0) - spacing).all()
    assert (found <= everything.max(axis=0) + spacing).all()
    nearest = np.abs(found[:50, None] - everything[None, ::3]).max(axis=-1).min(axis=1)
    assert np.median(nearest) < spacing


def test_of_a_box_of_the_viewer_the_points_in_it_are_written(run: Path, tmp_path: Path) -> None:
    center, sides = (2.0, 0.1, 0.0), (4.0, 9.0, 9.0)
    box: Any = {"obb_center": center, "obb_rotation": (0.0, 0.0, 0.0), "obb_scale": sides}
    PointCloud(run, tmp_path / "out", num_points=500, **box).main()
    table = plyfile.PlyData.read(str(tmp_path / "out/points.ply"))["vertex"].data
    outputs: Any = load_run(run).pipeline.datamanager.train_dataparser_outputs
    transform = outputs.dataparser_transform.double().numpy()
    world = np.stack([table[name] for name in "xyz"], axis=1)
    in_scene = outputs.dataparser_scale * (world @ transform[:, :3].T + transform[:, 3])
    assert len(world) > 50
    assert (np.abs(in_scene - center) < np.array(sides) / 2 + 1e-4).all()


def test_a_mesh_is_written_by_the_command(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["mesh", "--load-config", str(run), "--output-dir", str(tmp_path / "out"), "--format", "glb"]
    monkeypatch.setattr(sys, "argv", ["sns-export", *words, "--split-classes", "True"])
    entrypoint()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [README, "classes.json", "mesh.glb"]


def test_without_depth_images_the_surface_is_what_the_run_renders(run: Path) -> None:
    loaded = load_run(run)
    surface = read_run_surface(loaded.model, loaded.pipeline.datamanager, "rendered").scene
    assert not surface.is_given
    assert "rendered by the run" in surface.depth_source


def test_a_folder_that_is_used_or_in_the_scene_is_refused_before_anything_is_rendered(
    run: Path, nerfstudio_scene: Path, tmp_path: Path
) -> None:
    (tmp_path / "used").mkdir()
    (tmp_path / "used/file").touch()
    with pytest.raises(SceneError, match="new or an empty folder"):
        Mesh(run, tmp_path / "used").main()
    with pytest.raises(SceneError, match="outside the scene"):
        Mesh(run, nerfstudio_scene / "mesh").main()
    assert not (nerfstudio_scene / "mesh").exists()


@pytest.mark.parametrize("size", [0.0, -1.0, float("nan"), float("inf")])
def test_wrong_numbers_are_refused_before_the_run_is_loaded(size: float, tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="--voxel-size above 0"):
        Mesh(tmp_path / "config.yml", tmp_path / "out", voxel_size=size).main()
    with pytest.raises(SceneError, match="--num-points of at least 1"):
        PointCloud(tmp_path / "config.yml", tmp_path / "out", num_points=0).main()


def test_split_classes_of_a_scan_are_refused_before_the_run_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="found --split-classes"):
        Mesh(tmp_path / "config.yml", tmp_path / "out", format="scannet", split_classes=True).main()


def test_a_run_without_classes_is_one_sentence_and_leaves_nothing(nerfstudio_scene: Path, tmp_path: Path) -> None:
    run = trained(nerfstudio_scene, tmp_path / "run", use_semantics=False)
    with pytest.raises(SceneError, match="use-semantics False"):
        PointCloud(run, tmp_path / "out").main()
    assert not list(tmp_path.glob("*out*"))
