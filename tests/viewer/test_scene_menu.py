"""The menu of scenes says from which scene views are rendered."""

import copy
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from semantic_ns.evaluation.run_notices import EndScores
from semantic_ns.methods.gsnerf_small.method import gsnerf_small
from semantic_ns.viewer.scene_menu import SceneMenu
from support.registered import SMALL, configured


def test_the_chosen_scene_is_the_one_of_its_name() -> None:
    menu = SceneMenu(["kitchen", "office"], 1)
    assert menu.number == 1
    assert menu.menu is not None
    menu.menu.default_value = "kitchen"
    assert menu.number == 0


@pytest.mark.parametrize(("names", "shown"), [(["kitchen"], 0), (["kitchen", "office"], None)])
def test_there_is_no_menu_where_there_is_nothing_to_choose(names: list[str], shown: int | None) -> None:
    menu = SceneMenu(names, shown)
    assert menu.menu is None
    assert menu.number == shown


def pipeline_of(rooms: Path, folder: Path) -> Any:
    config = configured(gsnerf_small, rooms, folder, 1, **SMALL["gsnerf-small"])
    return copy.deepcopy(config.pipeline).setup(device="cpu", test_mode="val", world_size=1, local_rank=0)


def test_a_view_is_rendered_from_the_frames_of_the_chosen_scene_but_a_scored_one_from_those_of_its_own(
    rooms: Path, tmp_path: Path
) -> None:
    pipeline = pipeline_of(rooms, tmp_path)
    model = pipeline.model.eval()
    assert model.shelf.scored_names == ("replica", "studio")
    camera = pipeline.datamanager.eval_dataset.cameras[:1]
    before = model.get_outputs_for_camera(camera)["rgb"]
    model.scene_menu.menu.default_value = "studio"
    assert model._scene_of(camera) == 1
    assert not bool((model.get_outputs_for_camera(camera)["rgb"] - before).abs().max() < 1e-3)
    scored, _ = pipeline.datamanager.next_eval_image(0)
    assert torch.equal(scored.camera_to_worlds, camera.camera_to_worlds)
    torch.testing.assert_close(model.get_outputs_for_camera(scored)["rgb"], before)


def test_images_scored_at_the_end_are_of_all_scenes_whichever_is_chosen(
    rooms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline = pipeline_of(rooms, tmp_path)
    pipeline.model.scene_menu.menu.default_value = "studio"
    config = SimpleNamespace(steps_per_eval_all_images=0, max_num_iterations=1)
    trainer = SimpleNamespace(config=config, local_rank=0, stop_training=False, train_lock=nullcontext())
    scenes, original = [], pipeline.model.get_outputs_for_camera

    def noted(camera: Any, obb_box: Any = None) -> Any:
        scenes.append(pipeline.model._scene_of(camera))
        return original(camera, obb_box)

    pipeline.model.get_outputs_for_camera = noted
    EndScores(pipeline, trainer, 2).after_train(0)
    assert scenes == [0, 1]
    assert "2 of 3 scored" in capsys.readouterr().out
