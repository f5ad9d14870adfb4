"""Runs that see undistorted images write labels and things of the stored ones, and read masks that belong to these."""

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from nerfstudio.cameras.cameras import Cameras
from numpy import ndarray
from PIL import Image

from semantic_ns.batch import PLANAR_DEPTH, RENDERED_LABELS
from semantic_ns.cli import export_instances
from semantic_ns.cli.export_instances import Instances
from semantic_ns.dataparsers import metadata as keys
from semantic_ns.datasets.semantic_dataset import SemanticDataset
from semantic_ns.export.labels import LabelExporter, dataset_frames
from semantic_ns.export.scene_instances import read_run_surface, training_masks
from support.bent_scene import BENT, directions_of, label_at, write_bent_scene
from support.hand_made_scene import rewrite
from support.rooms import parser_of

NAMES = ("wall", "floor", "box", "bed")


class TrueModel:
    """Renders the classes of the directions in which the pixels of a camera look."""

    device = torch.device("cpu")
    gives_raw_outputs = True

    def __init__(self, dataset: SemanticDataset) -> None:
        self.taxonomy = dataset.taxonomy

    def raw_outputs(self) -> Any:
        return nullcontext()

    def get_outputs_for_camera(self, camera: Cameras) -> dict[str, torch.Tensor]:
        labels = torch.from_numpy(label_at(directions_of(camera, 0)))[..., None]
        ones = torch.ones(labels.shape)
        return {RENDERED_LABELS: labels, "accumulation": ones, PLANAR_DEPTH: ones, "semantics_confidence": ones}


@pytest.fixture
def data(tmp_path: Path) -> Any:
    """The data of a run over many rooms, of one room whose images a lens has bent."""
    scene = write_bent_scene(tmp_path / "scene", BENT)
    table = [{"id": number, "name": name, "is_thing": True} for number, name in enumerate(NAMES)]
    rewrite(scene, lambda content: content.update(semantic_classes=table, semantic_void_id=255))
    parser = parser_of(scene, split="all")
    outputs = parser.training_outputs(parser.scenes[0])
    dataset = SemanticDataset(outputs)
    assert keys.DISTORTED_CAMERAS in dataset.metadata
    return SimpleNamespace(
        train_dataset=dataset,
        eval_dataset=dataset,
        train_dataparser_outputs=outputs,
        config=SimpleNamespace(dataparser=SimpleNamespace(data=scene)),
    )


def stored_labels(dataset: SemanticDataset) -> list[ndarray]:
    return [np.asarray(Image.open(path)) for path in dataset.metadata[keys.LABEL_FILENAMES]]


def test_exported_labels_fit_the_stored_images_and_are_void_where_the_undistorted_ones_show_nothing(
    data: Any, tmp_path: Path
) -> None:
    dataset = data.train_dataset
    frames = dataset_frames(dataset)
    paths = LabelExporter(TrueModel(dataset), tmp_path / "out", []).export(frames)
    for frame, path, stored in zip(frames, paths, stored_labels(dataset), strict=True):
        found = np.asarray(Image.open(path))
        is_void = found == 255
        assert (found != stored)[~is_void].mean() < 0.03
        assert 0 < is_void.mean() < 0.35
        confidence = np.asarray(Image.open(tmp_path / "out" / frame.confidence_name))
        np.testing.assert_array_equal(confidence == 0, is_void)


def test_masks_of_the_stored_images_are_undistorted_as_their_labels_are(data: Any, tmp_path: Path) -> None:
    dataset, folder = data.train_dataset, tmp_path / "masks"
    folder.mkdir()
    for path, stored in zip(dataset.image_filenames, stored_labels(dataset), strict=True):
        Image.fromarray(stored + 1).save(folder / path.name)
    model: Any = TrueModel(dataset)
    for index, masks in enumerate(read_run_surface(model, data, "rendered", training_masks(folder, data)).masks):
        assert masks is not None
        np.testing.assert_array_equal(masks, dataset.labels_of(index) + 1)


def test_images_of_things_fit_the_stored_images(data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = SimpleNamespace(model=TrueModel(data.train_dataset), pipeline=SimpleNamespace(datamanager=data))
    monkeypatch.setattr(export_instances, "load_run", lambda path: run)
    Instances(tmp_path / "config.yml", tmp_path / "out", depth="rendered").main()
    for path, stored in zip(data.train_dataset.image_filenames, stored_labels(data.train_dataset), strict=True):
        ids = np.asarray(Image.open(next((tmp_path / "out/instances").rglob(path.name))))
        is_seen = ids > 0
        assert 0.65 < is_seen.mean() < 1
        for number in np.unique(ids[is_seen]):
            own = stored[ids == number]
            assert (own == np.bincount(own).argmax()).mean() > 0.9
