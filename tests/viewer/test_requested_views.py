"""Pictures of a training that another process asks for: they are the model's, and the training goes on as without."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from semantic_ns.methods.semantic_nerf.method import semantic_nerf
from semantic_ns.viewer.requested_views import RequestedViews, camera_of
from semantic_ns.viewer.view_requests import ASKED, CAMERAS, VARIABLE, ViewRequest, picture_path
from support.active_runs import trainer_of
from support.registered import configured

STEPS = 6
ASKED_AFTER = (1, 3)


def trained(scene: Path, output: Path, views: Path | None, monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """The state of a model after some steps, during which pictures are asked for if there is a folder."""
    monkeypatch.delenv(VARIABLE, raising=False)
    if views is not None:
        monkeypatch.setenv(VARIABLE, str(views))
    config: Any = configured(semantic_nerf, scene, output, STEPS, num_levels=4)
    with trainer_of(config) as trainer:
        pipeline = trainer.pipeline
        take_step = pipeline.get_train_loss_dict

        def asking(step: int) -> Any:
            found = take_step(step)
            if views is not None and step in ASKED_AFTER:
                cameras = json.loads((views / CAMERAS).read_text("utf8"))
                ViewRequest(step, cameras["c2w"][2], cameras["vertical_fov"][2], 18, 24).ask(views)
            return found

        monkeypatch.setattr(pipeline, "get_train_loss_dict", asking)
        trainer.train()
        return {name: value.clone() for name, value in pipeline.model.state_dict().items()}


def test_a_training_of_which_pictures_are_asked_for_ends_with_the_weights_of_one_without(
    replica_scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    views = tmp_path / "views"
    views.mkdir()
    alone = trained(replica_scene, tmp_path / "alone", None, monkeypatch)
    asked = trained(replica_scene, tmp_path / "asked", views, monkeypatch)
    assert alone.keys() == asked.keys()
    assert all(torch.equal(alone[name], asked[name]) for name in alone)
    newest = picture_path(views, ASKED_AFTER[-1])
    assert sorted(path.name for path in views.iterdir()) == sorted([ASKED, CAMERAS, newest.name])
    with Image.open(newest) as picture:
        assert picture.size == (24, 18)
        assert np.asarray(picture).std() > 0


def test_a_picture_is_what_the_model_shows_and_the_cameras_are_those_of_the_images(
    replica_scene: Path, tmp_path: Path
) -> None:
    with trainer_of(configured(semantic_nerf, replica_scene, tmp_path / "run", 1, num_levels=4)) as trainer:
        pipeline = trainer.pipeline
        before, after = (one.func for one in RequestedViews(pipeline, tmp_path).callbacks())
        after(0)  # nothing is asked for yet
        before(0)
        described = json.loads((tmp_path / CAMERAS).read_text("utf8"))
        cameras = pipeline.datamanager.train_dataset.cameras
        assert [Path(path).name for path in described["images"]] == [
            path.name for path in pipeline.datamanager.train_dataset.image_filenames
        ]
        request = ViewRequest(5, described["c2w"][1], described["vertical_fov"][1], 18, 24)
        camera = camera_of(request)
        assert torch.equal(camera.camera_to_worlds, cameras.camera_to_worlds[1:2])
        assert float(camera.fy / 18) == pytest.approx(float(cameras.fy[1] / cameras.height[1]), rel=1e-5)
        request.ask(tmp_path)
        after(1)
        written = picture_path(tmp_path, 5).read_bytes()
        pipeline.eval()
        color = pipeline.model.get_outputs_for_camera(camera)["rgb"]
        with Image.open(io.BytesIO(written)) as picture:
            assert np.abs(np.asarray(picture) / 255 - color.numpy()).mean() < 0.05
        after(2)  # the same request is answered once
        assert picture_path(tmp_path, 5).read_bytes() == written
        for wrong in ("no json", '{"number": 6}', json.dumps({**vars(request), "width": 0})):
            (tmp_path / ASKED).unlink()
            (tmp_path / ASKED).write_text(wrong, "utf8")
            after(3)  # over which no training ends
        assert sorted(path.name for path in tmp_path.glob("picture_*")) == ["picture_5.jpg"]
