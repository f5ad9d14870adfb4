"""The output `instances` of a run, for the viewer and ns-render."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nerfstudio.scripts.train import main as train

from semantic_ns.batch import seen_labels
from semantic_ns.errors import SceneError
from semantic_ns.geometry.rays import rays_of_image
from semantic_ns.geometry.world import world_from_scene
from semantic_ns.instances.colors import instance_color
from semantic_ns.instances.table import InstanceTable
from semantic_ns.methods.semantic_nerf.method import semantic_nerf
from semantic_ns.pipeline import INSTANCES_VARIABLE
from semantic_ns.runs import load_run
from support.registered import configured


@pytest.fixture(scope="module")
def run(nerfstudio_scene: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The config.yml of a run of three steps."""
    folder = tmp_path_factory.mktemp("run")
    config = configured(semantic_nerf, nerfstudio_scene, folder, 3, num_levels=4, log2_hashmap_size=8)
    config.pipeline.propagation.enabled = False  # pyright: ignore[reportAttributeAccessIssue]
    train(config)
    return config.get_base_dir() / "config.yml"


def test_a_run_shows_each_pixel_in_the_colour_of_the_nearest_thing_of_its_class(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: Any = load_run(run)
    assert loaded.model.instances is None
    taxonomy, camera = loaded.model.taxonomy, loaded.pipeline.datamanager.train_dataset.cameras[:1]
    assert "instances" not in loaded.model.get_outputs_for_camera(camera)
    # Two things of every class, one on either side of the middle of the room.
    class_ids = np.repeat(np.array(taxonomy.source_ids, np.int32), 2)
    positions = np.tile([[-3.0, 0, 1], [3.0, 0, 1]], (taxonomy.num_classes, 1))
    ids = np.arange(1, len(class_ids) + 1).astype(np.int32)
    InstanceTable(positions, class_ids, ids).write(tmp_path / "instances.npz")
    monkeypatch.setenv(INSTANCES_VARIABLE, str(tmp_path))
    loaded = load_run(run)
    with torch.no_grad():
        outputs = loaded.model.get_outputs_for_camera(camera)
        with loaded.model.raw_outputs():
            raw = loaded.model.get_outputs_for_camera(camera)
    assert "instances" not in raw
    rays = rays_of_image(camera)
    matrix = world_from_scene(loaded.pipeline.datamanager.train_dataparser_outputs)
    ends = (rays.origins + rays.directions * outputs["depth"]) @ matrix[:, :3].T + matrix[:, 3]
    thing = 2 * seen_labels(raw)[..., 0] + 1 + (ends[..., 0] > 0)
    thing[seen_labels(raw)[..., 0] < 0] = 0
    colors = torch.tensor([instance_color(number) for number in range(len(ids) + 1)])
    shown = (outputs["instances"] * 255).round().int()
    assert (shown == colors[thing]).all(dim=-1).float().mean() > 0.99  # rounding may move what is near the middle
    assert len(thing.unique()) > 1


def test_a_folder_without_instances_is_one_sentence(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(INSTANCES_VARIABLE, str(tmp_path))
    with pytest.raises(SceneError, match="Expected a file of instances"):
        load_run(run)


def test_a_model_that_shows_no_instances_is_refused(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: Any = load_run(run)
    monkeypatch.setattr(type(loaded.model), "shows_instances", False)
    monkeypatch.setenv(INSTANCES_VARIABLE, str(tmp_path))
    with pytest.raises(SceneError, match="unset the variable"):
        load_run(run)
