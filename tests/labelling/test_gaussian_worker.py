"""Runs of Gaussians are labelled: their surface, and their classes, which follow the labels of a session."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from semantic_ns.errors import SceneError
from semantic_ns.labelling.gaussian_worker import GaussianWorker, every_nth
from semantic_ns.labelling.head_worker import worker_of
from semantic_ns.labelling.surface import build_label_surface
from semantic_ns.methods.semantic_splatfacto.method import semantic_splatfacto
from semantic_ns.runs import Run, load_run
from semantic_ns.splatting.project import PinholeCamera
from support.active_runs import trainer_of
from support.registered import configured

NEW = 500
"""Id of a class that the scene does not have."""


@pytest.fixture(scope="module")
def run(replica_scene: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    config: Any = configured(semantic_splatfacto, replica_scene, tmp_path_factory.mktemp("runs"), 12)
    config.timestamp = "splat"
    with trainer_of(config) as trainer:
        config.save_config()
        trainer.train()
    return load_run(config.get_base_dir() / "config.yml")


@pytest.fixture(scope="module")
def worker(run: Run) -> GaussianWorker:
    made = worker_of(run.load_config)
    assert isinstance(made, GaussianWorker)
    return made


@pytest.fixture(scope="module")
def halves(run: Run, worker: GaussianWorker) -> tuple[np.ndarray, tuple[int, int]]:
    """Labels by the sign of a coordinate of the point that each pixel shows, and their two ids: an old, a new."""
    surface, ids = build_label_surface(run, 400), (run.model.taxonomy.source_ids[2], NEW)
    stride = worker.stride
    voxels = np.stack([surface.voxels_of(frame)[::stride, ::stride] for frame in range(worker.shape[0])])
    x = surface.positions[:, 0]
    return np.where(x < np.median(x), *ids).astype(np.int16)[voxels], ids


def test_a_pixel_shows_a_voxel_near_the_point_that_gaussians_show_there(run: Run) -> None:
    surface = build_label_surface(run, 400)
    assert (surface.pixel_voxels >= 0).all()
    for frame in range(len(surface.frames)):
        rotation, origin = surface.c2w[frame, :, :3], surface.c2w[frame, :, 3]
        fx, fy, cx, cy = surface.intrinsics[frame]
        rows, columns = np.indices(surface.pixel_voxels[frame].shape)
        x, y, z = np.moveaxis((surface.positions[surface.pixel_voxels[frame]] - origin) @ rotation, -1, 0)
        right, down = cx + fx * x / -z - (columns + 0.5), cy - fy * y / -z - (rows + 0.5)
        assert np.median(np.hypot(right, down)) < math.hypot(*rows.shape) / 10


def test_gaussians_say_the_labels_of_the_session(worker: GaussianWorker, halves: Any) -> None:
    labels, ids = halves
    said, sure = worker.train(labels, np.full(labels.shape, 255, np.uint8), sorted(ids))
    assert (said == labels).mean() > 0.95
    assert sure.mean() > 200
    rendered, _ = worker.render(1)
    assert (rendered[:: worker.stride, :: worker.stride] == labels[1]).mean() > 0.95
    for layer, rows in zip(worker.render(1), worker.render(1, [5, 9]), strict=True):
        assert (layer[5:9] == rows).all()


def test_the_written_run_shows_what_the_gaussians_said(run: Run, worker: GaussianWorker, halves: Any) -> None:
    labels, ids = halves
    worker.train(labels, np.full(labels.shape, 255, np.uint8), sorted(ids))
    taxonomy = run.model.taxonomy
    entries = zip(taxonomy.source_ids, taxonomy.names, taxonomy.colors, strict=True)
    classes = [*((number, name, color, None) for number, name, color in entries), (NEW, "a new one", (1, 2, 3), None)]
    opened = load_run(worker.save(run.load_config.parent.with_name("labelled_1"), classes, 0))
    assert opened.model.taxonomy.names[-1] == "a new one"
    camera = opened.pipeline.datamanager.train_dataset.cameras[1:2]
    with opened.model.raw_outputs():
        rendered = opened.model.get_outputs_for_camera(camera)
    shown = np.array(opened.model.taxonomy.source_ids)[rendered["semantics_labels"][..., 0].numpy()]
    assert (shown == worker.render(1)[0]).mean() > 0.97
    assert torch.equal(rendered["rgb"], run.pipeline.model.get_outputs_for_camera(camera)["rgb"])


def test_what_the_gaussians_said_stays_where_the_next_labels_fail(worker: GaussianWorker, halves: Any) -> None:
    labels, ids = halves
    confidence = np.full(labels.shape, 255, np.uint8)
    said = worker.train(labels, confidence, sorted(ids))
    rendered = worker.render(1)
    worker.render(0)
    for others in ([number + 1 for number in sorted(ids)], [*sorted(ids), NEW + 7]):
        with pytest.raises(ValueError, match="shorter"):  # an image is missing
            worker.train(labels[1:], confidence[1:], others)
        for before, after in zip(rendered, worker.render(1), strict=True):
            assert (before == after).all()
        worker.render(0)
    for before, after in zip(said, worker.train(labels, confidence, sorted(ids)), strict=True):
        assert (before == after).all()


def test_void_and_labels_that_nothing_is_sure_of_give_no_class(worker: GaussianWorker, halves: Any) -> None:
    labels, ids = halves
    for given, confidence in ((np.full_like(labels, -1), 255), (labels, 0), (labels, 25)):
        said, sure = worker.train(given, np.full(labels.shape, confidence, np.uint8), sorted(ids))
        assert (said == -1).all()
        assert (sure == 0).all()
        with pytest.raises(SceneError, match="Expected Gaussians with a class"):
            worker.save(Path("unused"), [], 0)


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_a_coarse_pixel_looks_where_its_fine_one_does(stride: int) -> None:
    camera = PinholeCamera(torch.eye(4)[:3], torch.tensor([31.0, 29.0, 10.3, 7.9]), 17, 22)

    def direction(of: PinholeCamera, row: int, column: int) -> tuple[float, float]:
        fx, fy, cx, cy = of.lens.tolist()
        return (column + 0.5 - cx) / fx, (row + 0.5 - cy) / fy

    coarse = every_nth(camera, stride)
    assert (coarse.height, coarse.width) == (len(range(0, 17, stride)), len(range(0, 22, stride)))
    for row, column in ((0, 0), (coarse.height - 1, coarse.width - 1)):
        assert direction(coarse, row, column) == pytest.approx(
            direction(camera, row * stride, column * stride), abs=1e-6
        )
